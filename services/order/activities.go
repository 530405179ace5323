package order

import (
	"context"
	"time"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/saga"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// Activities run at least once. Each call carries a key made of order and step, so that a second run meets what
// the first one did.

// noteLimit bounds a note that is passed on to another service.
const noteLimit = 200

// authorizePayment holds the amount on the card.
func (s *Service) authorizePayment(ctx workflow.ActivityContext) (any, error) {
	var in sagaInput
	if err := ctx.GetInput(&in); err != nil {
		return nil, err
	}
	st, _, err := s.orders.Load(ctx.Context(), in.OrderID)
	if err != nil {
		return nil, err
	}
	o := st.Order
	if o.Status != orderapi.Placed {
		// A saga that was started twice, long apart: the order has gone its way.
		return verdict{Refused: true, Reason: "already_" + string(o.Status)}, nil
	}
	res, err := s.payment.Authorize(ctx.Context(), o.ID, paymentapi.AuthorizeRequest{
		Amount: o.Total, Currency: o.Currency, Card: in.Card, CustomerID: o.CustomerID, RestaurantID: o.RestaurantID,
		Bill: paymentapi.Bill{Subtotal: o.Subtotal, DeliveryFee: o.DeliveryFee, SurgeFee: o.SurgeFee, Discount: o.Discount, Tax: o.Tax},
	})
	if err != nil {
		return refusal(err)
	}
	if res.Status != paymentapi.Authorized && res.Status != paymentapi.Captured {
		return verdict{Refused: true, Reason: "payment_declined", Detail: res.Reason}, nil
	}
	return verdict{}, nil
}

// openTicket asks the kitchen.
func (s *Service) openTicket(ctx workflow.ActivityContext) (any, error) {
	o, err := s.orderOf(ctx)
	if err != nil {
		return nil, err
	}
	items := make([]restaurantapi.Item, len(o.Items))
	for i, it := range o.Items {
		items[i] = restaurantapi.Item{ItemID: it.ItemID, Name: it.Name, Quantity: it.Quantity, Options: it.Options}
	}
	res, err := s.restaurant.Open(ctx.Context(), o.ID, restaurantapi.OpenRequest{
		RestaurantID: o.RestaurantID, CustomerID: o.CustomerID, Items: items, Note: o.Note,
		Deadline: time.Now().UTC().Add(s.cfg.TicketDeadline),
	})
	if err != nil {
		return refusal(err)
	}
	if res.Status == restaurantapi.Rejected || res.Status == restaurantapi.Cancelled {
		return verdict{Refused: true, Reason: "kitchen_rejected", Detail: res.Reason}, nil
	}
	return verdict{}, nil
}

// capturePayment takes the money.
func (s *Service) capturePayment(ctx workflow.ActivityContext) (any, error) {
	id, err := input(ctx)
	if err != nil {
		return nil, err
	}
	res, err := s.payment.Capture(ctx.Context(), id)
	if err != nil {
		return refusal(err)
	}
	if res.Status != paymentapi.Captured && res.Status != paymentapi.PaidOut {
		return verdict{Refused: true, Reason: "payment_declined", Detail: res.Reason}, nil
	}
	return verdict{}, nil
}

// dispatchCourier has the delivery service look for a courier; how it does is its own business.
func (s *Service) dispatchCourier(ctx workflow.ActivityContext) (any, error) {
	o, err := s.orderOf(ctx)
	if err != nil {
		return nil, err
	}
	res, err := s.delivery.Dispatch(ctx.Context(), o.ID, deliveryapi.DispatchRequest{
		RestaurantID: o.RestaurantID, CustomerID: o.CustomerID,
		Pickup:      place(o.Pickup),
		Dropoff:     place(o.Dropoff),
		CourierNote: o.CourierNote, Deadline: time.Now().UTC().Add(s.cfg.DispatchDeadline),
	})
	if err != nil {
		return refusal(err)
	}
	if res.Status == deliveryapi.Unavailable || res.Status == deliveryapi.Released {
		return verdict{Refused: true, Reason: "no_courier", Detail: res.Reason}, nil
	}
	return verdict{}, nil
}

// voidPayment sets the hold on the card free.
func (s *Service) voidPayment(ctx workflow.ActivityContext) (any, error) {
	return undo(ctx, func(ctx context.Context, id string) error {
		_, err := s.payment.Void(ctx, id)
		return err
	})
}

// cancelTicket withdraws the kitchen's ticket.
func (s *Service) cancelTicket(ctx workflow.ActivityContext) (any, error) {
	return undo(ctx, func(ctx context.Context, id string) error {
		_, err := s.restaurant.Cancel(ctx, id, restaurantapi.CancelRequest{Reason: "the order ended"})
		return err
	})
}

// refundPayment gives back what was captured.
func (s *Service) refundPayment(ctx workflow.ActivityContext) (any, error) {
	return undo(ctx, func(ctx context.Context, id string) error {
		_, err := s.payment.Refund(ctx, id, "the order ended")
		return err
	})
}

// releaseCourier sets the courier free, unless the order has been picked up: then it is too late to undo anything.
func (s *Service) releaseCourier(ctx workflow.ActivityContext) (any, error) {
	id, err := input(ctx)
	if err != nil {
		return nil, err
	}
	res, err := s.delivery.Release(ctx.Context(), id, deliveryapi.ReleaseRequest{Reason: "the order ended"})
	return saga.Undone{TooLate: res.PickedUp}, err
}

// endOrder ends an order that is not delivered, and gives back a promotion that it used.
func (s *Service) endOrder(ctx workflow.ActivityContext) (any, error) {
	var end ending
	if err := ctx.GetInput(&end); err != nil {
		return nil, err
	}
	before, _, err := s.orders.Load(ctx.Context(), end.OrderID)
	if err != nil {
		return nil, err
	}
	if before.Order.Promotion != "" {
		if _, err := s.pricing.Release(ctx.Context(), pricingapi.ReleaseRequest{OrderID: end.OrderID}); err != nil {
			return nil, err
		}
	}
	appended := false
	_, _, err = s.orders.Update(ctx.Context(), end.OrderID, func(st state, version int) (eventstore.Change, error) {
		o := st.Order
		if appended = version > 0 && !o.Status.Terminal() && o.Status != orderapi.PickedUp; !appended {
			return eventstore.Change{}, nil
		}
		return eventstore.Change{Events: []eventstore.Event{{Type: endedType(end.Status), Data: &orderapi.EndedEvent{
			OrderId: o.ID, CustomerId: o.CustomerID, RestaurantId: o.RestaurantID,
			Status: string(end.Status), Reason: end.Reason, Detail: clip(end.Detail, 500)}}}}, nil
	})
	if err == nil && appended {
		s.ended.WithLabelValues(string(end.Status)).Inc()
		if end.Status == orderapi.CompensationFailed {
			s.log.Error("an order could not be undone: look at it", "order", end.OrderID, "detail", end.Detail)
		}
	}
	return nil, err
}

// refuseCancel tells that a cancellation came too late.
func (s *Service) refuseCancel(ctx workflow.ActivityContext) (any, error) {
	id, err := input(ctx)
	if err != nil {
		return nil, err
	}
	_, _, err = s.orders.Update(ctx.Context(), id, func(st state, _ int) (eventstore.Change, error) {
		if o := st.Order; o.CancelRequested {
			return eventstore.Change{Events: []eventstore.Event{{Type: orderapi.EventCancelRefused,
				Data: &orderapi.CancelEvent{OrderId: o.ID, CustomerId: o.CustomerID, Reason: "picked_up"}}}}, nil
		}
		return eventstore.Change{}, nil
	})
	return nil, err
}

func (s *Service) orderOf(ctx workflow.ActivityContext) (orderapi.Order, error) {
	id, err := input(ctx)
	if err != nil {
		return orderapi.Order{}, err
	}
	st, _, err := s.orders.Load(ctx.Context(), id)
	return st.Order, err
}

func input(ctx workflow.ActivityContext) (string, error) {
	var id string
	err := ctx.GetInput(&id)
	return id, err
}

// refusal turns a callee's permanent problem into a result: trying again can't help, so the saga rolls back.
func refusal(err error) (any, error) {
	if problem.Permanent(err) {
		return verdict{Refused: true, Reason: string(problem.Of(err)), Detail: clip(err.Error(), noteLimit)}, nil
	}
	return nil, err
}

func undo(ctx workflow.ActivityContext, f func(context.Context, string) error) (any, error) {
	id, err := input(ctx)
	if err != nil {
		return nil, err
	}
	return saga.Undone{}, f(ctx.Context(), id)
}

func place(p orderapi.Place) deliveryapi.Place {
	return deliveryapi.Place{Point: geo.Point{Lat: p.Lat, Lon: p.Lon}, Address: p.Address}
}

func clip(s string, n int) string {
	if len(s) > n {
		return s[:n]
	}
	return s
}
