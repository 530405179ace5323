package topic

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// ErrTakenIn says that an event that is delivered again had been taken in already: nothing was done, and nothing is
// left to do.
var ErrTakenIn = errors.New("the event had been taken in already")

// Topics lists the topics that the service takes in for good, by Handle. Each has a topic of dead letters.
func (s *Subscriber) Topics() []string { return slices.Sorted(maps.Keys(s.handlers)) }

// Redeliver gives an event of topic to its handler once more, as it does for a dead letter that somebody replays: one
// attempt, no schedule, and no new dead letter when it fails. The error is the handler's, or says what is malformed;
// it is ErrTakenIn, or nil, for an event that had been taken in before.
func (s *Subscriber) Redeliver(ctx context.Context, topic string, body []byte) error {
	h, ok := s.handlers[topic]
	if !ok {
		return problem.New(problem.NotFound, "%s does not take in %s", s.app, topic)
	}
	e, err := decode(body)
	if err != nil {
		return problem.Wrap(err, problem.InvalidRequest, "malformed")
	}
	if err := s.attempt(traced(ctx, e), h, e); err != nil {
		return err
	}
	s.handled.WithLabelValues(topic, "ok").Inc()
	return nil
}
