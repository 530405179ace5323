package pricing

import (
	"fmt"
	"testing"

	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// The hot path of an order: a quote, and its confirmation without a promotion.
func BenchmarkQuote(b *testing.B) {
	f := setUp(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := f.quote(b.Context(), "usr_1", soups(2, "")); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkConfirm(b *testing.B) {
	f := setUp(b)
	q := f.mustAsk("usr_1", soups(2, ""))
	b.ReportAllocs()
	for n := 0; b.Loop(); n++ {
		req := pricingapi.ConfirmRequest{Token: q.Token, OrderID: fmt.Sprint("ord_", n), CustomerID: "usr_1"}
		if _, err := f.confirm(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}
