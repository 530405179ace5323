package notification

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// maxAttempts is how often a message is tried: as often as the subscription delivers its event.
var maxAttempts = 1 + len(topic.Standard)

// notice is what is to be told to whom.
type notice struct {
	user    string
	contact *contact // if it is at hand
	fact    fact
}

// onEvent tells the customer of an order's event.
func (s *Service) onEvent(ctx context.Context, e cloudevent.Event) error {
	if len(causes[e.Name()]) == 0 || e.Name() == userapi.EventRegistered {
		return nil
	}
	f, err := factOf(e)
	if err != nil {
		return err
	}
	if f.OrderID == "" {
		return problem.New(problem.InvalidRequest, "event %s names no order", e.ID)
	}
	user := f.CustomerID
	if user == "" { // a refund that was found at the acquirer
		item, err := s.deps.State.Get(ctx, orderKey(f.OrderID))
		if err != nil {
			return err
		}
		var known orderFacts
		if item.Exists() {
			if err := json.Unmarshal(item.Value, &known); err != nil {
				return fmt.Errorf("order %s: %w", f.OrderID, err)
			}
		}
		if user = known.CustomerID; user == "" {
			return problem.New(problem.Unavailable, "whose order %s is isn't known yet", f.OrderID)
		}
	}
	return s.tell(ctx, e, notice{user: user, fact: f})
}

// delivery is one message that is to be sent now.
type delivery struct {
	id      string // of the notification
	channel string
	cause   string // the type of the event
	order   string
	address string
	message rendered
	sentAt  time.Time // zero: not sent
	err     error     // why it was not sent
	outcome string    // as it is recorded and counted
}

// tell sends what the event owes to a person and has not been sent: it reads once, sends by all channels, and writes
// once. Two replicas that have the same event, while its partition changes hands, both send; the copies have the same
// ids. An error means: try again.
func (s *Service) tell(ctx context.Context, e cloudevent.Event, n notice) error {
	if !s.begin(e.ID) {
		return problem.New(problem.Unavailable, "event %s is being told of right now", e.ID)
	}
	defer s.end(e.ID)
	v, err := s.read(ctx, e, n)
	if err != nil {
		return err
	}
	due, err := s.due(e, n, v)
	if err != nil {
		return err
	}
	if len(due) > 0 {
		if !s.deps.Outbox.Ready() { // it could not be recorded
			return problem.New(problem.Unavailable, "the outbox is not ready").After(time.Second)
		}
		s.sendAll(ctx, due)
	}
	return s.settle(ctx, e, n, v, due)
}

// due renders what is to be sent.
func (s *Service) due(e cloudevent.Event, n notice, v *view) ([]*delivery, error) {
	m := message{Name: v.contact.Name, OrderID: n.fact.OrderID, Restaurant: n.fact.RestaurantName, fact: n.fact}
	if m.Restaurant == "" {
		m.Restaurant = v.order.Restaurant
	}
	if m.Currency == "" {
		m.Currency = v.order.Currency
	}
	var due []*delivery
	for _, channel := range causes[e.Name()] {
		address := v.contact.address(channel)
		if address == "" || v.told.final(channel) {
			continue
		}
		d := &delivery{id: notificationID(e.ID, channel), channel: channel, cause: e.Name(), order: m.OrderID, address: address}
		m.NotificationID = d.id
		var err error
		if d.message, err = s.templates.render(e.Name(), channel, m); err != nil {
			return nil, err
		}
		due = append(due, d)
	}
	return due, nil
}

// sendAll sends by all channels side by side. What went out before and could not be recorded is not sent again.
func (s *Service) sendAll(ctx context.Context, due []*delivery) {
	var sends sync.WaitGroup
	for i, d := range due {
		if d.sentAt = s.recall(d.id); !d.sentAt.IsZero() {
			continue
		}
		send := func() {
			if d.err = s.send(ctx, d); d.err == nil {
				d.sentAt = s.now().UTC()
			}
		}
		if i < len(due)-1 {
			sends.Go(send)
		} else {
			send()
		}
	}
	sends.Wait()
}

// notificationID is the same for the same event and channel, always.
func notificationID(cause, channel string) string { return ids.Derive("ntf", cause, channel) }

func (s *Service) begin(event string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inFlight[event] {
		return false
	}
	s.inFlight[event] = true
	return true
}

func (s *Service) end(event string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.inFlight, event)
}

// maxUnrecorded bounds what is remembered of sends that could not be recorded. Beyond it copies are sent.
const maxUnrecorded = 1000

// remember keeps what was sent and could not be recorded, for the next try.
func (s *Service) remember(due []*delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range due {
		if !d.sentAt.IsZero() && len(s.unrecorded) < maxUnrecorded {
			s.unrecorded[d.id] = d.sentAt
		}
	}
}

// recall gives when a notification was sent without having been recorded, and forgets it.
func (s *Service) recall(id string) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.unrecorded[id]
	delete(s.unrecorded, id)
	return at
}
