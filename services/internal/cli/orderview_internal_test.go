package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// The picture on a terminal is drawn over the one before it.
func TestOrderPicture(t *testing.T) {
	placed := time.Date(2026, 11, 22, 12, 0, 0, 0, time.Local)
	var out bytes.Buffer
	v := &orderView{
		out: &out, live: true, palette: newPalette(&out), shown: map[string]bool{}, stop: make(chan struct{}),
		now: func() time.Time { return placed.Add(3 * time.Second) },
	}
	v.progress.SeeOrder(orderapi.Order{ID: "ord_1", Status: orderapi.Placed, PlacedAt: placed})
	nothing := func(*customer.Progress) {}
	v.see(customer.News{}, nothing)
	want := `  ● placed                  0.000 s  12:00:00
  ○ payment authorized         3 s …
  ○ kitchen accepted
  ○ payment captured
  ○ courier assigned
  ○ ready
  ○ picked up
  ○ delivered
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Fatalf("first picture (-want +got):\n%s", diff)
	}

	out.Reset()
	event := func(kind string, after time.Duration, data string) {
		v.see(customer.News{Event: &publicapi.Event{Type: kind, Time: placed.Add(after), Data: json.RawMessage(data)}}, nothing)
	}
	event("delivery.location-updated", time.Second, `{}`)
	if out.Len() > 0 {
		t.Errorf("got %q for what is no news, want nothing", out.String())
	}
	event("payment.declined", 250*time.Millisecond, `{"reason":"insufficient_funds"}`)
	event("order.failed", 300*time.Millisecond, `{"status":"declined","reason":"insufficient_funds"}`)
	v.close()
	pictures := strings.Split(out.String(), "\x1b[J")
	want = `  ● placed                  0.000 s  12:00:00
  ✗ payment declined        0.250 s  12:00:00  insufficient funds
  ✗ declined                0.300 s  12:00:00  insufficient funds

declined after 0.3 s: insufficient funds
`
	if diff := cmp.Diff(want, pictures[len(pictures)-1]); diff != "" {
		t.Errorf("last picture (-want +got):\n%s", diff)
	}
	if got, want := pictures[0], "\x1b[8A"; got != want {
		t.Errorf("the second picture begins with %q, want %q", got, want)
	}
}
