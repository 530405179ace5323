// Package rabbitconfirmed is Dapr's RabbitMQ pub/sub that tells of what was not confirmed: pubsub.rabbitmq-confirmed.
//
// Dapr's own pubsub.rabbitmq (components-contrib 1.18.0, pubsub/rabbitmq/rabbitmq.go, publishSync) waits for the
// broker's confirmation, but reports success also when the answer is no or never comes: it only logs "did not receive
// confirmation of publishing". An event that was on its way when the broker died is lost, and its publisher believes
// that it is safe. The same holds when the caller's time is over while the component waits to connect again. Here both
// are errors, so that the publisher's outbox keeps the event and publishes it again.
package rabbitconfirmed

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dapr/components-contrib/pubsub"
	"github.com/dapr/components-contrib/pubsub/rabbitmq"
	"github.com/dapr/kit/logger"
)

// unconfirmed is what the component logs, and says nowhere else.
const unconfirmed = "did not receive confirmation of publishing"

// ErrUnconfirmed says that the broker did not confirm an event: it may be there, or not.
var ErrUnconfirmed = errors.New("rabbitmq: the broker did not confirm the event")

// PubSub is the component.
type PubSub struct {
	pubsub.PubSub
	watch *watcher
	// one lets one event through at a time, as the component itself does, so that a line of the log belongs to it.
	one sync.Mutex
}

// New makes the component for Dapr's registry.
func New(log logger.Logger) pubsub.PubSub {
	w := &watcher{Logger: log}
	return &PubSub{PubSub: rabbitmq.NewRabbitMQ(w), watch: w}
}

// Publish implements pubsub.PubSub.
func (p *PubSub) Publish(ctx context.Context, req *pubsub.PublishRequest) error {
	p.one.Lock()
	defer p.one.Unlock()
	if err := ctx.Err(); err != nil {
		return pubsub.NewRetriableError(err)
	}
	p.watch.seen.Store(false)
	if err := p.PubSub.Publish(ctx, req); err != nil {
		return err
	}
	if p.watch.seen.Load() {
		return pubsub.NewRetriableError(ErrUnconfirmed)
	}
	if err := ctx.Err(); err != nil {
		return pubsub.NewRetriableError(err)
	}
	return nil
}

// watcher is a logger that notes the one message that matters.
type watcher struct {
	logger.Logger
	seen atomic.Bool
}

// Errorf implements logger.Logger.
func (w *watcher) Errorf(format string, args ...any) {
	for _, a := range args {
		if err, ok := a.(error); ok && strings.Contains(err.Error(), unconfirmed) {
			w.seen.Store(true)
		}
	}
	w.Logger.Errorf(format, args...)
}
