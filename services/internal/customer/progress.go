package customer

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/money"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// Step is something that happened to an order. Its name and time are stable parts of the command line's JSON.
type Step struct {
	Name    string    `json:"name"`
	At      time.Time `json:"at"`
	Seconds float64   `json:"seconds"` // since the order was placed
	// Note says more, for people: a reason, minutes, a courier.
	Note string `json:"note,omitempty"`
}

// The names of the steps. The first eight, in this order, are the way of an order that is delivered.
const (
	StepPlaced            = "placed"
	StepPaymentAuthorized = "payment_authorized"
	StepKitchenAccepted   = "kitchen_accepted"
	StepPaymentCaptured   = "payment_captured"
	StepCourierAssigned   = "courier_assigned"
	StepReady             = "ready"
	StepPickedUp          = "picked_up"
	StepDelivered         = "delivered"

	StepPaymentDeclined    = "payment_declined"
	StepKitchenRejected    = "kitchen_rejected"
	StepNoCourier          = "no_courier"
	StepCancelRequested    = "cancel_requested"
	StepCancelRefused      = "cancel_refused"
	StepTicketCancelled    = "ticket_cancelled"
	StepCourierReleased    = "courier_released"
	StepPaymentVoided      = "payment_voided"
	StepPaymentRefunded    = "payment_refunded"
	StepRejected           = "rejected"
	StepCancelled          = "cancelled"
	StepDeclined           = "declined"
	StepUndeliverable      = "undeliverable"
	StepCompensationFailed = "compensation_failed"
)

// HappyPath lists the steps of an order that is delivered.
func HappyPath() []string {
	return []string{
		StepPlaced, StepPaymentAuthorized, StepKitchenAccepted, StepPaymentCaptured,
		StepCourierAssigned, StepReady, StepPickedUp, StepDelivered,
	}
}

// stepOf tells which step an event is. Two events may be one step, seen by two services: the first counts.
var stepOf = map[string]string{
	orderapi.EventPlaced:               StepPlaced,
	orderapi.EventAccepted:             StepKitchenAccepted,
	orderapi.EventPickedUp:             StepPickedUp,
	orderapi.EventDelivered:            StepDelivered,
	orderapi.EventCancelRequested:      StepCancelRequested,
	orderapi.EventCancelRefused:        StepCancelRefused,
	paymentapi.EventAuthorized:         StepPaymentAuthorized,
	paymentapi.EventCaptured:           StepPaymentCaptured,
	paymentapi.EventVoided:             StepPaymentVoided,
	paymentapi.EventRefunded:           StepPaymentRefunded,
	paymentapi.EventDeclined:           StepPaymentDeclined,
	restaurantapi.TypeTicketAccepted:   StepKitchenAccepted,
	restaurantapi.TypeTicketRejected:   StepKitchenRejected,
	restaurantapi.TypeTicketReady:      StepReady,
	restaurantapi.TypeTicketCancelled:  StepTicketCancelled,
	deliveryapi.TypeCourierAssigned:    StepCourierAssigned,
	deliveryapi.TypeCourierUnavailable: StepNoCourier,
	deliveryapi.TypeReleased:           StepCourierReleased,
	deliveryapi.TypePickedUp:           StepPickedUp,
}

// Progress is what is known of an order's way. Its zero value knows nothing.
type Progress struct {
	Status orderapi.Status
	Reason string // why the order ended, a word
	Detail string // the same for people
	placed time.Time
	steps  []Step
}

// Ended reports whether nothing follows.
func (p *Progress) Ended() bool { return p.Status.Terminal() }

// Note adds a step that the customer took part in and no event tells of.
func (p *Progress) Note(s Step) bool { return p.add(s) }

// Steps lists what happened, in the order of time.
func (p *Progress) Steps() []Step { return slices.Clone(p.steps) }

// Has reports whether a step was taken.
func (p *Progress) Has(name string) bool {
	return slices.ContainsFunc(p.steps, func(s Step) bool { return s.Name == name })
}

// Placed is when the order was placed.
func (p *Progress) Placed() time.Time { return p.placed }

// payload has the parts of all payloads that say more about a step.
type payload struct {
	status      orderapi.Status
	reason      string
	detail      string
	prepMinutes int32
	courierID   string
	amount      int64
	currency    string
}

// heard are the contracts of the events that an order's stream shows.
var heard = contract.Union(orderapi.Events, paymentapi.Events, restaurantapi.Events, deliveryapi.Events)

// read takes from an event what says more. What can't be read says nothing more.
func read(e publicapi.Event) payload {
	m, err := e.Payload(heard)
	if err != nil {
		return payload{}
	}
	switch m := m.(type) {
	case *orderapi.AcceptedEvent:
		return payload{prepMinutes: m.PrepMinutes}
	case *orderapi.CancelEvent:
		return payload{reason: m.Reason}
	case *orderapi.EndedEvent:
		return payload{status: orderapi.Status(m.Status), reason: m.Reason, detail: m.Detail}
	case *paymentapi.Event:
		return payload{reason: m.Reason, amount: m.Amount, currency: m.Currency}
	case *restaurantapi.TicketAccepted:
		return payload{prepMinutes: m.PrepMinutes}
	case *restaurantapi.TicketRejected:
		return payload{reason: m.Reason}
	case *restaurantapi.TicketCancelled:
		return payload{reason: m.Reason}
	case *deliveryapi.CourierAssignedData:
		return payload{courierID: m.CourierId}
	case *deliveryapi.CourierUnavailableData:
		return payload{reason: m.Reason}
	case *deliveryapi.ReleasedData:
		return payload{reason: m.Reason}
	}
	return payload{}
}

// SeeEvent takes in a live event and reports whether it was news. Events may be repeated and out of order.
func (p *Progress) SeeEvent(e publicapi.Event) bool {
	d := read(e)
	switch e.Type {
	case orderapi.EventAccepted:
		p.advance(orderapi.Accepted)
	case orderapi.EventPickedUp:
		p.advance(orderapi.PickedUp)
	case orderapi.EventDelivered:
		p.advance(orderapi.Delivered)
	case orderapi.EventRejected, orderapi.EventCancelled, orderapi.EventFailed:
		if !d.status.Terminal() {
			return false
		}
		p.advance(d.status)
		p.Reason, p.Detail = d.reason, d.detail
		return p.add(Step{Name: string(d.status), At: e.Time, Note: words(d.reason)})
	}
	name := stepOf[e.Type]
	if name == "" {
		return false
	}
	return p.add(Step{Name: name, At: e.Time, Note: note(name, d)})
}

// SeeOrder takes in an order that was read and reports whether it held news.
func (p *Progress) SeeOrder(o orderapi.Order) bool {
	p.advance(o.Status)
	if o.Reason != "" {
		p.Reason, p.Detail = o.Reason, o.Detail
	}
	p.placed = o.PlacedAt
	news := p.add(Step{Name: StepPlaced, At: o.PlacedAt})
	for _, s := range []struct {
		name string
		at   *time.Time
	}{{StepKitchenAccepted, o.AcceptedAt}, {StepPickedUp, o.PickedUpAt}, {StepDelivered, o.DeliveredAt}} {
		if s.at != nil {
			news = p.add(Step{Name: s.name, At: *s.at}) || news
		}
	}
	if o.Status.Terminal() && o.EndedAt != nil {
		news = p.add(Step{Name: string(o.Status), At: *o.EndedAt, Note: words(o.Reason)}) || news
	}
	return news
}

// rank orders the states: an older view of an order never takes it back.
func rank(s orderapi.Status) int {
	switch {
	case s.Terminal():
		return 4
	case s == orderapi.PickedUp:
		return 3
	case s == orderapi.Accepted:
		return 2
	case s == orderapi.Placed:
		return 1
	}
	return 0
}

func (p *Progress) advance(s orderapi.Status) {
	if rank(s) > rank(p.Status) {
		p.Status = s
	}
}

// add notes a step, or an earlier time of one that is known, which is no news.
func (p *Progress) add(s Step) bool {
	if s.Name == StepPlaced && (p.placed.IsZero() || s.At.Before(p.placed)) {
		p.placed = s.At
	}
	known := slices.IndexFunc(p.steps, func(have Step) bool { return have.Name == s.Name })
	if known < 0 {
		p.steps = append(p.steps, s)
	} else if s.At.Before(p.steps[known].At) {
		p.steps[known].At = s.At
	}
	slices.SortStableFunc(p.steps, func(a, b Step) int { return a.At.Compare(b.At) })
	for i := range p.steps {
		p.steps[i].Seconds = max(0, p.steps[i].At.Sub(p.placed).Round(time.Millisecond).Seconds())
	}
	return known < 0
}

func note(step string, d payload) string {
	switch {
	case step == StepKitchenAccepted && d.prepMinutes > 0:
		return fmt.Sprintf("%d min to cook", d.prepMinutes)
	case step == StepCourierAssigned:
		return d.courierID
	case d.reason != "":
		return words(d.reason)
	case d.amount != 0 && d.currency != "":
		return money.Format(d.amount, d.currency)
	}
	return ""
}

// words turns a word with underscores into words.
func words(s string) string { return strings.ReplaceAll(s, "_", " ") }
