package order

import (
	"context"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi/orderv2"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// onRestaurant takes in what the kitchen says. Repeats and late comers find the order beyond that state and
// change nothing.
func (s *Service) onRestaurant(ctx context.Context, e cloudevent.Event) error {
	switch e.Name() {
	case restaurantapi.TypeTicketAccepted:
		var p restaurantapi.TicketAccepted
		if err := restaurantapi.Events.Into(e, &p); err != nil {
			return err
		}
		return s.react(ctx, p.OrderId, &signal{Kind: kitchenAccepted}, func(o orderapi.Order) []eventstore.Event {
			if o.Status != orderapi.Placed {
				return nil
			}
			return []eventstore.Event{{Type: orderapi.EventAccepted, Data: &orderapi.AcceptedEvent{
				OrderId: o.ID, CustomerId: o.CustomerID, RestaurantId: o.RestaurantID, PrepMinutes: p.PrepMinutes}}}
		})
	case restaurantapi.TypeTicketRejected:
		var p restaurantapi.TicketRejected
		if err := restaurantapi.Events.Into(e, &p); err != nil {
			return err
		}
		return s.tell(ctx, p.OrderId, signal{Kind: kitchenRejected, Reason: "kitchen_rejected", Detail: p.Reason})
	}
	return nil
}

// onDelivery takes in what the courier does.
func (s *Service) onDelivery(ctx context.Context, e cloudevent.Event) error {
	switch e.Name() {
	case deliveryapi.TypeCourierUnavailable:
		var p deliveryapi.CourierUnavailableData
		if err := deliveryapi.Events.Into(e, &p); err != nil {
			return err
		}
		return s.tell(ctx, p.OrderId, signal{Kind: noCourier, Reason: "no_courier", Detail: p.Reason})
	case deliveryapi.TypePickedUp:
		var p deliveryapi.PickedUpData
		if err := deliveryapi.Events.Into(e, &p); err != nil {
			return err
		}
		return s.react(ctx, p.OrderId, &signal{Kind: pickedUp}, func(o orderapi.Order) []eventstore.Event {
			return pickUp(o, p.CourierId)
		})
	case deliveryapi.TypeDelivered:
		var p deliveryapi.DeliveredData
		if err := deliveryapi.Events.Into(e, &p); err != nil {
			return err
		}
		delivered := false
		err := s.react(ctx, p.OrderId, nil, func(o orderapi.Order) []eventstore.Event {
			if delivered = !o.Status.Terminal(); !delivered {
				return nil
			}
			return append(pickUp(o, p.CourierId), eventstore.Event{Type: orderapi.EventDelivered, Data: &orderv2.DeliveredEvent{
				OrderId: o.ID, CustomerId: o.CustomerID, RestaurantId: o.RestaurantID, CourierId: p.CourierId, Bill: o.Bill.Message()}})
		})
		if err == nil && delivered {
			s.ended.WithLabelValues(string(orderapi.Delivered)).Inc()
		}
		return err
	}
	return nil
}

// pickUp is what a pick-up adds to an order that has not had one.
func pickUp(o orderapi.Order, courier string) []eventstore.Event {
	if o.Status.Terminal() || o.Status == orderapi.PickedUp {
		return nil
	}
	return []eventstore.Event{{Type: orderapi.EventPickedUp, Data: &orderapi.PickedUpEvent{
		OrderId: o.ID, CustomerId: o.CustomerID, RestaurantId: o.RestaurantID, CourierId: courier}}}
}

// react appends what a fact comes to, and tells the saga in the same transaction if sig is given. Events that
// change nothing tell nothing: the saga was told by the one that did.
func (s *Service) react(ctx context.Context, id string, sig *signal, decide func(orderapi.Order) []eventstore.Event) error {
	_, _, err := s.orders.Update(ctx, id, func(st state, version int) (eventstore.Change, error) {
		if version == 0 {
			return eventstore.Change{}, nil // not of this platform's making: nothing to change
		}
		c := eventstore.Change{Events: decide(st.Order)}
		if len(c.Events) == 0 || sig == nil {
			return c, nil
		}
		var err error
		c.Effects, err = signalling(id, *sig)
		return c, err
	})
	return err
}

// tell passes a signal on to the saga of an order that is not beyond it.
func (s *Service) tell(ctx context.Context, id string, sig signal) error {
	effects, err := signalling(id, sig)
	if err != nil {
		return err
	}
	_, _, err = s.orders.Update(ctx, id, func(st state, version int) (eventstore.Change, error) {
		if version == 0 || st.Order.Status.Terminal() || st.Order.Status == orderapi.PickedUp {
			return eventstore.Change{}, nil
		}
		return eventstore.Change{Effects: effects}, nil
	})
	return err
}
