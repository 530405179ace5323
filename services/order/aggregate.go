package order

import (
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// state is the aggregate: the order as it is shown, and what is needed to tell a repeated request from another.
type state struct {
	Order       orderapi.Order `json:"order"`
	RequestHash string         `json:"request_hash"`
	QuoteID     string         `json:"quote_id"`
}

// apply gives the state after an event. Types that it does not know leave the state as it is, so that an older
// replica can read the streams of a newer one.
func apply(s state, e cloudevent.Event) (state, error) {
	o := &s.Order
	o.Version = e.Seq()
	switch e.Name() {
	case orderapi.EventPlaced:
		var p orderapi.PlacedEvent
		if err := orderapi.Events.Into(e, &p); err != nil {
			return s, err
		}
		s.RequestHash, s.QuoteID = p.RequestHash, p.QuoteId
		*o = orderapi.Order{
			ID: p.OrderId, CustomerID: p.CustomerId, RestaurantID: p.RestaurantId, RestaurantName: p.RestaurantName,
			Status: orderapi.Placed, Version: e.Seq(), Items: p.Lines(), Bill: p.Bill(), Promotion: p.Promotion,
			Note: p.Note, CourierNote: p.CourierNote, Pickup: p.Pickup.Place(), Dropoff: p.Dropoff.Place(), PlacedAt: e.Time,
		}
	case orderapi.EventAccepted:
		var p orderapi.AcceptedEvent
		if err := orderapi.Events.Into(e, &p); err != nil {
			return s, err
		}
		o.Status, o.PrepMinutes, o.AcceptedAt = orderapi.Accepted, int(p.PrepMinutes), at(e)
	case orderapi.EventPickedUp:
		var p orderapi.PickedUpEvent
		if err := orderapi.Events.Into(e, &p); err != nil {
			return s, err
		}
		o.Status, o.CourierID, o.PickedUpAt = orderapi.PickedUp, p.CourierId, at(e)
	case orderapi.EventDelivered:
		o.Status, o.DeliveredAt, o.EndedAt = orderapi.Delivered, at(e), at(e)
	case orderapi.EventCancelRequested:
		o.CancelRequested = true
	case orderapi.EventCancelRefused:
		o.CancelRequested = false
	case orderapi.EventRejected, orderapi.EventCancelled, orderapi.EventFailed:
		var p orderapi.EndedEvent
		if err := orderapi.Events.Into(e, &p); err != nil {
			return s, err
		}
		o.Status, o.Reason, o.Detail, o.EndedAt = orderapi.Status(p.Status), p.Reason, p.Detail, at(e)
	}
	return s, nil
}

func at(e cloudevent.Event) *time.Time {
	t := e.Time
	return &t
}

// endedType is the event that a terminal state is told by.
func endedType(s orderapi.Status) string {
	switch s {
	case orderapi.Rejected:
		return orderapi.EventRejected
	case orderapi.Cancelled:
		return orderapi.EventCancelled
	default:
		return orderapi.EventFailed
	}
}
