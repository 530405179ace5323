package analytics_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/dishmesh/dishmesh/services/analytics"
	"github.com/dishmesh/dishmesh/services/analytics/analyticsapi"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract/catalogue"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi/orderv2"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

var start = time.Date(2026, 11, 2, 18, 0, 0, 0, time.UTC)

type service struct {
	t      testing.TB
	fakes  *runtest.Fakes
	router *mux.Router
}

func newService(t testing.TB) *service {
	t.Helper()
	d, f := runtest.New(t, analytics.Name)
	return serve(t, d, f, 0)
}

func serve(t testing.TB, d *run.Deps, f *runtest.Fakes, window time.Duration) *service {
	t.Helper()
	s, err := analytics.New(d, analytics.Config{BatchWindow: window, BatchMax: 16})
	if err != nil {
		t.Fatal(err)
	}
	return &service{t, f, runtest.Router(d, s)}
}

// event makes an event that happened some seconds after the start.
func event(name, subject string, seq int, after float64, data any) cloudevent.Event {
	schema, b, err := encode(name, data)
	if err != nil {
		panic(err)
	}
	entity, _, _ := strings.Cut(name, ".")
	stream := entity
	if entity == "restaurant" {
		stream = "ticket"
	}
	return cloudevent.Event{
		SpecVersion: "1.0", ID: fmt.Sprintf("%s/%s/%d", stream, subject, seq), Source: "dishmesh/" + entity,
		Type: cloudevent.Prefix + name, Subject: subject, Time: start.Add(time.Duration(after * float64(time.Second))),
		Sequence: strconv.Itoa(seq), DataSchema: schema, Data: b,
	}
}

func encode(name string, data any) (string, []byte, error) {
	if m, ok := data.(proto.Message); ok {
		return catalogue.All.Encode(name, m)
	}
	b, err := json.Marshal(data)
	return "", b, err
}

// deliver brings an event in as the sidecar does and gives the answer's status.
func (s *service) deliver(e cloudevent.Event) string { return runtest.Deliver(s.t, s.router, e) }

func (s *service) deliverAll(events []cloudevent.Event) {
	s.t.Helper()
	for _, e := range events {
		if got := s.deliver(e); got != "SUCCESS" {
			s.t.Fatalf("%s: %s, want SUCCESS", e.ID, got)
		}
	}
}

func (s *service) get(path string, into any) {
	s.t.Helper()
	r := httptest.NewRequest("GET", path, nil)
	web.Identity{Subject: "usr_op", Role: web.RoleOperator}.Set(r.Header)
	w := httptest.NewRecorder()
	s.router.ServeHTTP(w, r)
	if w.Code != http.StatusOK {
		s.t.Fatalf("GET %s: %d %s", path, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		s.t.Fatal(err)
	}
}

func (s *service) summary() analyticsapi.Summary {
	s.t.Helper()
	var sum analyticsapi.Summary
	s.get("/v1/analytics/summary", &sum)
	return sum
}

type obj = map[string]any

// deliveredOrder is the story of an order that went well.
func deliveredOrder(id, restaurant string, total int64, at float64) []cloudevent.Event {
	bill := orderapi.Bill{Currency: "EUR", Total: total}
	return []cloudevent.Event{
		event(orderapi.EventPlaced, id, 1, at, &orderapi.PlacedEvent{OrderId: id, CustomerId: "usr_1", RestaurantId: restaurant, RestaurantName: "Name of " + restaurant, Currency: bill.Currency, Subtotal: bill.Subtotal, DeliveryFee: bill.DeliveryFee, Discount: bill.Discount, Total: bill.Total}),
		event(paymentapi.EventAuthorized, id, 1, at+0.2, &paymentapi.Event{OrderId: id, Amount: total, Currency: "EUR"}),
		event(orderapi.EventAccepted, id, 2, at+2, &orderapi.AcceptedEvent{OrderId: id, CustomerId: "usr_1", RestaurantId: restaurant, PrepMinutes: 10}),
		event(deliveryapi.TypeCourierAssigned, id, 3, at+3, &deliveryapi.CourierAssignedData{OrderId: id, CourierId: "usr_c"}),
		event("restaurant.ticket-ready", id, 3, at+8, obj{"order_id": id, "restaurant_id": restaurant}),
		event(orderapi.EventPickedUp, id, 3, at+9, &orderapi.PickedUpEvent{OrderId: id, CustomerId: "usr_1", CourierId: "usr_c"}),
		event(paymentapi.EventCaptured, id, 2, at+9.5, &paymentapi.Event{OrderId: id, Amount: total, Currency: "EUR"}),
		event(orderapi.EventDelivered, id, 4, at+20, &orderv2.DeliveredEvent{OrderId: id, CustomerId: "usr_1", RestaurantId: restaurant, Bill: bill.Message()}),
	}
}

func refundedOrder(id, restaurant string, total int64, at float64) []cloudevent.Event {
	events := slices.Clone(deliveredOrder(id, restaurant, total, at)[:7])
	return append(events,
		event(paymentapi.EventRefunded, id, 3, at+12, &paymentapi.Event{OrderId: id, Amount: total, Currency: "EUR", Reason: "cancelled"}),
		event(orderapi.EventCancelled, id, 4, at+13, &orderapi.EndedEvent{OrderId: id, RestaurantId: restaurant, Status: string(orderapi.Cancelled), Reason: "customer"}))
}

func declinedOrder(id, restaurant string, total int64, at float64) []cloudevent.Event {
	return append(slices.Clone(deliveredOrder(id, restaurant, total, at)[:1]),
		event(orderapi.EventFailed, id, 2, at+1, &orderapi.EndedEvent{OrderId: id, RestaurantId: restaurant, Status: string(orderapi.Declined), Reason: "payment_declined"}))
}

func TestSummary(t *testing.T) {
	s := newService(t)
	s.deliverAll(slices.Concat(
		deliveredOrder("ord_1", "rst_a", 2000, 0),
		refundedOrder("ord_2", "rst_a", 1000, 100),
		declinedOrder("ord_3", "rst_b", 500, 200),
		deliveredOrder("ord_4", "rst_b", 5000, 86400)[:1],
		[]cloudevent.Event{event("user.registered", "usr_1", 1, 0, &userapi.RegisteredEvent{UserId: "usr_1", Role: "customer"})},
	))
	got := s.summary()
	asOf := start.Add(86400 * time.Second)
	want := analyticsapi.Summary{
		AsOf: &asOf, Consistency: "eventual", Currency: "EUR",
		Orders:  analyticsapi.Orders{Total: 4, ByStatus: map[string]int64{"delivered": 1, "cancelled": 1, "declined": 1, "placed": 1}},
		Revenue: analyticsapi.Revenue{Gross: 3000, Refunded: 1000, Net: 2000, Currency: "EUR"},
		ByDay: []analyticsapi.Day{
			{Date: "2026-11-03", Orders: 1},
			{Date: "2026-11-02", Orders: 3, Gross: 3000, Refunded: 1000, Net: 2000},
		},
		Restaurants: []analyticsapi.Restaurant{
			{RestaurantID: "rst_a", Name: "Name of rst_a", Orders: 2, Delivered: 1, Gross: 3000, Refunded: 1000, Net: 2000},
			{RestaurantID: "rst_b", Name: "Name of rst_b", Orders: 2},
		},
		Funnel: []analyticsapi.FunnelStep{
			{Step: "placed", Orders: 4, Share: 1}, {Step: "accepted", Orders: 2, Share: 0.5}, {Step: "ready", Orders: 2, Share: 0.5},
			{Step: "picked_up", Orders: 2, Share: 0.5}, {Step: "delivered", Orders: 1, Share: 0.25},
		},
		Accounts: map[string]int64{"customer": 1},
	}
	times := got.LeadTimes
	got.LeadTimes = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
	for name, want := range map[string]struct {
		count   int64
		seconds float64
	}{"placed_to_accepted": {2, 2}, "placed_to_assigned": {2, 3}, "accepted_to_ready": {2, 6}, "ready_to_picked_up": {2, 1}, "picked_up_to_delivered": {1, 11}, "placed_to_delivered": {1, 20}} {
		got := times[name]
		if got.Count != want.count || got.P50 < want.seconds*0.975 || got.P50 > want.seconds*1.025 || got.P90 != got.P50 {
			t.Errorf("%s: %+v, want %d at %v s", name, got, want.count, want.seconds)
		}
	}
}

func TestOrders(t *testing.T) {
	s := newService(t)
	for i := range 25 {
		s.deliverAll(deliveredOrder(fmt.Sprintf("ord_%02d", i), "rst_a", 100, float64(i))[:1])
	}
	var list analyticsapi.OrderList
	s.get("/v1/analytics/orders?limit=3", &list)
	var ids []string
	for _, o := range list.Orders {
		ids = append(ids, o.OrderID)
	}
	if diff := cmp.Diff([]string{"ord_24", "ord_23", "ord_22"}, ids); diff != "" {
		t.Errorf("newest orders (-want +got):\n%s", diff)
	}
	at := start.Add(24 * time.Second)
	want := analyticsapi.Order{OrderID: "ord_24", RestaurantID: "rst_a", RestaurantName: "Name of rst_a", Status: "placed", Currency: "EUR", Total: 100, PlacedAt: &at}
	if diff := cmp.Diff(want, list.Orders[0]); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	s.get("/v1/analytics/orders", &list)
	if len(list.Orders) != 20 {
		t.Errorf("%d orders without a limit, want 20", len(list.Orders))
	}
}

func TestRefusals(t *testing.T) {
	s := newService(t)
	tests := []struct {
		path   string
		caller web.Identity
		want   int
	}{
		{"/v1/analytics/summary", web.Identity{}, 401},
		{"/v1/analytics/summary", web.Identity{Subject: "usr_1", Role: web.RoleCustomer}, 403},
		{"/v1/analytics/orders", web.Identity{Subject: "usr_1", Role: web.RoleKitchen}, 403},
		{"/v1/analytics/orders?limit=0", web.Identity{Subject: "usr_1", Role: web.RoleOperator}, 400},
		{"/v1/analytics/orders?limit=101", web.Identity{Subject: "usr_1", Role: web.RoleOperator}, 400},
		{"/v1/analytics/orders?limit=x", web.Identity{Subject: "usr_1", Role: web.RoleOperator}, 400},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", tt.path, nil)
		tt.caller.Set(r.Header)
		w := httptest.NewRecorder()
		s.router.ServeHTTP(w, r)
		if w.Code != tt.want || w.Header().Get("Content-Type") != problem.ContentType {
			t.Errorf("GET %s as %q: %d %s, want %d", tt.path, tt.caller.Role, w.Code, w.Header().Get("Content-Type"), tt.want)
		}
	}
}

// An event that lacks what it must have is dead-lettered at once, and hurts no other.
func TestBadEvents(t *testing.T) {
	s := newService(t)
	for _, e := range []cloudevent.Event{
		event(orderapi.EventPlaced, "ord_1", 1, 0, obj{"total": 5}),
		event(orderapi.EventPlaced, "ord_1", 2, 0, obj{"order_id": "ord_1", "total": "five"}),
		event("user.registered", "usr_1", 1, 0, obj{"role": "customer"}),
	} {
		if got := s.deliver(e); got != "SUCCESS" {
			t.Errorf("%s: %s, want SUCCESS as it is dead-lettered", e.Data, got)
		}
	}
	if diff := cmp.Diff([]string{"dead-letter", "dead-letter", "dead-letter"}, s.fakes.Publisher.Types()); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
	if keys := s.fakes.Store.Keys(); len(keys) != 0 {
		t.Errorf("stored: %v, want nothing", keys)
	}
}

// Whatever the order and the number of deliveries, one after the other or at once, the counters are the same.
func TestOrderInsensitiveAndIdempotent(t *testing.T) {
	story := slices.Concat(
		deliveredOrder("ord_1", "rst_a", 2000, 0), refundedOrder("ord_2", "rst_a", 1000, 5), declinedOrder("ord_3", "rst_b", 500, 9),
		[]cloudevent.Event{
			event("delivery.courier-assigned", "ord_1", 9, 6, obj{"order_id": "ord_1", "courier_id": "usr_d"}), // again
			event("user.registered", "usr_1", 1, 0, &userapi.RegisteredEvent{UserId: "usr_1", Role: "customer"}),
		})
	ref := newService(t)
	ref.deliverAll(story)
	want := ref.summary()
	rapid.Check(t, func(rt *rapid.T) {
		s := newService(t)
		var batch []cloudevent.Event
		for _, e := range story {
			for range rapid.IntRange(1, 3).Draw(rt, "copies") {
				batch = append(batch, e)
			}
		}
		batch = rapid.Permutation(batch).Draw(rt, "order")
		if rapid.Bool().Draw(rt, "at once") {
			var all sync.WaitGroup
			for _, e := range batch {
				all.Go(func() { s.deliver(e) })
			}
			all.Wait()
		} else {
			s.deliverAll(batch)
		}
		if diff := cmp.Diff(want, s.summary()); diff != "" {
			rt.Fatalf("summary (-want +got):\n%s", diff)
		}
	})
}

// Two replicas that count in the same shard, on one store.
func TestReplicas(t *testing.T) {
	d1, f := runtest.New(t, analytics.Name)
	d2, _ := runtest.New(t, analytics.Name)
	d2.State = f.Store
	replicas := []*service{serve(t, d1, f, time.Millisecond), serve(t, d2, f, time.Millisecond)}
	var all sync.WaitGroup
	for i := range 20 {
		for j, e := range deliveredOrder(fmt.Sprintf("ord_%d", i), "rst_a", 100, float64(i)) {
			all.Go(func() {
				if got := replicas[(i+j+rand.IntN(2))%2].deliver(e); got != "SUCCESS" {
					t.Errorf("%s: %s", e.ID, got)
				}
			})
		}
	}
	all.Wait()
	got := replicas[0].summary()
	if got.Orders.ByStatus["delivered"] != 20 || got.Revenue.Gross != 2000 || got.Orders.Total != 20 {
		t.Errorf("orders %+v, revenue %+v; want 20 delivered for 2000", got.Orders, got.Revenue)
	}
}

// A store that fails loses no event: the delivery is tried again.
func TestStoreAway(t *testing.T) {
	s := newService(t)
	var mu sync.Mutex
	failures := 1
	s.fakes.Store.Fail = func([]sidecar.Op) error {
		mu.Lock()
		defer mu.Unlock()
		if failures > 0 {
			failures--
			return problem.New(problem.Unavailable, "the store does not answer")
		}
		return nil
	}
	s.deliverAll(deliveredOrder("ord_1", "rst_a", 2000, 0)[:1])
	if got := s.summary().Orders.Total; got != 1 {
		t.Errorf("%d orders, want 1", got)
	}
}

// The many events of a moment are written in few transactions.
func TestBatching(t *testing.T) {
	d, f := runtest.New(t, analytics.Name)
	s := serve(t, d, f, 5*time.Millisecond)
	var mu sync.Mutex
	transactions := 0
	s.fakes.Store.Fail = func([]sidecar.Op) error {
		mu.Lock()
		defer mu.Unlock()
		transactions++
		return nil
	}
	var all sync.WaitGroup
	for i := range 160 {
		e := deliveredOrder(fmt.Sprintf("ord_%d", i), "rst_a", 100, float64(i))[0]
		e.Time = time.Now() // one that is late would not wait for others
		all.Go(func() { s.deliver(e) })
	}
	all.Wait()
	if got := s.summary().Orders.Total; got != 160 {
		t.Errorf("%d orders, want 160", got)
	}
	if transactions > 80 {
		t.Errorf("%d transactions for 160 events", transactions)
	}
}
