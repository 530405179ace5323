package delivery_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

func newOutbox(d *run.Deps) *outbox.Outbox {
	return outbox.New(d.State, d.Publisher, outbox.Options{Instance: d.Instance, Log: d.Log})
}

func TestDeliveryFromRequestToTheDoor(t *testing.T) {
	w := start(t, config(t), nil)
	w.online(1, at(3000))
	w.online(2, at(500))
	if got, want := w.dispatch("ord_1"), (deliveryapi.DispatchResult{Status: deliveryapi.Requested}); got != want {
		t.Fatalf("dispatch: got %+v, want %+v", got, want)
	}
	if w.offered(1, "ord_1") || !w.offered(2, "ord_1") {
		t.Error("the nearest courier was not the one who was asked")
	}
	w.must(w.courierDoes(2, "accept", "ord_1"))
	if got := w.view(2); got.Courier.OrderID != "ord_1" || got.Delivery == nil || len(got.Offers) != 0 {
		t.Errorf("courier after accepting: %+v", got)
	}
	if got := w.get("ord_1"); got.Status != deliveryapi.Assigned || got.CourierID != courier(2).Subject || got.Courier == nil || got.ETA.IsZero() {
		t.Errorf("tracking after accepting: %+v", got)
	}
	w.must(w.courierDoes(2, "pickup", "ord_1"))
	w.must(w.courierDoes(2, "deliver", "ord_1"))
	if got := w.view(2); got.Courier.OrderID != "" || got.Delivery != nil {
		t.Errorf("courier after delivering: %+v", got)
	}
	want := []string{"requested", "offered", "courier-assigned", "picked-up", "delivered"}
	w.eventually("all events are published", func() bool { return len(w.types("ord_1")) >= len(want) })
	if diff := cmp.Diff(want, w.types("ord_1")); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got := w.dispatch("ord_1"); got.Status != deliveryapi.Delivered {
		t.Errorf("dispatch again: got %s", got.Status)
	}
}

func TestSearchWidensAndStopsAtTheWidestRound(t *testing.T) {
	w := start(t, config(t), nil)
	if got := w.dispatch("ord_0"); got.Status != deliveryapi.Unavailable || got.Reason != deliveryapi.ReasonNoneOnline {
		t.Errorf("nobody online: got %+v", got)
	}
	w.online(1, at(12_500))
	if got := w.dispatch("ord_1"); got.Status != deliveryapi.Unavailable || got.Reason != deliveryapi.ReasonNoneOnline {
		t.Errorf("nobody within reach: got %+v", got)
	}
	w.online(2, at(11_000))
	if got := w.dispatch("ord_2"); got.Status != deliveryapi.Requested || !w.offered(2, "ord_2") {
		t.Errorf("one in the last round: got %+v", got)
	}
}

func TestDeclinedByAll(t *testing.T) {
	w := start(t, config(t), nil)
	const n = 24
	for i := range n {
		w.online(i, at(float64(100*i)))
	}
	w.dispatch("ord_1")
	for i := range n {
		w.eventually("the next courier is asked", func() bool { return w.offered(i, "ord_1") })
		w.must(w.courierDoes(i, "decline", "ord_1"))
		w.must(w.courierDoes(i, "decline", "ord_1")) // a repetition is no second no
	}
	if got := w.get("ord_1"); got.Status != deliveryapi.Unavailable || got.Reason != deliveryapi.ReasonAllDeclined {
		t.Errorf("got %s %s", got.Status, got.Reason)
	}
	if got := w.dispatch("ord_2"); got.Status != deliveryapi.Requested {
		t.Errorf("the couriers are not free for the next order: %+v", got)
	}
}

func TestWaitsForBusyCouriersInOrderOfAge(t *testing.T) {
	w := start(t, config(t), nil)
	w.online(1, centre)
	orders := []string{"ord_1", "ord_2", "ord_3", "ord_4"}
	for _, o := range orders {
		if got := w.dispatch(o); got.Status != deliveryapi.Requested {
			t.Fatalf("%s: got %+v", o, got)
		}
	}
	for _, o := range orders {
		w.eventually(o+" is offered", func() bool { return w.offered(1, o) })
		w.must(w.courierDoes(1, "accept", o))
		w.must(w.courierDoes(1, "pickup", o))
		w.must(w.courierDoes(1, "deliver", o))
	}
}

func TestOfferExpires(t *testing.T) {
	cfg := config(t)
	cfg.OfferTTL = 60 * time.Millisecond
	w := start(t, cfg, nil)
	w.online(1, at(100))
	w.online(2, at(200))
	w.dispatch("ord_1")
	w.eventually("the second is asked", func() bool { return w.offered(2, "ord_1") })
	wantProblem(t, w.courierDoes(1, "accept", "ord_1"), problem.OfferLost)
	w.eventually("the first is asked again", func() bool { return w.offered(1, "ord_1") })
	w.eventually("an offer is accepted", func() bool {
		return w.courierDoes(1, "accept", "ord_1") == nil || w.courierDoes(2, "accept", "ord_1") == nil
	})
	w.eventually("the expiry is published", func() bool { return slices.Contains(w.types("ord_1"), "offer-expired") })
}

func TestDeadline(t *testing.T) {
	w := start(t, config(t), nil)
	w.online(1, centre)
	w.dispatch("ord_1")
	w.must(w.courierDoes(1, "accept", "ord_1"))
	in := request()
	in.Deadline = time.Now().Add(100 * time.Millisecond)
	got, err := w.client.Dispatch(t.Context(), "ord_2", in)
	w.must(err)
	if got.Status != deliveryapi.Requested {
		t.Fatalf("got %+v", got)
	}
	w.eventually("the search ends", func() bool { return w.get("ord_2").Status == deliveryapi.Unavailable })
	if got := w.get("ord_2").Reason; got != deliveryapi.ReasonDeadline {
		t.Errorf("reason %s", got)
	}
}

func TestRestartInTheMiddleOfASearch(t *testing.T) {
	cfg := config(t)
	cfg.OfferTTL = 200 * time.Millisecond
	first := start(t, cfg, nil)
	first.online(1, at(100))
	first.dispatch("ord_busy")
	first.must(first.courierDoes(1, "accept", "ord_busy"))
	first.online(2, at(200))
	first.dispatch("ord_offered") // courier 2 is asked
	first.dispatch("ord_waiting") // nobody is free
	first.stop()

	w := start(t, cfg, first.fakes.Store)
	if v := w.view(1); v.Courier.OrderID != "ord_busy" || v.Delivery == nil {
		t.Errorf("the courier's order is lost: %+v", v)
	}
	w.must(w.courierDoes(1, "pickup", "ord_busy"))
	w.must(w.courierDoes(1, "deliver", "ord_busy"))
	for _, o := range []string{"ord_offered", "ord_waiting"} {
		w.eventually(o+" finds a courier", func() bool {
			return w.courierDoes(1, "accept", o) == nil || w.courierDoes(2, "accept", o) == nil
		})
	}
}

func TestGoingOfflineDeclines(t *testing.T) {
	w := start(t, config(t), nil)
	w.online(1, at(100))
	w.online(2, at(200))
	w.dispatch("ord_1")
	w.must(w.do(courier(1), "PUT", "/v1/couriers/me", map[string]any{"online": false}, nil))
	if !w.offered(2, "ord_1") {
		t.Error("the next courier is not asked")
	}
	w.must(w.do(courier(2), "PUT", "/v1/couriers/me", map[string]any{"online": false}, nil))
	if got := w.get("ord_1"); got.Status != deliveryapi.Unavailable {
		t.Errorf("nobody is left: got %s", got.Status)
	}
}

func TestRelease(t *testing.T) {
	released, pickedUp := deliveryapi.ReleaseResult{Released: true}, deliveryapi.ReleaseResult{PickedUp: true}
	tests := []struct {
		name   string
		steps  []string
		want   deliveryapi.ReleaseResult
		events []string
	}{
		{"never requested", nil, released, []string{"barred"}},
		{"offered", []string{"dispatch"}, released, []string{"requested", "offered", "released"}},
		{"assigned", []string{"dispatch", "accept"}, released, []string{"requested", "offered", "courier-assigned", "released"}},
		{"picked up", []string{"dispatch", "accept", "pickup"}, pickedUp, []string{"requested", "offered", "courier-assigned", "picked-up"}},
		{"delivered", []string{"dispatch", "accept", "pickup", "deliver"}, pickedUp, []string{"requested", "offered", "courier-assigned", "picked-up", "delivered"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, config(t), nil)
			w.online(1, centre)
			for _, step := range tt.steps {
				if step == "dispatch" {
					w.dispatch("ord_1")
					continue
				}
				w.must(w.courierDoes(1, step, "ord_1"))
			}
			for range 2 {
				got, err := w.client.Release(t.Context(), "ord_1", deliveryapi.ReleaseRequest{Reason: "cancelled"})
				w.must(err)
				if got != tt.want {
					t.Errorf("got %+v, want %+v", got, tt.want)
				}
			}
			w.eventually("all events are published", func() bool { return len(w.types("ord_1")) >= len(tt.events) })
			if diff := cmp.Diff(tt.events, w.types("ord_1")); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			if tt.want == released {
				if got := w.dispatch("ord_1"); got.Status != deliveryapi.Released {
					t.Errorf("dispatch afterwards: got %+v", got)
				}
				if got := w.dispatch("ord_2"); got.Status != deliveryapi.Requested || !w.offered(1, "ord_2") {
					t.Errorf("the courier is not free again: %+v", got)
				}
			}
		})
	}
}

func TestCourierStates(t *testing.T) {
	tests := []struct {
		name  string
		steps []string // by courier 1
		who   int
		do    string
		want  problem.Type // "": works
	}{
		{"accept twice", []string{"accept"}, 1, "accept", ""},
		{"accept what another has", []string{"accept"}, 2, "accept", problem.OfferLost},
		{"accept what another is offered", nil, 2, "accept", problem.OfferLost},
		{"decline what another is offered", nil, 2, "decline", problem.OfferLost},
		{"decline after accepting", []string{"accept"}, 1, "decline", problem.OfferLost},
		{"accept after declining", []string{"decline"}, 1, "accept", problem.OfferLost},
		{"pick up before accepting", nil, 1, "pickup", problem.NotFound},
		{"pick up what another has", []string{"accept"}, 2, "pickup", problem.NotFound},
		{"pick up twice", []string{"accept", "pickup"}, 1, "pickup", ""},
		{"pick up after delivering", []string{"accept", "pickup", "deliver"}, 1, "pickup", problem.IllegalState},
		{"deliver before picking up", []string{"accept"}, 1, "deliver", problem.IllegalState},
		{"deliver what another has", []string{"accept", "pickup"}, 2, "deliver", problem.NotFound},
		{"deliver twice", []string{"accept", "pickup", "deliver"}, 1, "deliver", ""},
		{"accept after delivering", []string{"accept", "pickup", "deliver"}, 1, "accept", problem.OfferLost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, config(t), nil)
			w.online(1, at(100))
			w.online(2, at(9000))
			w.dispatch("ord_1")
			for _, step := range tt.steps {
				w.must(w.courierDoes(1, step, "ord_1"))
			}
			err := w.courierDoes(tt.who, tt.do, "ord_1")
			if tt.want == "" {
				w.must(err)
			} else {
				wantProblem(t, err, tt.want)
			}
		})
	}
	t.Run("no such order", func(t *testing.T) {
		w := start(t, config(t), nil)
		w.online(1, centre)
		for _, do := range []string{"accept", "decline", "pickup", "deliver"} {
			wantProblem(t, w.courierDoes(1, do, "ord_none"), problem.NotFound)
		}
	})
	t.Run("a second order", func(t *testing.T) {
		w := start(t, config(t), nil)
		w.online(1, centre)
		w.dispatch("ord_1")
		w.dispatch("ord_2")
		w.must(w.courierDoes(1, "accept", "ord_1"))
		wantProblem(t, w.courierDoes(1, "accept", "ord_2"), problem.CourierBusy)
	})
}

func TestWhoMayDoWhat(t *testing.T) {
	w := start(t, config(t), nil)
	w.online(1, centre)
	w.dispatch("ord_1")
	w.must(w.courierDoes(1, "accept", "ord_1"))
	tests := []struct {
		name         string
		who          web.Identity
		method, path string
		in           any
		want         problem.Type
	}{
		{"its customer tracks", web.Identity{Subject: "usr_customer", Role: web.RoleCustomer}, "GET", "/v1/deliveries/ord_1", nil, ""},
		{"its courier tracks", courier(1), "GET", "/v1/deliveries/ord_1", nil, ""},
		{"the operator tracks", web.Identity{Subject: "usr_op", Role: web.RoleOperator}, "GET", "/v1/deliveries/ord_1", nil, ""},
		{"another customer tracks", web.Identity{Subject: "usr_x", Role: web.RoleCustomer}, "GET", "/v1/deliveries/ord_1", nil, problem.NotFound},
		{"another courier tracks", courier(2), "GET", "/v1/deliveries/ord_1", nil, problem.NotFound},
		{"nobody tracks", web.Identity{}, "GET", "/v1/deliveries/ord_1", nil, problem.NotFound},
		{"a customer accepts", web.Identity{Subject: "usr_customer", Role: web.RoleCustomer}, "POST", "/v1/deliveries/ord_1/accept", nil, problem.Forbidden},
		{"a customer goes online", web.Identity{Subject: "usr_customer", Role: web.RoleCustomer}, "PUT", "/v1/couriers/me", map[string]any{"online": true, "lat": 1, "lon": 1}, problem.Forbidden},
		{"online without a place", courier(3), "PUT", "/v1/couriers/me", map[string]any{"online": true}, problem.InvalidRequest},
		{"online without saying so", courier(3), "PUT", "/v1/couriers/me", map[string]any{"lat": 1, "lon": 1}, problem.InvalidRequest},
		{"half a position", courier(1), "PUT", "/v1/couriers/me/position", map[string]any{"lat": 1}, problem.InvalidRequest},
		{"off the globe", courier(1), "PUT", "/v1/couriers/me/position", map[string]any{"lat": 91, "lon": 1}, problem.InvalidRequest},
		{"unknown field", courier(1), "PUT", "/v1/couriers/me/position", map[string]any{"lat": 1, "lon": 1, "speed": 3}, problem.InvalidRequest},
		{"position before online", courier(3), "PUT", "/v1/couriers/me/position", map[string]any{"lat": 1, "lon": 1}, problem.IllegalState},
		{"dispatch without a place", web.Identity{}, "POST", "/internal/deliveries/ord_9/dispatch", map[string]any{"restaurant_id": "rst_1", "customer_id": "usr_1"}, problem.InvalidRequest},
		{"an order id that is none", courier(1), "POST", "/v1/deliveries/a%20b/accept", nil, problem.NotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := w.do(tt.who, tt.method, tt.path, tt.in, nil)
			if tt.want == "" {
				w.must(err)
			} else {
				wantProblem(t, err, tt.want)
			}
		})
	}
}
