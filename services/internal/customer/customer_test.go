package customer_test

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/customer/customertest"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

func enter(t *testing.T, g *customertest.Gateway) *customer.Customer {
	t.Helper()
	all, err := customer.Site{URL: g.URL, Patience: 10 * time.Second}.Enter(t.Context(), filepath.Join(t.TempDir(), "c.json"), 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

func order(t *testing.T, c *customer.Customer, in orderapi.PlaceRequest) orderapi.Order {
	t.Helper()
	in.Quote = "{}"
	o, err := c.Place(t.Context(), "key-"+t.Name(), in)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestEnter(t *testing.T) {
	g := customertest.New(t)
	site := customer.Site{URL: g.URL}
	file := filepath.Join(t.TempDir(), "client", "customers.json")
	for _, step := range []struct {
		name       string
		before     func()
		n          int
		registered int
	}{
		{"first time", func() {}, 3, 3},
		{"same again", func() {}, 2, 3},
		{"two more", func() {}, 5, 5},
		{"another platform", g.Forget, 5, 5},
		{"the same there", func() {}, 5, 5},
	} {
		step.before()
		all, err := site.Enter(t.Context(), file, step.n, nil)
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if got := len(all); got != step.n {
			t.Errorf("%s: got %d customers, want %d", step.name, got, step.n)
		}
		if got := g.Registered(); got != step.registered {
			t.Errorf("%s: got %d accounts at the platform, want %d", step.name, got, step.registered)
		}
	}
	info, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := info.Mode().Perm(), fs.FileMode(0o600); got != want {
		t.Errorf("mode of the file: got %v, want %v", got, want)
	}
}

func TestPlaceRepeatsWithTheSameKey(t *testing.T) {
	g := customertest.New(t)
	g.LosePlaces = 2
	c := enter(t, g)
	var retries atomic.Int32
	c.Retried = func(error) { retries.Add(1) }
	o := order(t, c, orderapi.PlaceRequest{Card: customer.CardOK})
	if got, want := o.ID, "ord_1"; got != want {
		t.Errorf("order: got %s, want %s", got, want)
	}
	if got, want := g.Orders(), 1; got != want {
		t.Errorf("orders at the platform: got %d, want %d", got, want)
	}
	if got, want := retries.Load(), int32(2); got != want {
		t.Errorf("repetitions: got %d, want %d", got, want)
	}
}

func TestPatienceEnds(t *testing.T) {
	g := customertest.New(t)
	g.LosePlaces = 1000
	c := enter(t, g)
	c.Patience = 300 * time.Millisecond
	_, err := c.Place(t.Context(), "key-12345678", orderapi.PlaceRequest{Quote: "{}", Card: customer.CardOK})
	if got, want := problem.Of(err), problem.Unavailable; got != want {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestFollow(t *testing.T) {
	happy := customer.HappyPath()
	for _, tc := range []struct {
		name   string
		in     orderapi.PlaceRequest
		noLive bool
		status orderapi.Status
		reason string
		steps  []string
	}{
		{"delivered", orderapi.PlaceRequest{Card: "card_ok"}, false, orderapi.Delivered, "", happy},
		{"declined", orderapi.PlaceRequest{Card: "card_declined"}, false, orderapi.Declined, "card_declined",
			[]string{"placed", "payment_declined", "declined"}},
		{"rejected", orderapi.PlaceRequest{Card: "card_ok", Note: "city:kitchen=reject"}, false, orderapi.Rejected, "kitchen_rejected",
			[]string{"placed", "payment_authorized", "kitchen_rejected", "payment_voided", "rejected"}},
		{"undeliverable", orderapi.PlaceRequest{Card: "card_ok", CourierNote: "city:courier=none"}, false, orderapi.Undeliverable, "no_courier",
			[]string{"placed", "payment_authorized", "kitchen_accepted", "payment_captured", "no_courier", "payment_refunded", "undeliverable"}},
		{"without a stream", orderapi.PlaceRequest{Card: "card_ok"}, true, orderapi.Delivered, "",
			[]string{"placed", "kitchen_accepted", "picked_up", "delivered"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := customertest.New(t)
			g.NoLive = tc.noLive
			c := enter(t, g)
			o := order(t, c, tc.in)
			var p customer.Progress
			p.SeeOrder(o)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			err := c.Follow(ctx, o.ID, time.Hour, func(n customer.News) bool {
				if n.Event != nil {
					p.SeeEvent(*n.Event)
				} else {
					p.SeeOrder(*n.Order)
				}
				return !p.Ended()
			})
			if err != nil {
				t.Fatal(err)
			}
			if p.Status != tc.status || p.Reason != tc.reason {
				t.Errorf("got %s for %q, want %s for %q", p.Status, p.Reason, tc.status, tc.reason)
			}
			var got []string
			for _, s := range p.Steps() {
				got = append(got, s.Name)
			}
			if diff := cmp.Diff(tc.steps, got); diff != "" {
				t.Errorf("steps (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFollowUnknownOrder(t *testing.T) {
	c := enter(t, customertest.New(t))
	err := c.Follow(t.Context(), "ord_404", time.Hour, func(customer.News) bool { return true })
	if got, want := problem.Of(err), problem.NotFound; got != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	g := customertest.New(t)
	g.Hang = true
	c := enter(t, g)
	o := order(t, c, orderapi.PlaceRequest{Card: customer.CardOK})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err := c.Follow(ctx, o.ID, time.Hour, func(customer.News) bool { return true })
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
}

// Events of several services come in any order and more than once.
func TestProgressInAnyOrder(t *testing.T) {
	at := func(ms int) time.Time { return customertest.Placed.Add(time.Duration(ms) * time.Millisecond) }
	events := []publicapi.Event{
		{Type: "order.placed", Time: at(0)},
		{Type: "payment.authorized", Time: at(100), Data: json.RawMessage(`{"amount":2150,"currency":"EUR"}`)},
		{Type: "restaurant.ticket-accepted", Time: at(200), Data: json.RawMessage(`{"prep_minutes":12}`)},
		{Type: "order.accepted", Time: at(210), Data: json.RawMessage(`{"prep_minutes":12}`)},
		{Type: "payment.captured", Time: at(300), Data: json.RawMessage(`{"amount":2150,"currency":"EUR"}`)},
		{Type: "delivery.courier-assigned", Time: at(400), Data: json.RawMessage(`{"courier_id":"usr_c"}`)},
		{Type: "delivery.location-updated", Time: at(450)},
		{Type: "restaurant.ticket-ready", Time: at(500)},
		{Type: "order.picked-up", Time: at(600)},
		{Type: "order.delivered", Time: at(700)},
	}
	want := []customer.Step{
		{Name: "placed", At: at(0)},
		{Name: "payment_authorized", At: at(100), Seconds: 0.1, Note: "21.50 EUR"},
		{Name: "kitchen_accepted", At: at(200), Seconds: 0.2, Note: "12 min to cook"},
		{Name: "payment_captured", At: at(300), Seconds: 0.3, Note: "21.50 EUR"},
		{Name: "courier_assigned", At: at(400), Seconds: 0.4, Note: "usr_c"},
		{Name: "ready", At: at(500), Seconds: 0.5},
		{Name: "picked_up", At: at(600), Seconds: 0.6},
		{Name: "delivered", At: at(700), Seconds: 0.7},
	}
	for seed := range uint64(50) {
		var p customer.Progress
		rng := rand.New(rand.NewPCG(seed, 0))
		for range 2 {
			for _, i := range rng.Perm(len(events)) {
				p.SeeEvent(events[i])
			}
		}
		if got, want := p.Status, orderapi.Delivered; got != want {
			t.Errorf("seed %d: status: got %s, want %s", seed, got, want)
		}
		if diff := cmp.Diff(want, p.Steps()); diff != "" {
			t.Fatalf("seed %d: steps (-want +got):\n%s", seed, diff)
		}
	}
}

func TestChoose(t *testing.T) {
	g := customertest.New(t)
	town, err := customer.Site{URL: g.URL}.Explore(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(100) {
		in := town.Choose(rand.New(rand.NewPCG(1, seed)))
		if diff := cmp.Diff(in, town.Choose(rand.New(rand.NewPCG(1, seed)))); diff != "" {
			t.Fatalf("the same seed chose otherwise:\n%s", diff)
		}
		if in.RestaurantID != "rst_01" || len(in.Items) == 0 {
			t.Fatalf("got %+v, want dishes of rst_01", in)
		}
		for _, line := range in.Items {
			if line.ItemID == "itm_truffle" {
				t.Error("got a dish that is sold out")
			}
			if got, want := len(line.Options), 1; line.ItemID == "itm_lasagne" && got != want {
				t.Errorf("options of the lasagne: got %d, want %d", got, want)
			}
		}
	}
}

func TestChooseItems(t *testing.T) {
	g := customertest.New(t)
	town, err := customer.Site{URL: g.URL}.Explore(t.Context(), "prova")
	if err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 1))
	in, err := town.ChooseItems(rng, []string{"lasagne:3", "itm_water"})
	if err != nil {
		t.Fatal(err)
	}
	if len(in.Items) != 2 || in.Items[0].ItemID != "itm_lasagne" || in.Items[0].Quantity != 3 || in.Items[1].ItemID != "itm_water" {
		t.Errorf("got %+v, want 3 lasagne and a water", in.Items)
	}
	for _, tc := range []struct{ item, want string }{
		{"sushi", `has no "sushi"; it has Lasagne (itm_lasagne), `},
		{"water:0", "must be 1 to 50"},
		{"water:x", "must be 1 to 50"},
	} {
		if _, err := town.ChooseItems(rng, []string{tc.item}); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: got %v, want %q", tc.item, err, tc.want)
		}
	}
	if _, err := (customer.Site{URL: g.URL}).Explore(t.Context(), "nowhere"); err == nil || !strings.Contains(err.Error(), "Trattoria Prova (rst_01)") {
		t.Errorf("got %v, want the restaurants that there are", err)
	}
}

func TestJournal(t *testing.T) {
	data := t.TempDir()
	path := filepath.Join(customer.Folder(data), customer.JournalFile)
	for i := range 3 {
		j, err := customer.OpenJournal(data)
		if err != nil {
			t.Fatal(err)
		}
		if err := j.Append(orderapi.Order{ID: "ord_1", CustomerID: "usr_1", Bill: orderapi.Bill{Total: 2150, Currency: "EUR"}}, customertest.Placed); err != nil {
			t.Fatal(err)
		}
		if err := j.Close(); err != nil {
			t.Fatal(err)
		}
		if i == 0 { // a line that was torn by a crash
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, err = f.WriteString(`{"order_id":"or`)
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		}
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	line := `{"order_id":"ord_1","acknowledged_at":"2026-11-22T12:00:00Z","customer_id":"usr_1","total":2150,"currency":"EUR"}` + "\n"
	if diff := cmp.Diff(line+`{"order_id":"or`+"\n"+line+line, string(raw)); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
}
