package payment

import (
	"context"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi/orderv2"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// onOrderEvent pays out what was captured when its order is delivered. The same event may come again: a payment is
// paid out once. An order that is delivered without a capture is a fault that nobody mends by trying again; the
// event goes to the dead letters with its cause.
func (s *Service) onOrderEvent(ctx context.Context, e cloudevent.Event) error {
	if e.Name() != orderapi.EventDelivered {
		return nil
	}
	var d orderv2.DeliveredEvent
	if err := orderapi.Events.Into(e, &d); err != nil {
		return err
	}
	paid := false
	_, _, err := s.store.Update(ctx, e.Subject, func(a account, _ int) (eventstore.Change, error) {
		paid = false
		switch a.Status {
		case paymentapi.Captured:
			restaurant := d.RestaurantId
			if restaurant == "" {
				restaurant = a.RestaurantID
			}
			out := split(a.Amount, a.Bill, s.cfg.CommissionBP)
			paid = true
			return eventstore.Change{Events: []eventstore.Event{a.paidOut(e.Subject, restaurant, d.CourierId, out)}}, nil
		case paymentapi.PaidOut:
			return eventstore.Change{}, nil
		default:
			return eventstore.Change{}, problem.New(problem.IllegalState, "order %s is delivered, but its payment is %q", e.Subject, a.Status)
		}
	})
	if err == nil && paid {
		s.events.WithLabelValues(paymentapi.EventPaidOut).Inc()
	}
	return err
}
