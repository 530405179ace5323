package rabbitconfirmed

import (
	"context"
	"errors"
	"testing"

	"github.com/dapr/components-contrib/pubsub"
	"github.com/dapr/kit/logger"
)

// broken publishes as Dapr's component does when the broker dies before it confirms: it logs and reports success.
type broken struct {
	pubsub.PubSub
	log    logger.Logger
	cancel context.CancelFunc
}

func (b *broken) Publish(context.Context, *pubsub.PublishRequest) error {
	if b.cancel != nil {
		b.cancel()
		return nil
	}
	b.log.Errorf("%s publishing to %s failed: %v", "rabbitmq", "topic", errors.New(unconfirmed))
	return nil
}

func TestWhatIsNotConfirmedIsAnError(t *testing.T) {
	p := New(logger.NewLogger("test")).(*PubSub)
	inner := &broken{log: p.watch}
	p.PubSub = inner
	if err := p.Publish(t.Context(), &pubsub.PublishRequest{}); !errors.Is(err, ErrUnconfirmed) {
		t.Errorf("got %v, want that the broker did not confirm", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	inner.cancel = cancel
	if err := p.Publish(ctx, &pubsub.PublishRequest{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the caller's time was over: got %v, want its end", err)
	}
}
