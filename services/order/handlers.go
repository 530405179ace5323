package order

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// handlePlace takes an order. Its id follows from customer and idempotency key, so a repeat meets the order that
// the first try made: the same body gets the same answer, another body is refused.
func (s *Service) handlePlace(w http.ResponseWriter, r *http.Request) error {
	caller := web.Caller(r)
	if caller.Role != web.RoleCustomer {
		return problem.New(problem.Forbidden, "customers place orders")
	}
	key, err := web.IdempotencyKey(r)
	if err != nil {
		return err
	}
	var req orderapi.PlaceRequest
	if err := web.Decode(r, &req); err != nil {
		return err
	}
	id := ids.Derive("ord", caller.Subject, key)
	hash := requestHash(req)
	have, version, err := s.orders.Load(r.Context(), id)
	if err != nil {
		return err
	}
	if version == 0 {
		quote, err := s.pricing.Confirm(r.Context(), pricingapi.ConfirmRequest{Token: req.Quote, OrderID: id, CustomerID: caller.Subject})
		if err != nil {
			return err
		}
		if have, version, err = s.place(r.Context(), placedEvent(id, caller.Subject, hash, quote, req), req.Card); err != nil {
			return err
		}
	}
	if have.RequestHash != hash {
		return problem.New(problem.ReusedKey, "the key belongs to order %s", id)
	}
	if version > 1 {
		if have, err = s.orders.At(r.Context(), id, 1); err != nil {
			return err
		}
	}
	w.Header().Set("Location", "/v1/orders/"+id)
	w.Header().Set("ETag", etag(have.Order.Version))
	return web.JSON(w, http.StatusCreated, have.Order)
}

// place appends order.placed with everything that must not be lost with it: the start of the saga, the
// customer's list, the deadline. An order that exists is left as it is.
func (s *Service) place(ctx context.Context, p *orderapi.PlacedEvent, card string) (state, int, error) {
	start, err := outbox.NewEffect(effectStart, sagaInput{OrderID: p.OrderId, Card: card})
	if err != nil {
		return state{}, 0, err
	}
	return s.orders.Update(ctx, p.OrderId, func(_ state, version int) (eventstore.Change, error) {
		if version > 0 {
			return eventstore.Change{}, nil
		}
		due := s.deadlines.page(time.Now().Add(s.cfg.OrderDeadline), p.OrderId)
		items, err := s.state.GetBulk(ctx, []string{customerKey(p.CustomerId), due})
		if err != nil {
			return eventstore.Change{}, err
		}
		list, err := prepend(customerKey(p.CustomerId), items[0], p.OrderId, keptOrders)
		if err != nil {
			return eventstore.Change{}, err
		}
		deadline, err := prepend(due, items[1], p.OrderId, 0)
		if err != nil {
			return eventstore.Change{}, err
		}
		return eventstore.Change{
			Events:  []eventstore.Event{{Type: orderapi.EventPlaced, Data: p}},
			Effects: []outbox.Effect{start},
			Ops:     []sidecar.Op{list, deadline},
		}, nil
	})
}

// keptOrders bounds a customer's list.
const keptOrders = 100

func customerKey(customer string) string { return "customer/" + customer }

// prepend puts id in front of the list of ids at key, which keeps at most limit of them (0: all).
func prepend(key string, item sidecar.Item, id string, limit int) (sidecar.Op, error) {
	var list []string
	if item.Exists() {
		if err := json.Unmarshal(item.Value, &list); err != nil {
			return sidecar.Op{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	list = append([]string{id}, list...)
	if limit > 0 && len(list) > limit {
		list = list[:limit]
	}
	b, err := json.Marshal(list)
	return sidecar.Op{Key: key, Value: b, ETag: item.ETag, Create: !item.Exists()}, err
}

func placedEvent(id, customer, hash string, q pricingapi.Quote, req orderapi.PlaceRequest) *orderapi.PlacedEvent {
	p := &orderapi.PlacedEvent{
		OrderId: id, CustomerId: customer, RestaurantId: q.RestaurantID, RestaurantName: q.RestaurantName, QuoteId: q.ID,
		Currency: q.Currency, Subtotal: q.Subtotal, DeliveryFee: q.DeliveryFee, SurgeFee: q.SurgeFee,
		Discount: q.Discount, Tax: q.Tax, Total: q.Total,
		Promotion: q.Promotion, Note: req.Note, CourierNote: req.CourierNote, RequestHash: hash,
		Pickup:  &orderapi.Stop{Lat: q.Pickup.Lat, Lon: q.Pickup.Lon, Address: q.Pickup.Address},
		Dropoff: &orderapi.Stop{Lat: q.Dropoff.Lat, Lon: q.Dropoff.Lon, Address: q.Dropoff.Street},
	}
	for _, it := range q.Items {
		item := &orderapi.PlacedEvent_Item{ItemId: it.ItemID, Name: it.Name, Quantity: int32(it.Quantity), UnitPrice: it.UnitPrice, Total: it.Total}
		for _, o := range it.Options {
			item.Options = append(item.Options, o.Name)
		}
		p.Items = append(p.Items, item)
	}
	return p
}

func requestHash(req orderapi.PlaceRequest) string {
	b, _ := json.Marshal(req) // a struct of strings
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

func (s *Service) handleList(w http.ResponseWriter, r *http.Request) error {
	limit, err := intQuery(r, "limit", 20, 1, keptOrders)
	if err != nil {
		return err
	}
	item, err := s.state.Get(r.Context(), customerKey(web.Caller(r).Subject))
	if err != nil {
		return err
	}
	var list []string
	if item.Exists() {
		if err := json.Unmarshal(item.Value, &list); err != nil {
			return fmt.Errorf("list of orders: %w", err)
		}
	}
	answer := orderapi.List{Orders: []orderapi.Order{}}
	for _, id := range list[:min(limit, len(list))] {
		o, _, err := s.orders.Load(r.Context(), id)
		if err != nil {
			return err
		}
		answer.Orders = append(answer.Orders, o.Order)
	}
	return web.JSON(w, http.StatusOK, answer)
}

// visible loads an order that the caller may see; one of somebody else does not exist for the caller.
func (s *Service) visible(r *http.Request) (orderapi.Order, error) {
	id, caller := mux.Vars(r)["order"], web.Caller(r)
	if !ids.Valid("ord", id) {
		return orderapi.Order{}, problem.New(problem.NotFound, "there is no order %.64q", id)
	}
	st, version, err := s.orders.Load(r.Context(), id)
	if err != nil {
		return orderapi.Order{}, err
	}
	o := st.Order
	may := map[string]bool{
		web.RoleCustomer: o.CustomerID == caller.Subject,
		web.RoleKitchen:  o.RestaurantID == caller.Restaurant,
		web.RoleCourier:  o.CourierID == caller.Subject,
		web.RoleOperator: true,
	}[caller.Role]
	if version == 0 || !may {
		return orderapi.Order{}, problem.New(problem.NotFound, "there is no order %s", id)
	}
	return o, nil
}

// pollAfter is how long a client that polls should wait while an order is under way.
const pollAfter = 2 * time.Second

func (s *Service) handleGet(w http.ResponseWriter, r *http.Request) error {
	o, err := s.visible(r)
	if err != nil {
		return err
	}
	if r.URL.Query().Has("version") {
		if web.Caller(r).Role != web.RoleOperator {
			return problem.New(problem.Forbidden, "operators look into the past")
		}
		version, err := intQuery(r, "version", 0, 1, 1<<20)
		if err != nil {
			return err
		}
		st, err := s.orders.At(r.Context(), o.ID, version)
		if err != nil {
			return err
		}
		return web.JSON(w, http.StatusOK, st.Order)
	}
	w.Header().Set("ETag", etag(o.Version))
	w.Header().Set("Cache-Control", "private, no-cache")
	if !o.Status.Terminal() {
		w.Header().Set("Retry-After", strconv.Itoa(int(pollAfter.Seconds())))
	}
	if matches(r.Header.Get("If-None-Match"), etag(o.Version)) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	return web.JSON(w, http.StatusOK, o)
}

func (s *Service) handleEvents(w http.ResponseWriter, r *http.Request) error {
	o, err := s.visible(r)
	if err != nil {
		return err
	}
	after, err := intQuery(r, "after", 0, 0, 1<<20)
	if err != nil {
		return err
	}
	events, err := s.orders.History(r.Context(), o.ID, after)
	if err != nil {
		return err
	}
	list := orderapi.EventList{Events: []orderapi.HistoryEvent{}}
	for _, e := range events {
		list.Events = append(list.Events, orderapi.HistoryEvent{ID: e.ID, Type: e.Name(), Sequence: e.Seq(), Time: e.Time, DataSchema: e.DataSchema, Data: e.Data})
	}
	return web.JSON(w, http.StatusOK, list)
}

// handleCancel asks for a cancellation. Whether it comes in time is decided where the courier picks up; the
// answer is the order as it stands.
func (s *Service) handleCancel(w http.ResponseWriter, r *http.Request) error {
	o, err := s.visible(r)
	if err != nil {
		return err
	}
	req := orderapi.CancelRequest{}
	if r.ContentLength != 0 {
		if err := web.Decode(r, &req); err != nil {
			return err
		}
	}
	effects, err := signalling(o.ID, signal{Kind: cancelled, Reason: "customer", Detail: req.Reason})
	if err != nil {
		return err
	}
	st, _, err := s.orders.Update(r.Context(), o.ID, func(st state, _ int) (eventstore.Change, error) {
		switch o := st.Order; {
		case o.Status == orderapi.Cancelled, o.CancelRequested:
			return eventstore.Change{}, nil // asked before
		case o.Status == orderapi.PickedUp || o.Status.Terminal():
			return eventstore.Change{}, problem.New(problem.TooLate, "the order is %s", o.Status)
		default:
			return eventstore.Change{
				Events:  []eventstore.Event{{Type: orderapi.EventCancelRequested, Data: &orderapi.CancelEvent{OrderId: o.ID, CustomerId: o.CustomerID, Reason: req.Reason}}},
				Effects: effects,
			}, nil
		}
	})
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusAccepted, st.Order)
}

func etag(version int) string { return `"v` + strconv.Itoa(version) + `"` }

// matches implements If-None-Match (RFC 9110, section 13.1.2) for strong tags.
func matches(header, tag string) bool {
	for _, t := range strings.Split(header, ",") {
		if t = strings.TrimPrefix(strings.TrimSpace(t), "W/"); t == tag || t == "*" {
			return true
		}
	}
	return false
}

func intQuery(r *http.Request, name string, def, low, high int) (int, error) {
	query := r.URL.Query()
	if !query.Has(name) {
		return def, nil
	}
	n, err := strconv.Atoi(query.Get(name))
	if err != nil || n < low || n > high {
		return 0, problem.New(problem.InvalidRequest, "1 faulty field(s)").
			WithFields(problem.Field{Name: name, Reason: fmt.Sprintf("must be an integer from %d to %d", low, high)})
	}
	return n, nil
}
