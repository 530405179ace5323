package payment

import (
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// streamName starts the keys of the ledger's streams. It is part of what is stored: never rename.
const streamName = "payment"

// account is the state of one order's payment.
type account struct {
	Status       paymentapi.Status `json:"status"`
	Reason       string            `json:"reason,omitempty"`
	CustomerID   string            `json:"customer_id,omitempty"`
	RestaurantID string            `json:"restaurant_id,omitempty"`
	Currency     string            `json:"currency,omitempty"`
	Amount       int64             `json:"amount,omitempty"`
	Card         string            `json:"card,omitempty"` // the last 4 characters
	Bill         paymentapi.Bill   `json:"bill"`

	// What the acquirer calls its parts of it.
	AuthorizationID string `json:"authorization_id,omitempty"`
	CaptureID       string `json:"capture_id,omitempty"`
	RefundID        string `json:"refund_id,omitempty"`
}

// calledOff reports whether the payment was voided before there was anything to void. An authorization that was
// on its way at that time may still turn up at the acquirer.
func (a account) calledOff() bool { return a.Status == paymentapi.Voided && a.AuthorizationID == "" }

// apply gives the state after an event. It is pure, and it refuses an event whose postings don't sum to zero, so
// that none can be written. Types that it does not know leave the state as it is.
func apply(a account, e cloudevent.Event) (account, error) {
	if !paymentapi.Events.Knows(e.Name()) {
		return a, nil
	}
	var p paymentapi.Event
	if err := paymentapi.Events.Into(e, &p); err != nil {
		return a, err
	}
	if err := checkPostings(e.Name(), p.Postings); err != nil {
		return a, err
	}
	switch e.Name() {
	case paymentapi.EventAuthorized, paymentapi.EventDeclined:
		a.Status = paymentapi.Authorized
		if e.Name() == paymentapi.EventDeclined {
			a.Status = paymentapi.Declined
		}
		a.Reason, a.CustomerID, a.RestaurantID = p.Reason, p.CustomerId, p.RestaurantId
		a.Currency, a.Amount, a.Card, a.AuthorizationID = p.Currency, p.Amount, p.Card, p.AcquirerReference
		if p.Bill != nil {
			a.Bill = p.Bill.Bill()
		}
	case paymentapi.EventCaptured:
		a.Status, a.CaptureID = paymentapi.Captured, p.AcquirerReference
	case paymentapi.EventVoided:
		a.Status, a.Reason = paymentapi.Voided, p.Reason
	case paymentapi.EventRefundRequested:
		a.Status, a.Reason = paymentapi.Refunding, p.Reason
	case paymentapi.EventRefunded:
		a.Status, a.Reason, a.RefundID = paymentapi.Refunded, p.Reason, p.AcquirerReference
	case paymentapi.EventPaidOut:
		a.Status = paymentapi.PaidOut
	}
	return a, nil
}

// Replay folds a stream's events into the state that its head must hold; the audit compares the two.
func Replay(events []cloudevent.Event) (any, error) {
	var a account
	for _, e := range events {
		var err error
		if a, err = apply(a, e); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// event starts the payload of an event of this payment.
func (a account) event(order string) *paymentapi.Event {
	return &paymentapi.Event{
		OrderId: order, CustomerId: a.CustomerID, RestaurantId: a.RestaurantID,
		Amount: a.Amount, Currency: a.Currency,
	}
}

// authorized is the event for an authorization at the acquirer. req is nil when the request is not at hand,
// because the answer was found by asking for it.
func authorized(order string, req *paymentapi.AuthorizeRequest, auth authorization) eventstore.Event {
	e := &paymentapi.Event{OrderId: order, Amount: auth.Amount, Currency: auth.Currency, AcquirerReference: auth.ID}
	if req != nil {
		e.CustomerId, e.RestaurantId, e.Card, e.Bill = req.CustomerID, req.RestaurantID, lastFour(req.Card), req.Bill.Message()
	}
	if auth.Status == statusDeclined {
		e.Reason = auth.Reason
		return eventstore.Event{Type: paymentapi.EventDeclined, Data: e}
	}
	e.Postings = postAuthorized(order, auth.Amount)
	return eventstore.Event{Type: paymentapi.EventAuthorized, Data: e}
}

func (a account) captured(order string, c capture) eventstore.Event {
	e := a.event(order)
	e.Amount, e.AcquirerReference, e.Postings = c.Amount, c.ID, postCaptured(order, c.Amount)
	return eventstore.Event{Type: paymentapi.EventCaptured, Data: e}
}

func (a account) voided(order, reason string) eventstore.Event {
	e := a.event(order)
	e.AcquirerReference, e.Reason, e.Postings = a.AuthorizationID, reason, postVoided(order, a.Amount)
	return eventstore.Event{Type: paymentapi.EventVoided, Data: e}
}

func (a account) refundRequested(order, reason string) eventstore.Event {
	e := a.event(order)
	e.Reason = reason
	return eventstore.Event{Type: paymentapi.EventRefundRequested, Data: e}
}

func (a account) refunded(order string, r refund) eventstore.Event {
	e := a.event(order)
	e.AcquirerReference, e.Reason, e.Postings = r.ID, a.Reason, postRefunded(order, a.Amount)
	return eventstore.Event{Type: paymentapi.EventRefunded, Data: e}
}

func (a account) paidOut(order, restaurant, courier string, out *paymentapi.Event_Payouts) eventstore.Event {
	e := a.event(order)
	e.RestaurantId, e.CourierId, e.Payouts = restaurant, courier, out
	e.Postings = postPaidOut(order, restaurant, courier, a.Amount, out)
	return eventstore.Event{Type: paymentapi.EventPaidOut, Data: e}
}

// lastFour is what is kept of a card token. A token that short is hidden altogether.
func lastFour(card string) string {
	const keep = 4
	if len(card) <= 2*keep {
		return ""
	}
	return card[len(card)-keep:]
}
