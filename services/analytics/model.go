package analytics

import (
	"maps"
	"time"

	"github.com/dishmesh/dishmesh/services/analytics/analyticsapi"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// Milestones of an order.
const (
	placed    = "placed"
	accepted  = "accepted"
	assigned  = "assigned"
	ready     = "ready"
	pickedUp  = "picked_up"
	delivered = "delivered"
	ended     = "ended"
)

// fact is what is read of an event's payload, whatever its type.
type fact struct {
	OrderID        string
	UserID         string
	Role           string
	RestaurantID   string
	RestaurantName string
	Currency       string
	Total          int64
	Amount         int64
	Status         orderapi.Status
	Reason         string
}

// heard are the contracts of the events that are counted.
var heard = contract.Union(orderapi.Events, paymentapi.Events, restaurantapi.Events, deliveryapi.Events, userapi.Events)

// factOf reads an event, in whatever version it was written.
func factOf(e cloudevent.Event) (fact, error) {
	m, err := heard.Decode(e)
	if err != nil {
		return fact{}, err
	}
	switch m := m.(type) {
	case *orderapi.PlacedEvent:
		return fact{OrderID: m.OrderId, RestaurantID: m.RestaurantId, RestaurantName: m.RestaurantName, Currency: m.Currency, Total: m.Total}, nil
	case *orderapi.EndedEvent:
		return fact{OrderID: m.OrderId, Status: orderapi.Status(m.Status), Reason: m.Reason}, nil
	case *paymentapi.Event:
		return fact{OrderID: m.OrderId, Amount: m.Amount}, nil
	case *userapi.RegisteredEvent:
		return fact{UserID: m.UserId, Role: m.Role}, nil
	case interface{ GetOrderId() string }: // of all others only the time counts
		return fact{OrderID: m.GetOrderId()}, nil
	}
	return fact{}, problem.New(problem.UnknownVersion, "event %s holds a %T, which is not counted", e.ID, m)
}

// doc is what is known of an order, or the role of an account. Merging an event into it is commutative and
// idempotent: the same events give the same doc, in whatever order and however often they come.
type doc struct {
	OrderID        string               `json:"order_id,omitempty"`
	Role           string               `json:"role,omitempty"` // of an account; then nothing else is set
	RestaurantID   string               `json:"restaurant_id,omitempty"`
	RestaurantName string               `json:"restaurant_name,omitempty"`
	Currency       string               `json:"currency,omitempty"`
	Total          int64                `json:"total,omitempty"`
	At             map[string]time.Time `json:"at,omitempty"` // by milestone
	End            *ending              `json:"end,omitempty"`
	Captures       map[int]int64        `json:"captures,omitempty"` // amounts by the sequence of their event
	Refunds        map[int]int64        `json:"refunds,omitempty"`
}

// ending is how an order ended; that of the later event in the order's stream holds.
type ending struct {
	Status   orderapi.Status `json:"status"`
	Reason   string          `json:"reason,omitempty"`
	At       time.Time       `json:"at"`
	Sequence int             `json:"sequence"`
}

// effects says what each event does to a doc; other events do nothing.
var effects = map[string]func(d *doc, e cloudevent.Event, f fact){
	userapi.EventRegistered: func(d *doc, _ cloudevent.Event, f fact) { d.Role = f.Role },
	orderapi.EventPlaced: func(d *doc, e cloudevent.Event, f fact) {
		d.RestaurantID, d.RestaurantName, d.Currency, d.Total = f.RestaurantID, f.RestaurantName, f.Currency, f.Total
		d.reach(placed, e.Time)
	},
	orderapi.EventAccepted:          func(d *doc, e cloudevent.Event, _ fact) { d.reach(accepted, e.Time) },
	orderapi.EventPickedUp:          func(d *doc, e cloudevent.Event, _ fact) { d.reach(pickedUp, e.Time) },
	orderapi.EventDelivered:         func(d *doc, e cloudevent.Event, _ fact) { d.reach(delivered, e.Time); d.end(e, orderapi.Delivered, "") },
	orderapi.EventRejected:          func(d *doc, e cloudevent.Event, f fact) { d.end(e, or(f.Status, orderapi.Rejected), f.Reason) },
	orderapi.EventCancelled:         func(d *doc, e cloudevent.Event, f fact) { d.end(e, or(f.Status, orderapi.Cancelled), f.Reason) },
	orderapi.EventFailed:            func(d *doc, e cloudevent.Event, f fact) { d.end(e, or(f.Status, "failed"), f.Reason) },
	restaurantapi.TypeTicketReady:   func(d *doc, e cloudevent.Event, _ fact) { d.reach(ready, e.Time) },
	deliveryapi.TypeCourierAssigned: func(d *doc, e cloudevent.Event, _ fact) { d.assign(e.Time) },
	paymentapi.EventCaptured:        func(d *doc, e cloudevent.Event, f fact) { put(&d.Captures, e.Seq(), f.Amount) },
	paymentapi.EventRefunded:        func(d *doc, e cloudevent.Event, f fact) { put(&d.Refunds, e.Seq(), f.Amount) },
}

// merge gives the doc after an event; d itself is not changed.
func (d doc) merge(e cloudevent.Event, f fact) doc {
	d.At, d.Captures, d.Refunds = maps.Clone(d.At), maps.Clone(d.Captures), maps.Clone(d.Refunds)
	d.OrderID = or(d.OrderID, f.OrderID)
	effects[e.Name()](&d, e, f)
	return d
}

// reach sets a milestone to the first time that it was reached.
func (d *doc) reach(milestone string, at time.Time) {
	if have, ok := d.At[milestone]; !ok || at.Before(have) {
		put(&d.At, milestone, at)
	}
}

// assign keeps the last assignment: the courier before gave the order back.
func (d *doc) assign(at time.Time) {
	if at.After(d.At[assigned]) {
		put(&d.At, assigned, at)
	}
}

func (d *doc) end(e cloudevent.Event, status orderapi.Status, reason string) {
	if d.End == nil || e.Seq() > d.End.Sequence {
		d.End = &ending{Status: status, Reason: reason, At: e.Time, Sequence: e.Seq()}
	}
}

func (d doc) status() string {
	switch {
	case d.End != nil:
		return string(d.End.Status)
	case !d.At[pickedUp].IsZero():
		return string(orderapi.PickedUp)
	case !d.At[accepted].IsZero():
		return string(orderapi.Accepted)
	default:
		return string(orderapi.Placed)
	}
}

func (d doc) order() analyticsapi.Order {
	o := analyticsapi.Order{
		OrderID: d.OrderID, RestaurantID: d.RestaurantID, RestaurantName: d.RestaurantName, Status: d.status(),
		Currency: d.Currency, Total: d.Total, Captured: sum(d.Captures), Refunded: sum(d.Refunds),
		PlacedAt: d.at(placed), AcceptedAt: d.at(accepted), AssignedAt: d.at(assigned), ReadyAt: d.at(ready),
		PickedUpAt: d.at(pickedUp), DeliveredAt: d.at(delivered), EndedAt: d.at(ended),
	}
	if d.End != nil {
		o.Reason = d.End.Reason
	}
	return o
}

// at gives when a milestone was reached, nil if it was not.
func (d doc) at(milestone string) *time.Time {
	if milestone == ended {
		if d.End == nil {
			return nil
		}
		return &d.End.At
	}
	if at, ok := d.At[milestone]; ok {
		return &at
	}
	return nil
}

func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

func or[T comparable](a, b T) T {
	var zero T
	if a == zero {
		return b
	}
	return a
}

func sum[K comparable](m map[K]int64) int64 {
	var n int64
	for _, v := range m {
		n += v
	}
	return n
}
