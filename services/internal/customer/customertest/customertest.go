// Package customertest has a small gateway for tests of customers: it knows one restaurant, and an order's whole way is
// decided by its card and notes the moment it is placed.
package customertest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// Placed is when every order is placed.
var Placed = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// Gateway is the fake. Set its fields before the first request.
type Gateway struct {
	URL string
	// LosePlaces is how many of the first requests to place an order are carried out and then answered with 503.
	LosePlaces int
	// NoLive refuses live streams.
	NoLive bool
	// Hang leaves orders as they are placed.
	Hang bool

	mu       sync.Mutex
	accounts map[string]string // password by e-mail address
	orders   map[string]*order
	byKey    map[string]string
}

type order struct {
	orderapi.Order
	events []event
}

type event struct {
	name string
	data map[string]any
}

// New starts a gateway that ends with the test.
func New(t testing.TB) *Gateway {
	g := &Gateway{accounts: map[string]string{}, orders: map[string]*order{}, byKey: map[string]string{}}
	mux := http.NewServeMux()
	for pattern, handle := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /v1/users":                  g.register,
		"POST /v1/tokens":                 g.login,
		"GET /v1/restaurants":             g.restaurants,
		"GET /v1/restaurants/rst_01/menu": g.menu,
		"POST /v1/quotes":                 g.quote,
		"POST /v1/orders":                 g.place,
		"GET /v1/orders/{order}":          g.read,
		"POST /v1/orders/{order}/cancel":  g.cancel,
		"GET /v1/orders/{order}/live":     g.live,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			if err := handle(w, r); err != nil {
				problem.Write(w, err, r.URL.Path, "")
			}
		})
	}
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	g.URL = s.URL
	return g
}

// Orders is how many orders there are.
func (g *Gateway) Orders() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.orders)
}

// Registered is how many accounts there are.
func (g *Gateway) Registered() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.accounts)
}

// Forget loses all accounts, as a platform does that starts with a new data folder.
func (g *Gateway) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	clear(g.accounts)
}

func answer(w http.ResponseWriter, status int, v any) error {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	return json.NewEncoder(w).Encode(v)
}

func decode(r *http.Request, v any) error {
	if err := json.NewDecoder(r.Body).Decode(v); err != nil {
		return problem.New(problem.MalformedJSON, "%v", err)
	}
	return nil
}

func (g *Gateway) register(w http.ResponseWriter, r *http.Request) error {
	var in struct{ Email, Password, Name, Role string }
	if err := decode(r, &in); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.accounts[in.Email] != "" {
		return problem.New(problem.AlreadyExists, "")
	}
	g.accounts[in.Email] = in.Password
	return answer(w, http.StatusCreated, map[string]string{"id": "usr_1"})
}

func (g *Gateway) login(w http.ResponseWriter, r *http.Request) error {
	var in struct{ Email, Password string }
	if err := decode(r, &in); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if in.Password == "" || g.accounts[in.Email] != in.Password {
		return problem.New(problem.BadCredentials, "")
	}
	return answer(w, http.StatusOK, map[string]any{
		"access_token": "token", "token_type": "Bearer", "expires_in": 900, "refresh_token": "refresh",
		"user": map[string]string{"id": "usr_1", "email": in.Email, "role": "customer"},
	})
}

var restaurant = menuapi.Restaurant{
	ID: "rst_01", Name: "Trattoria Prova", Lat: 52.5, Lon: 13.4, DeliveryRadiusM: 3000, Open: true,
}

func (g *Gateway) restaurants(w http.ResponseWriter, _ *http.Request) error {
	shut := menuapi.Restaurant{ID: "rst_02", Name: "Closed"}
	return answer(w, http.StatusOK, menuapi.List{Restaurants: []menuapi.Restaurant{restaurant, shut}, Total: 2})
}

func (g *Gateway) menu(w http.ResponseWriter, _ *http.Request) error {
	return answer(w, http.StatusOK, menuapi.Menu{Restaurant: restaurant, Currency: "EUR", Items: []menuapi.Item{
		{ID: "itm_lasagne", Name: "Lasagne", Price: 950, Available: true, OptionGroups: []menuapi.OptionGroup{
			{ID: "size", Min: 1, Max: 1, Options: []menuapi.Option{{ID: "small"}, {ID: "large", Price: 200}}},
		}},
		{ID: "itm_water", Name: "Water", Price: 200, Available: true},
		{ID: "itm_truffle", Name: "Truffle", Price: 2900},
	}})
}

// The quote's token is the request itself.
func (g *Gateway) quote(w http.ResponseWriter, r *http.Request) error {
	var in pricingapi.QuoteRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	if in.Promotion == "NOPE" {
		return problem.New(problem.PromotionInvalid, "there is no promotion NOPE")
	}
	token, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return answer(w, http.StatusCreated, pricingapi.Quote{ID: "qte_1", Token: string(token)})
}

func (g *Gateway) place(w http.ResponseWriter, r *http.Request) error {
	var in orderapi.PlaceRequest
	if err := decode(r, &in); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	key := r.Header.Get("Idempotency-Key")
	id, known := g.byKey[key]
	if !known {
		id = fmt.Sprintf("ord_%d", len(g.orders)+1)
		g.byKey[key] = id
		o := &order{Order: orderapi.Order{
			ID: id, CustomerID: "usr_1", RestaurantID: restaurant.ID, RestaurantName: restaurant.Name,
			Status: orderapi.Placed, Version: 1, PlacedAt: Placed, Note: in.Note, CourierNote: in.CourierNote,
			Items: []orderapi.Item{{ItemID: "itm_lasagne", Name: "Lasagne", Quantity: 2, Options: []string{"small"}, UnitPrice: 950, Total: 1900}},
			Bill:  orderapi.Bill{Currency: "EUR", Subtotal: 1900, DeliveryFee: 250, Tax: 141, Total: 2150},
		}}
		g.orders[id] = o
		if !g.Hang {
			g.decide(o, in)
		}
	}
	if g.LosePlaces > 0 {
		g.LosePlaces--
		return problem.New(problem.Unavailable, "the answer is lost")
	}
	// What is acknowledged is the order as it was placed.
	o := g.orders[id].Order
	o.Status, o.Version, o.Reason, o.AcceptedAt, o.PickedUpAt, o.DeliveredAt, o.EndedAt = orderapi.Placed, 1, "", nil, nil, nil, nil
	return answer(w, http.StatusCreated, o)
}

// decide lets an order go its whole way, a tenth of a second a step.
func (g *Gateway) decide(o *order, in orderapi.PlaceRequest) {
	ends := func(name string, status orderapi.Status, reason string) event {
		return event{name, map[string]any{"status": status, "reason": reason}}
	}
	o.events = []event{{name: orderapi.EventPlaced}}
	authorized := event{"payment.authorized", map[string]any{"amount": 2150, "currency": "EUR"}}
	accepted := []event{authorized, {"restaurant.ticket-accepted", map[string]any{"prep_minutes": 12}},
		{name: orderapi.EventAccepted}, {"payment.captured", map[string]any{"amount": 2150, "currency": "EUR"}}}
	refunded := event{"payment.refunded", map[string]any{"amount": 2150, "currency": "EUR"}}
	switch {
	case in.Card == "card_declined", in.Card == "card_insufficient":
		o.events = append(o.events, event{"payment.declined", map[string]any{"reason": "card_declined"}},
			ends(orderapi.EventFailed, orderapi.Declined, "card_declined"))
	case in.Note == "city:kitchen=reject":
		o.events = append(o.events, authorized, event{"restaurant.ticket-rejected", map[string]any{"reason": "too_busy"}},
			event{name: "payment.voided"}, ends(orderapi.EventRejected, orderapi.Rejected, "kitchen_rejected"))
	case in.CourierNote == "city:courier=none":
		o.events = append(append(o.events, accepted...), event{name: "delivery.courier-unavailable"}, refunded,
			ends(orderapi.EventFailed, orderapi.Undeliverable, "no_courier"))
	case in.Note == "wait": // to be cancelled
		o.events = append(o.events, accepted...)
	default:
		o.events = append(append(o.events, accepted...),
			event{"delivery.courier-assigned", map[string]any{"courier_id": "usr_courier"}}, event{name: "restaurant.ticket-ready"},
			event{name: "delivery.picked-up"}, event{name: orderapi.EventPickedUp}, event{name: orderapi.EventDelivered})
	}
	for i, e := range o.events {
		at := Placed.Add(time.Duration(i) * 100 * time.Millisecond)
		switch e.name {
		case orderapi.EventAccepted:
			o.Status, o.AcceptedAt = orderapi.Accepted, &at
		case orderapi.EventPickedUp:
			o.Status, o.PickedUpAt = orderapi.PickedUp, &at
		case orderapi.EventDelivered:
			o.Status, o.DeliveredAt, o.EndedAt = orderapi.Delivered, &at, &at
		}
		if status, ok := e.data["status"].(orderapi.Status); ok {
			o.Status, o.Reason, o.EndedAt = status, e.data["reason"].(string), &at
		}
	}
	o.Version = len(o.events)
}

func (g *Gateway) find(r *http.Request) (*order, error) {
	o := g.orders[r.PathValue("order")]
	if o == nil {
		return nil, problem.New(problem.NotFound, "there is no order %s", r.PathValue("order"))
	}
	return o, nil
}

func (g *Gateway) read(w http.ResponseWriter, r *http.Request) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	o, err := g.find(r)
	if err != nil {
		return err
	}
	etag := strconv.Quote(strconv.Itoa(o.Version))
	w.Header().Set("ETag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return answer(w, http.StatusOK, o.Order)
}

func (g *Gateway) cancel(w http.ResponseWriter, r *http.Request) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	o, err := g.find(r)
	if err != nil {
		return err
	}
	if o.Status == orderapi.PickedUp || o.Status.Terminal() {
		return problem.New(problem.TooLate, "it has been picked up")
	}
	at := Placed.Add(time.Second)
	o.Status, o.Reason, o.EndedAt = orderapi.Cancelled, "customer", &at
	o.events = append(o.events, event{name: "payment.refunded"},
		event{orderapi.EventCancelled, map[string]any{"status": orderapi.Cancelled, "reason": "customer"}})
	o.Version = len(o.events)
	return answer(w, http.StatusAccepted, o.Order)
}

// live replays the events after the last one that the customer has and ends; the customer comes back for more.
func (g *Gateway) live(w http.ResponseWriter, r *http.Request) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.NoLive {
		return problem.New(problem.Forbidden, "no live streams today")
	}
	o, err := g.find(r)
	if err != nil {
		return err
	}
	after, err := strconv.Atoi(r.Header.Get("Last-Event-ID"))
	if err != nil {
		return problem.New(problem.InvalidRequest, "Last-Event-ID: %v", err)
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for i, e := range o.events {
		if i < after {
			continue
		}
		data, err := json.Marshal(map[string]any{
			"type": "fooddelivery." + e.name, "id": fmt.Sprintf("%s/%d", o.ID, i+1), "subject": o.ID, "sequence": strconv.Itoa(i + 1),
			"time": Placed.Add(time.Duration(i) * 100 * time.Millisecond), "data": e.data,
		})
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "event: %s\nid: %d\ndata: %s\n\n", e.name, i+1, data)
	}
	return nil
}
