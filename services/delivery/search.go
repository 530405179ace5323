package delivery

import (
	"context"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// act changes a delivery, the couriers that it concerns and the index of searches, in one transaction, and lets
// the dispatcher know. decide may run several times, each time on a new plan.
func (s *Service) act(ctx context.Context, order string, decide func(context.Context, *plan, *hold) error) (delivery, error) {
	turn := &s.turns[shardOf(order)]
	turn.Lock()
	defer turn.Unlock()
	h := s.dispatch.hold(order)
	var last *plan
	d, _, err := s.deliveries.Update(ctx, order, func(d delivery, _ int) (eventstore.Change, error) {
		if last != nil {
			h.release() // somebody else wrote: look again
		}
		p := &plan{state: s.state, order: order, now: time.Now().UTC(), d: d,
			items: map[string]sidecar.Item{}, couriers: map[string]*courier{}}
		last = p
		if err := decide(ctx, p, h); err != nil {
			return eventstore.Change{}, err
		}
		err := p.finish(ctx, d.searching())
		return p.change, err
	})

	x := s.dispatch
	x.mu.Lock()
	defer x.mu.Unlock()
	h.drop()
	if err == nil {
		for id, c := range last.couriers {
			v := x.saw(*c)
			if id == d.CourierID {
				v.carried, v.readAt = d, last.now
			}
		}
		x.track(d, 0)
		s.metrics.count(last)
	}
	x.match()
	return d, err
}

// seek decides what a search without an open offer does next: ask somebody, wait, or give up.
func (s *Service) seek(ctx context.Context, p *plan, h *hold) error {
	if p.now.After(p.d.Deadline) {
		return p.happen(deliveryapi.TypeCourierUnavailable, &deliveryapi.CourierUnavailableData{
			OrderId: p.d.OrderID, CustomerId: p.d.CustomerID, RestaurantId: p.d.RestaurantID, Reason: deliveryapi.ReasonDeadline})
	}
	for sure := false; ; {
		found, err := h.look(ctx, p.d, p.now)
		if err != nil {
			return problem.Wrap(err, problem.Unavailable, "the couriers' positions can't be read").After(time.Second)
		}
		if h.courier == "" {
			if found.busy {
				return nil
			}
			if !sure { // somebody may have come online through another replica
				if err := s.refreshCouriers(ctx); err != nil {
					return err
				}
				sure = true
				continue
			}
			reason := deliveryapi.ReasonNoneOnline
			if found.anybody {
				reason = deliveryapi.ReasonAllDeclined
			}
			return p.happen(deliveryapi.TypeCourierUnavailable, &deliveryapi.CourierUnavailableData{OrderId: p.d.OrderID, CustomerId: p.d.CustomerID, RestaurantId: p.d.RestaurantID, Reason: reason})
		}
		c, err := p.courier(ctx, h.courier)
		if err != nil {
			return err
		}
		if c == nil || !c.free(p.order, p.now) {
			s.correct(ctx, h, c) // another replica was faster: look for the next
			continue
		}
		return p.offer(c, found, s.cfg.OfferTTL)
	}
}

// correct tells the dispatcher what a courier who was held to be free really does.
func (s *Service) correct(ctx context.Context, h *hold, c *courier) {
	x := s.dispatch
	id := h.courier
	x.mu.Lock()
	h.drop()
	if c == nil {
		delete(x.couriers, id)
	} else {
		x.saw(*c)
	}
	x.mu.Unlock()
	if c == nil || !c.Online {
		s.unplace(ctx, id)
	}
}

func (p *plan) offer(c *courier, found prospect, ttl time.Duration) error {
	expires := p.now.Add(ttl)
	if p.d.Deadline.Before(expires) {
		expires = p.d.Deadline
	}
	c.Offer = &deliveryapi.Offer{OrderID: p.order, CustomerID: p.d.CustomerID, RestaurantID: p.d.RestaurantID,
		Pickup: p.d.Pickup, Dropoff: p.d.Dropoff, CourierNote: p.d.CourierNote, ExpiresAt: expires}
	p.changed(c)
	return p.happen(deliveryapi.TypeOffered, &deliveryapi.OfferedData{OrderId: p.d.OrderID, CustomerId: p.d.CustomerID, RestaurantId: p.d.RestaurantID, CourierId: c.ID, ExpiresAt: contract.Timestamp(expires),
		Pickup: p.d.Pickup.Message(), Dropoff: p.d.Dropoff.Message(), CourierNote: p.d.CourierNote, Round: int32(found.round), Distance: int32(found.distance)})
}

// request starts a search; the first offer is made in the same transaction.
func (s *Service) request(ctx context.Context, order string, in deliveryapi.DispatchRequest) (delivery, error) {
	if err := s.Ready(); err != nil {
		return delivery{}, problem.Wrap(err, problem.Unavailable, "the couriers are not known yet").After(time.Second)
	}
	return s.act(ctx, order, func(ctx context.Context, p *plan, h *hold) error {
		if p.d.Status != "" {
			return nil
		}
		deadline := in.Deadline.UTC()
		if in.Deadline.IsZero() {
			deadline = p.now.Add(s.cfg.Deadline)
		}
		err := p.happen(deliveryapi.TypeRequested, &deliveryapi.RequestedData{
			OrderId: order, CustomerId: in.CustomerID, RestaurantId: in.RestaurantID,
			Pickup: in.Pickup.Message(), Dropoff: in.Dropoff.Message(), CourierNote: in.CourierNote, Deadline: contract.Timestamp(deadline)})
		if err != nil {
			return err
		}
		return s.seek(ctx, p, h)
	})
}

// advance carries a search on: an offer has expired, a courier has become free, or time is up.
func (s *Service) advance(ctx context.Context, order string) error {
	_, err := s.act(ctx, order, func(ctx context.Context, p *plan, h *hold) error {
		if !p.d.searching() || p.d.Offer != nil && !p.now.After(p.d.Offer.ExpiresAt) {
			return nil
		}
		if p.d.Offer != nil {
			id := p.d.Offer.CourierID
			if err := p.withdraw(ctx, id); err != nil {
				return err
			}
			if err := p.happen(deliveryapi.TypeOfferExpired, &deliveryapi.OfferEndedData{OrderId: p.d.OrderID, CustomerId: p.d.CustomerID, RestaurantId: p.d.RestaurantID, CourierId: id}); err != nil {
				return err
			}
		}
		return s.seek(ctx, p, h)
	})
	return err
}

// work carries on searches that are due until the context ends.
func (s *Service) work(ctx context.Context) {
	for {
		order, ok := s.dispatch.next(ctx)
		if !ok {
			return
		}
		attempt, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := s.advance(attempt, order)
		cancel()
		retry := time.Duration(0)
		if err != nil {
			retry = time.Second
			if ctx.Err() == nil {
				s.log.Warn("search not carried on, will be tried again", "order", order, "in", retry, "error", err)
			}
		}
		s.dispatch.done(order, retry)
	}
}
