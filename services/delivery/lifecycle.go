package delivery

import (
	"context"
	"slices"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

func noDelivery(order string) error {
	return problem.New(problem.NotFound, "there is no delivery %s", order)
}

func offerLost(order string) error {
	return problem.New(problem.OfferLost, "%s is not offered to you any more", order)
}

// accept assigns an order to the courier to whom it is offered. The courier's record and the delivery are written
// together, each by its ETag: nobody can have two orders, and no order two couriers.
func (s *Service) accept(ctx context.Context, id, order string) (delivery, error) {
	return s.act(ctx, order, func(ctx context.Context, p *plan, _ *hold) error {
		if p.d.Status == "" || p.d.Barred {
			return noDelivery(order)
		}
		if p.d.CourierID == id && (p.d.Status == deliveryapi.Assigned || p.d.Status == deliveryapi.PickedUp) {
			return nil // said before
		}
		c, err := p.courier(ctx, id)
		if err != nil {
			return err
		}
		switch {
		case c != nil && c.OrderID != "" && c.OrderID != order:
			return problem.New(problem.CourierBusy, "you carry %s; deliver it first", c.OrderID)
		case c == nil, !p.d.searching(), p.d.Offer == nil, p.d.Offer.CourierID != id, p.now.After(p.d.Offer.ExpiresAt):
			return offerLost(order)
		}
		c.OrderID, c.Offer = order, nil
		p.changed(c)
		way := geo.Distance(p.d.Pickup.Point, p.d.Dropoff.Point)
		if at, ok := s.dispatch.position(id); ok {
			way += geo.Distance(at, p.d.Pickup.Point)
		}
		return p.happen(deliveryapi.TypeCourierAssigned, &deliveryapi.CourierAssignedData{
			OrderId: p.d.OrderID, CustomerId: p.d.CustomerID, RestaurantId: p.d.RestaurantID, CourierId: id, Eta: contract.Timestamp(s.eta(p.now, way))})
	})
}

// decline says no to an offer; the next courier is asked in the same transaction.
func (s *Service) decline(ctx context.Context, id, order string) (delivery, error) {
	return s.act(ctx, order, func(ctx context.Context, p *plan, h *hold) error {
		switch {
		case p.d.Status == "" || p.d.Barred:
			return noDelivery(order)
		case slices.Contains(p.d.Declined, id):
			return nil // said before
		case p.d.Offer == nil || p.d.Offer.CourierID != id:
			return offerLost(order)
		}
		if err := p.withdraw(ctx, id); err != nil {
			return err
		}
		if err := p.happen(deliveryapi.TypeOfferDeclined, &deliveryapi.OfferEndedData{OrderId: p.d.OrderID, CustomerId: p.d.CustomerID, RestaurantId: p.d.RestaurantID, CourierId: id}); err != nil {
			return err
		}
		return s.seek(ctx, p, h)
	})
}

// carrier refuses everybody but the courier who has the order; for others it does not exist.
func (p *plan) carrier(id string) error {
	if p.d.CourierID == "" || p.d.CourierID != id {
		return problem.New(problem.NotFound, "you have no delivery %s", p.order)
	}
	return nil
}

func illegal(d delivery, to string) error {
	return problem.New(problem.IllegalState, "the delivery is %s, it can't be %s", d.Status, to)
}

// pickup is the point of no return: from here on the order can't be released. It does not wait for the kitchen's
// word that the food is ready, for the courier holds it.
func (s *Service) pickup(ctx context.Context, id, order string) (delivery, error) {
	return s.act(ctx, order, func(_ context.Context, p *plan, _ *hold) error {
		if err := p.carrier(id); err != nil {
			return err
		}
		switch p.d.Status {
		case deliveryapi.PickedUp:
			return nil // said before
		case deliveryapi.Assigned:
			eta := s.eta(p.now, geo.Distance(p.d.Pickup.Point, p.d.Dropoff.Point))
			return p.happen(deliveryapi.TypePickedUp, &deliveryapi.PickedUpData{OrderId: p.d.OrderID, CustomerId: p.d.CustomerID, RestaurantId: p.d.RestaurantID, CourierId: id, Eta: contract.Timestamp(eta)})
		default:
			return illegal(p.d, "picked up")
		}
	})
}

// deliver ends a delivery and frees its courier.
func (s *Service) deliver(ctx context.Context, id, order string) (delivery, error) {
	return s.act(ctx, order, func(ctx context.Context, p *plan, _ *hold) error {
		if err := p.carrier(id); err != nil {
			return err
		}
		switch p.d.Status {
		case deliveryapi.Delivered:
			return nil // said before
		case deliveryapi.PickedUp:
			if err := p.unload(ctx, id); err != nil {
				return err
			}
			return p.happen(deliveryapi.TypeDelivered, &deliveryapi.DeliveredData{OrderId: p.d.OrderID, CustomerId: p.d.CustomerID, RestaurantId: p.d.RestaurantID, CourierId: id})
		default:
			return illegal(p.d, "delivered")
		}
	})
}

// unload takes the order from its courier's record.
func (p *plan) unload(ctx context.Context, id string) error {
	c, err := p.courier(ctx, id)
	if err == nil && c != nil && c.OrderID == p.order {
		c.OrderID = ""
		p.changed(c)
	}
	return err
}

// release gives a delivery up, whatever its state before the pick-up; one that was never asked for can't be asked
// for later.
func (s *Service) release(ctx context.Context, order, reason string) (deliveryapi.ReleaseResult, error) {
	d, err := s.act(ctx, order, func(ctx context.Context, p *plan, _ *hold) error {
		released := &deliveryapi.ReleasedData{OrderId: p.d.OrderID, CustomerId: p.d.CustomerID, RestaurantId: p.d.RestaurantID, Reason: reason}
		switch p.d.Status {
		case "":
			return p.happen(deliveryapi.TypeBarred, &deliveryapi.BarredData{OrderId: order, Reason: reason})
		case deliveryapi.Requested:
			if p.d.Offer != nil {
				released.CourierId = p.d.Offer.CourierID
				if err := p.withdraw(ctx, released.CourierId); err != nil {
					return err
				}
			}
		case deliveryapi.Assigned:
			released.CourierId = p.d.CourierID
			if err := p.unload(ctx, released.CourierId); err != nil {
				return err
			}
		default:
			return nil
		}
		return p.happen(deliveryapi.TypeReleased, released)
	})
	if err != nil {
		return deliveryapi.ReleaseResult{}, err
	}
	pickedUp := d.Status == deliveryapi.PickedUp || d.Status == deliveryapi.Delivered
	return deliveryapi.ReleaseResult{Released: !pickedUp, PickedUp: pickedUp}, nil
}

// eta is when somebody who has metres to go will be there.
func (s *Service) eta(from time.Time, metres float64) time.Time {
	return from.Add(time.Duration(metres / s.cfg.Speed * float64(time.Second))).UTC().Truncate(time.Second)
}
