package restaurant

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// ticket is the aggregate. A barred one was cancelled before it came.
type ticket struct {
	restaurantapi.Ticket
	Barred bool `json:"barred,omitempty"`
}

func apply(t ticket, e cloudevent.Event) (ticket, error) {
	switch e.Name() {
	case restaurantapi.TypeTicketOpened:
		var d restaurantapi.TicketOpened
		if err := restaurantapi.Events.Into(e, &d); err != nil {
			return t, err
		}
		t.Ticket = restaurantapi.Ticket{OrderID: d.OrderId, RestaurantID: d.RestaurantId, CustomerID: d.CustomerId,
			Status: restaurantapi.Open, Items: d.Lines(), Note: d.Note, OpenedAt: e.Time, Deadline: contract.Time(d.Deadline)}
	case restaurantapi.TypeTicketAccepted:
		var d restaurantapi.TicketAccepted
		if err := restaurantapi.Events.Into(e, &d); err != nil {
			return t, err
		}
		t.Status, t.PrepMinutes, t.AcceptedAt = restaurantapi.Accepted, int(d.PrepMinutes), e.Time
	case restaurantapi.TypeTicketRejected:
		var d restaurantapi.TicketRejected
		if err := restaurantapi.Events.Into(e, &d); err != nil {
			return t, err
		}
		if t.OrderID == "" { // refused at once
			t.OrderID, t.RestaurantID, t.CustomerID, t.OpenedAt = d.OrderId, d.RestaurantId, d.CustomerId, e.Time
		}
		t.Status, t.Reason, t.EndedAt = restaurantapi.Rejected, d.Reason, e.Time
	case restaurantapi.TypeTicketReady:
		t.Status, t.ReadyAt = restaurantapi.Ready, e.Time
	case restaurantapi.TypeTicketCancelled:
		var d restaurantapi.TicketCancelled
		if err := restaurantapi.Events.Into(e, &d); err != nil {
			return t, err
		}
		t.Status, t.Reason, t.EndedAt = restaurantapi.Cancelled, d.Reason, e.Time
	case restaurantapi.TypeTicketBarred:
		var d restaurantapi.TicketBarred
		if err := restaurantapi.Events.Into(e, &d); err != nil {
			return t, err
		}
		t = ticket{Ticket: restaurantapi.Ticket{OrderID: d.OrderId, Status: restaurantapi.Cancelled, Reason: d.Reason, EndedAt: e.Time}, Barred: true}
	default:
		return t, fmt.Errorf("unknown event type %s", e.Type)
	}
	return t, nil
}

// transition moves a ticket and the board of its restaurant on, in one transaction. decide gives the event that
// happens, or none, and changes the board accordingly; it may run several times.
func (s *Service) transition(ctx context.Context, restaurant, order string, decide func(ticket, *board) (*eventstore.Event, error)) (ticket, error) {
	defer s.turns.take(restaurant)()
	var b board
	t, _, err := s.tickets.Update(ctx, order, func(t ticket, _ int) (eventstore.Change, error) {
		var change eventstore.Change
		have, old, err := s.readBoard(ctx, restaurant)
		if err != nil {
			return change, err
		}
		b = have
		event, err := decide(t, &b)
		if err != nil || event == nil {
			return change, err
		}
		change.Events = []eventstore.Event{*event}
		change.Ops, err = s.writeBoard(ctx, &b, old)
		return change, err
	})
	if err == nil {
		s.saw(b)
	}
	return t, err
}

func (s *Service) open(ctx context.Context, order string, in restaurantapi.OpenRequest) (ticket, error) {
	return s.transition(ctx, in.RestaurantID, order, func(t ticket, b *board) (*eventstore.Event, error) {
		if t.Status != "" {
			if !t.Barred && t.RestaurantID != in.RestaurantID {
				return nil, problem.New(problem.IllegalState, "the order has a ticket at another restaurant")
			}
			return nil, nil
		}
		now := s.cfg.Now().UTC()
		if reason := b.refusal(now); reason != "" {
			return &eventstore.Event{Type: restaurantapi.TypeTicketRejected, Data: &restaurantapi.TicketRejected{
				OrderId: order, RestaurantId: in.RestaurantID, CustomerId: in.CustomerID, Reason: reason}}, nil
		}
		deadline := in.Deadline.UTC()
		if in.Deadline.IsZero() {
			deadline = now.Add(s.cfg.AnswerWithin)
		}
		b.put(entry{OrderID: order, Status: restaurantapi.Open, Deadline: deadline, Since: now}, now, s.cfg.ReadyShown)
		opened := &restaurantapi.TicketOpened{
			OrderId: order, RestaurantId: in.RestaurantID, CustomerId: in.CustomerID, Note: in.Note, Deadline: contract.Timestamp(deadline)}
		for _, it := range in.Items {
			opened.Items = append(opened.Items, it.Message())
		}
		return &eventstore.Event{Type: restaurantapi.TypeTicketOpened, Data: opened}, nil
	})
}

// refusal says why the kitchen can't take a ticket now, "" if it can.
func (b board) refusal(now time.Time) string {
	switch {
	case b.Paused:
		return restaurantapi.ReasonPaused
	case !openAt(b.Hours, now):
		return restaurantapi.ReasonClosed
	case b.active() >= b.Capacity:
		return restaurantapi.ReasonCapacity
	default:
		return ""
	}
}

// of gives the ticket if it is the restaurant's; somebody else's does not exist for it.
func of(t ticket, restaurant, order string) error {
	if t.Status == "" || t.Barred || t.RestaurantID != restaurant {
		return problem.New(problem.NotFound, "%s has no ticket %s", restaurant, order)
	}
	return nil
}

func illegal(t ticket, to string) error {
	return problem.New(problem.IllegalState, "the ticket is %s, it can't be %s", t.Status, to)
}

func (s *Service) accept(ctx context.Context, restaurant, order string, prep int) (ticket, error) {
	return s.transition(ctx, restaurant, order, func(t ticket, b *board) (*eventstore.Event, error) {
		if err := of(t, restaurant, order); err != nil {
			return nil, err
		}
		if t.Status != restaurantapi.Open {
			return nil, illegal(t, "accepted")
		}
		now := s.cfg.Now().UTC()
		b.put(entry{OrderID: order, Status: restaurantapi.Accepted, Since: now}, now, s.cfg.ReadyShown)
		return &eventstore.Event{Type: restaurantapi.TypeTicketAccepted, Data: &restaurantapi.TicketAccepted{
			OrderId: order, RestaurantId: restaurant, CustomerId: t.CustomerID, PrepMinutes: int32(prep)}}, nil
	})
}

func (s *Service) reject(ctx context.Context, restaurant, order, reason string) (ticket, error) {
	return s.transition(ctx, restaurant, order, func(t ticket, b *board) (*eventstore.Event, error) {
		if err := of(t, restaurant, order); err != nil {
			return nil, err
		}
		if t.Status != restaurantapi.Open {
			return nil, illegal(t, "rejected")
		}
		b.remove(order)
		return rejected(t, reason), nil
	})
}

func rejected(t ticket, reason string) *eventstore.Event {
	return &eventstore.Event{Type: restaurantapi.TypeTicketRejected, Data: &restaurantapi.TicketRejected{
		OrderId: t.OrderID, RestaurantId: t.RestaurantID, CustomerId: t.CustomerID, Reason: reason}}
}

// expire rejects a ticket whose deadline has passed, unless it was answered meanwhile.
func (s *Service) expire(ctx context.Context, restaurant, order string) error {
	_, err := s.transition(ctx, restaurant, order, func(t ticket, b *board) (*eventstore.Event, error) {
		if t.Status != restaurantapi.Open || !s.cfg.Now().After(t.Deadline) {
			return nil, nil
		}
		b.remove(order)
		return rejected(t, restaurantapi.ReasonTimeout), nil
	})
	return err
}

func (s *Service) ready(ctx context.Context, restaurant, order string) (ticket, error) {
	return s.transition(ctx, restaurant, order, func(t ticket, b *board) (*eventstore.Event, error) {
		if err := of(t, restaurant, order); err != nil {
			return nil, err
		}
		if t.Status != restaurantapi.Accepted {
			return nil, illegal(t, "ready")
		}
		now := s.cfg.Now().UTC()
		b.put(entry{OrderID: order, Status: restaurantapi.Ready, Since: now}, now, s.cfg.ReadyShown)
		return &eventstore.Event{Type: restaurantapi.TypeTicketReady, Data: &restaurantapi.TicketReady{
			OrderId: order, RestaurantId: restaurant, CustomerId: t.CustomerID}}, nil
	})
}

// errOpened says that a ticket came while its order was being barred.
var errOpened = errors.New("the ticket has come meanwhile")

// cancel withdraws a ticket, whatever its state; if there is none yet, none can come later.
func (s *Service) cancel(ctx context.Context, order, reason string) (ticket, error) {
	for {
		t, _, err := s.tickets.Load(ctx, order)
		if err != nil {
			return t, err
		}
		if t.Status == "" {
			t, err = s.bar(ctx, order, reason)
			if errors.Is(err, errOpened) {
				continue // now it exists, and so it stays
			}
			return t, err
		}
		if t.Status == restaurantapi.Cancelled || t.Status == restaurantapi.Rejected {
			return t, nil
		}
		return s.transition(ctx, t.RestaurantID, order, func(t ticket, b *board) (*eventstore.Event, error) {
			if t.Status == restaurantapi.Cancelled || t.Status == restaurantapi.Rejected {
				return nil, nil
			}
			b.remove(order)
			return &eventstore.Event{Type: restaurantapi.TypeTicketCancelled, Data: &restaurantapi.TicketCancelled{
				OrderId: order, RestaurantId: t.RestaurantID, CustomerId: t.CustomerID, Reason: reason}}, nil
		})
	}
}

func (s *Service) bar(ctx context.Context, order, reason string) (ticket, error) {
	t, _, err := s.tickets.Update(ctx, order, func(t ticket, _ int) (eventstore.Change, error) {
		if t.Barred {
			return eventstore.Change{}, nil
		}
		if t.Status != "" {
			return eventstore.Change{}, errOpened
		}
		return eventstore.Change{Events: []eventstore.Event{{Type: restaurantapi.TypeTicketBarred,
			Data: &restaurantapi.TicketBarred{OrderId: order, Reason: reason}}}}, nil
	})
	return t, err
}
