package courier_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/city/actor"
	"github.com/dishmesh/dishmesh/services/city/actor/actortest"
	"github.com/dishmesh/dishmesh/services/city/courier"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

const live = "/v1/couriers/me/live"

var restaurantAt = geo.Point{Lat: 52.5, Lon: 13.4}

// hub is the platform as one courier sees it.
type hub struct {
	t       *testing.T
	gateway *actortest.Gateway

	mu       sync.Mutex
	online   bool
	at       geo.Point
	offers   []deliveryapi.Offer
	delivery *deliveryapi.Tracking
	ready    map[string]bool
	lost     map[string]bool // offers that somebody else was faster for
	done     []string
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{t: t, gateway: actortest.New(t), ready: map[string]bool{}, lost: map[string]bool{}}
	g := h.gateway
	g.On("GET /v1/restaurants?limit=100", func([]byte) (any, error) {
		return menuapi.List{Restaurants: []menuapi.Restaurant{{ID: "rst_01", Lat: restaurantAt.Lat, Lon: restaurantAt.Lon}}}, nil
	})
	g.On("GET /v1/couriers/me", func([]byte) (any, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return deliveryapi.CourierView{
			Courier: deliveryapi.Courier{CourierID: "usr_c", Online: h.online}, Offers: slices.Clone(h.offers), Delivery: h.delivery,
		}, nil
	})
	g.On("PUT /v1/couriers/me", func(body []byte) (any, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		var in deliveryapi.PresenceRequest
		if err := json.Unmarshal(body, &in); err != nil {
			return nil, problem.New(problem.MalformedJSON, "%v", err)
		}
		h.online, h.at = *in.Online, geo.Point{Lat: *in.Lat, Lon: *in.Lon}
		return struct{}{}, nil
	})
	g.On("PUT /v1/couriers/me/position", func([]byte) (any, error) { return struct{}{}, nil })
	return h
}

// start sends a courier to work.
func (h *hub) start(pace actor.Pace) {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan struct{})
	town := actor.NewTown(h.gateway.URL, publicapi.NewHTTPClient(), pace, slog.New(slog.DiscardHandler))
	go func() {
		defer close(done)
		courier.Run(ctx, town, actor.Account{Email: "c@example.org", Password: "p", Role: actor.RoleCourier}, 0)
	}()
	h.t.Cleanup(func() { cancel(); <-done })
	actortest.Eventually(h.t, "the courier follows the offers", func() bool { return h.gateway.Followed(live) })
	actortest.Eventually(h.t, "the courier is online", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.online
	})
}

// add makes an order known, with the answers to what a courier may do with it.
func (h *hub) add(order string) {
	on := func(step string, f func() error) {
		h.gateway.On("POST /v1/deliveries/"+order+"/"+step, func([]byte) (any, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if err := f(); err != nil {
				return nil, err
			}
			return deliveryapi.Tracking{OrderID: order, Status: deliveryapi.Assigned, Ready: h.ready[order]}, nil
		})
	}
	on("accept", func() error {
		h.offers = slices.DeleteFunc(h.offers, func(o deliveryapi.Offer) bool { return o.OrderID == order })
		switch {
		case h.lost[order]:
			return problem.New(problem.OfferLost, "")
		case h.delivery != nil:
			return problem.New(problem.CourierBusy, "")
		}
		h.delivery = h.tracking(order, deliveryapi.Assigned)
		return nil
	})
	on("decline", func() error {
		h.offers = slices.DeleteFunc(h.offers, func(o deliveryapi.Offer) bool { return o.OrderID == order })
		return nil
	})
	on("pickup", func() error {
		if h.delivery == nil || h.delivery.OrderID != order || !h.ready[order] {
			return problem.New(problem.IllegalState, "")
		}
		h.delivery.Status = deliveryapi.PickedUp
		return nil
	})
	on("deliver", func() error {
		if h.delivery == nil || h.delivery.OrderID != order || h.delivery.Status != deliveryapi.PickedUp {
			return problem.New(problem.IllegalState, "")
		}
		h.delivery = nil
		h.done = append(h.done, order)
		return nil
	})
	h.gateway.On("GET /v1/deliveries/"+order, func([]byte) (any, error) {
		h.mu.Lock()
		defer h.mu.Unlock()
		return deliveryapi.Tracking{OrderID: order, Ready: h.ready[order]}, nil
	})
}

func (h *hub) tracking(order string, s deliveryapi.Status) *deliveryapi.Tracking {
	return &deliveryapi.Tracking{
		OrderID: order, Status: s, Ready: h.ready[order],
		Pickup: deliveryapi.Place{Point: restaurantAt}, Dropoff: deliveryapi.Place{Point: geo.Point{Lat: 52.51, Lon: 13.41}},
	}
}

// offer offers an order, with a live event or only to be found by looking.
func (h *hub) offer(order, note string, event bool) {
	h.t.Helper()
	h.add(order)
	o := deliveryapi.Offer{
		OrderID: order, Pickup: deliveryapi.Place{Point: restaurantAt}, CourierNote: note, ExpiresAt: time.Now().Add(time.Minute),
	}
	h.mu.Lock()
	h.offers = append(h.offers, o)
	h.mu.Unlock()
	if event {
		h.gateway.Emit(h.t, live, deliveryapi.TypeOffered, order, &deliveryapi.OfferedData{
			OrderId: order, Pickup: o.Pickup.Message(), CourierNote: note, ExpiresAt: contract.Timestamp(o.ExpiresAt),
		})
	}
}

func (h *hub) setReady(order string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready[order] = true
}

func (h *hub) delivered(orders ...string) func() bool {
	return func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.Equal(h.done, orders)
	}
}

func (h *hub) called(call string) func() bool {
	return func() bool { return slices.Contains(h.gateway.Calls(), call) }
}

func TestCourierDelivers(t *testing.T) {
	h := newHub(t)
	h.start(actor.Pace{Seed: 1})
	if d := geo.Distance(h.at, restaurantAt); d > 1000 {
		t.Errorf("the courier lives %.0f m from the restaurant, want at most 1000", d)
	}
	h.offer("ord_1", "", true)
	actortest.Eventually(t, "the offer is accepted", h.called("POST /v1/deliveries/ord_1/accept"))
	h.setReady("ord_1")
	h.gateway.Emit(t, live, restaurantapi.TypeTicketReady, "ord_1", &restaurantapi.TicketReady{OrderId: "ord_1"})
	actortest.Eventually(t, "the order is delivered", h.delivered("ord_1"))
	want := []string{
		"PUT /v1/couriers/me", "POST /v1/deliveries/ord_1/accept", "POST /v1/deliveries/ord_1/pickup", "POST /v1/deliveries/ord_1/deliver",
	}
	if diff := cmp.Diff(want, h.gateway.Calls()); diff != "" {
		t.Errorf("calls -want +got:\n%s", diff)
	}
}

func TestCourierTravelsAndReportsIt(t *testing.T) {
	h := newHub(t)
	h.setReady("ord_1")
	h.start(actor.Pace{Seed: 1, Scale: 0.1})
	h.offer("ord_1", "", true)
	actortest.Eventually(t, "the order is delivered", h.delivered("ord_1"))
	if !h.called("PUT /v1/couriers/me/position")() {
		t.Error("no position was reported on the way")
	}
}

func TestCourierFindsThatTheFoodIsReady(t *testing.T) {
	h := newHub(t)
	h.start(actor.Pace{Seed: 1})
	h.offer("ord_1", "", true)
	actortest.Eventually(t, "the offer is accepted", h.called("POST /v1/deliveries/ord_1/accept"))
	h.setReady("ord_1") // and the event gets lost
	actortest.Eventually(t, "the order is delivered", h.delivered("ord_1"))
}

func TestCourierCarriesOnAfterARestart(t *testing.T) {
	for _, status := range []deliveryapi.Status{deliveryapi.Assigned, deliveryapi.PickedUp} {
		t.Run(string(status), func(t *testing.T) {
			h := newHub(t)
			h.add("ord_1")
			h.setReady("ord_1")
			h.delivery = h.tracking("ord_1", status)
			h.start(actor.Pace{Seed: 1})
			actortest.Eventually(t, "the order is delivered", h.delivered("ord_1"))
		})
	}
}

func TestCourierCarriesOnAfterThePlatformRestarts(t *testing.T) {
	h := newHub(t)
	h.start(actor.Pace{Seed: 1})
	h.mu.Lock()
	h.online = false // forgotten
	h.mu.Unlock()
	h.setReady("ord_1")
	h.offer("ord_1", "", false)
	h.gateway.Cut()
	actortest.Eventually(t, "the order is delivered", h.delivered("ord_1"))
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.online {
		t.Error("the courier is not online again")
	}
}

func TestCourierDeclinesWhenTold(t *testing.T) {
	h := newHub(t)
	h.start(actor.Pace{Seed: 1})
	h.offer("ord_1", "city:courier=none", true)
	actortest.Eventually(t, "the offer is declined", h.called("POST /v1/deliveries/ord_1/decline"))
	if h.called("POST /v1/deliveries/ord_1/accept")() {
		t.Error("the offer was accepted")
	}
}

func TestCourierTakesTheNextWhenAnOfferIsLost(t *testing.T) {
	h := newHub(t)
	h.start(actor.Pace{Seed: 1})
	h.lost["ord_1"] = true
	h.setReady("ord_2")
	h.offer("ord_1", "", true)
	h.offer("ord_2", "", true)
	actortest.Eventually(t, "the second order is delivered", h.delivered("ord_2"))
}

func TestCourierLetsGoOfAReleasedOrder(t *testing.T) {
	h := newHub(t)
	h.start(actor.Pace{Seed: 1})
	h.offer("ord_1", "", true)
	actortest.Eventually(t, "the offer is accepted", h.called("POST /v1/deliveries/ord_1/accept"))
	h.mu.Lock()
	h.delivery = nil
	h.mu.Unlock()
	h.gateway.Emit(t, live, deliveryapi.TypeReleased, "ord_1", &deliveryapi.ReleasedData{})
	h.setReady("ord_2")
	h.offer("ord_2", "", true)
	actortest.Eventually(t, "the next order is delivered", h.delivered("ord_2"))
}

func TestCourierWorksOffARush(t *testing.T) {
	h := newHub(t)
	h.start(actor.Pace{Seed: 1})
	var all []string
	for i := range 5 {
		order := fmt.Sprintf("ord_%d", i)
		all = append(all, order)
		h.setReady(order)
		h.offer(order, "", true)
	}
	actortest.Eventually(t, "all orders are delivered", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return cmp.Equal(slices.Sorted(slices.Values(h.done)), all)
	})
}
