package topic

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// Topics lists the topics that the service takes in for good, each of which has a topic of dead letters.
func (s *Subscriber) Topics() []string {
	var topics []string
	for _, sub := range s.subs {
		if !sub.Live {
			topics = append(topics, sub.Topic)
		}
	}
	slices.Sort(topics)
	return topics
}

// Result is what came of a redelivery.
type Result string

// The results of Redeliver.
const (
	Handled Result = "handled" // it took effect now
	Already Result = "already" // it had taken effect before; nothing was done
)

// Redeliver hands an event that was dead-lettered to the handler of its topic, once and without retries. It takes effect
// if its sequence is parked, and the mark goes in the same transaction; or if it was never taken in, and then after
// what is missing before it. Otherwise nothing is done. The error says what is wrong with it; it stays parked.
func (s *Subscriber) Redeliver(ctx context.Context, topic string, body []byte) (Result, error) {
	for _, sub := range s.subs {
		if sub.Topic == topic && !sub.Live {
			return s.redeliver(ctx, sub, body)
		}
	}
	return "", problem.New(problem.NotFound, "%s is not subscribed to %.200s", s.app, topic)
}

func (s *Subscriber) redeliver(ctx context.Context, sub Subscription, body []byte) (Result, error) {
	d, err := read(sub, "", body, time.Now().UTC())
	if err == nil {
		err = d.refusal
	}
	if err != nil {
		return "", problem.Wrap(err, problem.InvalidRequest, "%s", err)
	}
	if d.key == "" || s.store == nil {
		return Handled, s.perform(ctx, d)
	}
	defer s.turns.take(ctx, d.key)()
	seq := d.event.Seq()
	for round := 1; ; round++ {
		entry, err := s.look(ctx, d)
		if err != nil {
			return "", err
		}
		if !entry.IsParked(seq) {
			if seq <= entry.Last {
				return Already, nil
			}
			gone, err := s.catchUp(ctx, d, entry)
			if err != nil {
				return "", err
			}
			if gone {
				continue
			}
		}
		err = s.effect(ctx, d, entry.Take(seq, d.hash))
		if err == nil {
			s.handled.WithLabelValues(sub.Topic, outcomeOK).Inc()
			return Handled, nil
		}
		if !errors.Is(err, inbox.ErrTaken) || round == rounds {
			return "", err
		}
	}
}
