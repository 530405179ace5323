package payment_test

import (
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/payment"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// Any sequence of commands, with requests and answers that get lost or come late, stores that fail before and
// after writing, repeats and reorderings: at every instant the ledger sums to zero and follows from its events (as
// bench.ledger checks), the money is captured at most once, and once every open step was repeated the ledger is
// what the acquirer's book says.
func TestPropertyLedgerIsTheBook(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		l := newLine(t, dir)
		defer l.close()
		b := newBenchOn(t, l, &flakyStore{Store: sidecartest.NewStore()}, "one", patient)
		defer b.stop()
		const order = "ord_any"
		paid := false
		authorizeWith := rapid.SampledFrom([]string{"authorize", "authorize", "authorize", "authorize declined"}).Draw(rt, "card")
		steps := []string{authorizeWith, "capture", "void", "refund", "deliver"}
		var open []string // steps that ended in an error, to be repeated

		n := rapid.IntRange(1, 10).Draw(rt, "length")
		for range n {
			step := rapid.SampledFrom(steps).Draw(rt, "step")
			l.next(rapid.SliceOfN(rapid.SampledFrom([]fault{pass, pass, dropBefore, dropAfter, arriveLate}), 0, 4).Draw(rt, "faults")...)
			before := rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(rt, "store fails before")
			after := rapid.SampledFrom([]int{0, 0, 0, 1}).Draw(rt, "store fails after")
			if step != "deliver" { // its retries take seconds
				b.store.fail(rapid.IntRange(0, 1).Draw(rt, "writes before"), before, after)
			}
			got := b.run(order, step)
			b.store.fail(0, 0, 0)
			if got == "unavailable" {
				open = append(open, step)
			}
			paid = paid || step == "deliver" && got == "ok"
			if rapid.Bool().Draw(rt, "late requests arrive") {
				l.deliver()
			}
			b.consistent(rt, order, paid)
		}

		l.next()
		l.deliver()
		for _, step := range rapid.Permutation(open).Draw(rt, "repeats") {
			if got := b.run(order, step); got == "unavailable" {
				rt.Fatalf("%s is %s though nothing fails", step, got)
			}
		}
		if err := payment.CheckLate(t.Context(), b.service, order); err != nil {
			rt.Fatal(err)
		}
		if b.head(order).Status == paymentapi.None && len(open) > 0 {
			rt.Fatalf("steps were repeated, but nothing is known: %v", open)
		}
		ledger, book := b.movements(order)
		if diff := cmp.Diff(book, ledger); diff != "" {
			rt.Fatalf("book and ledger differ (-book +ledger):\n%s", diff)
		}
		b.consistent(rt, order, paid)
	})
}

// head reads the state of a payment.
func (b *bench) head(order string) paymentapi.Payment {
	p, err := b.client.Get(b.t.Context(), order)
	if err != nil {
		return paymentapi.Payment{}
	}
	return p
}

// consistent checks what must hold between any two commands.
func (b *bench) consistent(rt *rapid.T, order string, paid bool) {
	counts := map[string]int{}
	sums := map[string]int64{}
	for _, e := range b.ledger(order) {
		counts[e.Reason]++
		sums[e.Reason] += e.Amount
	}
	if counts["captured"] > 1 || counts["refunded"] > 1 || counts["paid-out"] > 1 || counts["authorized"] > 1 {
		rt.Fatalf("something happened twice: %v", counts)
	}
	p := b.head(order)
	held := sums["authorized"] - sums["captured"] - sums["voided"]
	kept := sums["captured"] - sums["refunded"]
	want := map[paymentapi.Status][2]int64{
		paymentapi.Authorized: {2590, 0}, paymentapi.Captured: {0, 2590}, paymentapi.Refunding: {0, 2590}, paymentapi.PaidOut: {0, 2590},
	}[p.Status] // else nothing is held or kept
	if got := [2]int64{held, kept}; got != want {
		rt.Fatalf("%s: held and kept are %v, want %v", p.Status, got, want)
	}
	if paid != (p.Status == paymentapi.PaidOut) {
		rt.Fatalf("%s, but paid out: %v", p.Status, paid)
	}
	accounts := map[paymentapi.Status][]string{
		paymentapi.Authorized: {"acquirer:held", "order:ord_any:held"},
		paymentapi.Captured:   {"acquirer:receivable", "order:ord_any:clearing"},
		paymentapi.Refunding:  {"acquirer:receivable", "order:ord_any:clearing"},
		paymentapi.PaidOut: {"acquirer:receivable", "courier:usr_9:payable", "platform:promotions", "platform:revenue",
			"restaurant:rst_1:payable", "tax:vat"},
	}[p.Status]
	var got []string
	for _, balance := range p.Balances {
		got = append(got, balance.Account)
	}
	if !slices.Equal(got, accounts) {
		rt.Fatalf("%s: balances on %v, want %v", p.Status, got, accounts)
	}
}

// Whatever a bill says, the parts of a payout are not negative and add up to the amount.
func TestPropertySplit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		amount := func(name string) int64 { return rapid.Int64Range(0, 100_000_000).Draw(rt, name) }
		bill := paymentapi.Bill{Subtotal: amount("subtotal"), DeliveryFee: amount("delivery"), SurgeFee: amount("surge"),
			Discount: amount("discount"), Tax: amount("tax")}
		total := rapid.Int64Range(1, 100_000_000).Draw(rt, "amount")
		if rapid.Bool().Draw(rt, "genuine") {
			gross := bill.Subtotal + bill.DeliveryFee + bill.SurgeFee
			bill.Discount = min(bill.Discount, max(gross-1, 0))
			total = max(gross-bill.Discount, 1)
			bill.Tax = min(bill.Tax, total)
		}
		out := payment.Split(total, bill, rapid.Int64Range(0, 10_000).Draw(rt, "commission"))
		for _, part := range []int64{out.Restaurant, out.Courier, out.Platform, out.Tax, out.Promotion} {
			if part < 0 {
				rt.Fatalf("a part is negative: %+v", out)
			}
		}
		if sum := out.Restaurant + out.Courier + out.Platform + out.Tax - out.Promotion; sum != total {
			rt.Fatalf("%+v adds up to %d, not %d", out, sum, total)
		}
	})
}
