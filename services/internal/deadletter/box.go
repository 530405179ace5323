// Package deadletter keeps what an app could not take in until somebody has dealt with it. The topic adapter publishes
// an event that it gives up to the app's own dead-letter topic; the app takes it from there into its store, where it
// can be listed, shown, edited, replayed and dropped. Replaying gives the event to the same handler as before, which is
// idempotent. Who did what is kept in a trail.
package deadletter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

// Subscriber is what delivers an event once more: the app's topic adapter.
type Subscriber interface {
	// Topics are those that the app takes in.
	Topics() []string
	// Redeliver makes one attempt, and none for an event that had been taken in before.
	Redeliver(ctx context.Context, topic string, body []byte) (topic.Result, error)
}

// Box holds the dead letters of one app.
type Box struct {
	app        string
	state      sidecar.Store
	subscriber Subscriber
	log        *slog.Logger
	now        func() time.Time
	depth      *depth
	dirty      chan struct{}
	handled    *prometheus.CounterVec

	mu   sync.Mutex // held while this replica changes the index
	tail int        // the page of the next letter, as far as this replica knows
}

// New makes the box of app. It is filled and emptied by the requests that Routes serves.
func New(app string, state sidecar.Store, subscriber Subscriber, log *slog.Logger, reg prometheus.Registerer) *Box {
	b := &Box{app: app, state: state, subscriber: subscriber, log: log, now: time.Now, dirty: make(chan struct{}, 1),
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "dead_letters_handled_total",
			Help: "Dead letters by topic and what was done: taken, replayed, failed, dropped."}, []string{"topic", "outcome"}),
	}
	b.depth = newDepth(b)
	reg.MustRegister(b.depth, b.handled)
	return b
}

// Take keeps what came on the dead-letter topic of t. A repetition changes nothing; a further failure of an event whose
// letter is still here is added to it. The only error is that of the store: then the broker delivers again.
func (b *Box) Take(ctx context.Context, t string, body []byte) error {
	in := b.read(t, opened(body))
	b.mu.Lock()
	tail := b.tail
	b.mu.Unlock()
	taken := false
	err := b.change(ctx, []string{letterKey(in.ID), pageKey(tail)}, func(c *change) error {
		taken = false
		have, err := c.letter(in.ID)
		if err != nil {
			return err
		}
		if have.ID != "" && !in.Last.After(have.Last) {
			return nil
		}
		taken = true
		if have.ID != "" && have.Gone == nil {
			return c.again(have, in)
		}
		in.Seq = c.head.value.Last + 1
		c.head.value.Last, c.head.changed = in.Seq, true
		page, err := c.page(pageOf(in.Seq))
		if err != nil {
			return err
		}
		page.value, page.changed = append(page.value, in.listed()), true
		return c.write(in)
	})
	if err != nil {
		return fmt.Errorf("dead letter %s of %s: %w", in.Event, t, err)
	}
	if taken {
		b.handled.WithLabelValues(t, "taken").Inc()
	}
	return nil
}

// again adds a further failure of the same event to its letter.
func (c *change) again(have, in stored) error {
	page, at, err := c.find(have.Seq, have.ID)
	if err != nil {
		return err
	}
	if at < 0 {
		return errors.New("letter " + have.ID + " is not in the index")
	}
	have.Attempts += in.Attempts
	have.Cause, have.Last = in.Cause, in.Last
	page.value[at], page.changed = have.listed(), true
	return c.write(have)
}
