// Package readable lets every record reach its subscriber, also one that is no JSON.
//
// Dapr's runtime (1.18, pkg/runtime/subscription/subscription.go) decodes every record as a CloudEvent before it looks
// for a route. A record that is no JSON object fails there: the app never sees it, the broker offers it again, and its
// partition waits for ever. Here such a record is put into an envelope that the runtime passes on,
//
//	{"specversion": "1.0", "unreadable": <why>, "data_base64": <the record>}
//
// and the app's topic adapter dead-letters it with its cause, the bytes as they came. Subscriptions that ask for raw
// payloads get them as they are.
package readable

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/dapr/components-contrib/health"
	"github.com/dapr/components-contrib/metadata"
	"github.com/dapr/components-contrib/pubsub"
	"github.com/dapr/kit/logger"
)

// PubSub is a component whose subscribers get every record.
type PubSub struct{ pubsub.PubSub }

// Of gives the constructor of such a component, on the one that make makes.
func Of(make func(logger.Logger) pubsub.PubSub) func(logger.Logger) pubsub.PubSub {
	return func(log logger.Logger) pubsub.PubSub { return &PubSub{make(log)} }
}

// Subscribe implements pubsub.PubSub.
func (p *PubSub) Subscribe(ctx context.Context, req pubsub.SubscribeRequest, handler pubsub.Handler) error {
	if raw, err := metadata.IsRawPayload(req.Metadata); err != nil || raw {
		return p.PubSub.Subscribe(ctx, req, handler)
	}
	return p.PubSub.Subscribe(ctx, req, func(ctx context.Context, msg *pubsub.NewMessage) error {
		if why := object(msg.Data); why != nil {
			wrapped, err := json.Marshal(envelope{SpecVersion: "1.0", Unreadable: why.Error(), Data: msg.Data})
			if err != nil {
				return err
			}
			copied := *msg
			copied.Data, copied.ContentType = wrapped, nil
			msg = &copied
		}
		return handler(ctx, msg)
	})
}

type envelope struct {
	SpecVersion string `json:"specversion"`
	Unreadable  string `json:"unreadable"`
	Data        []byte `json:"data_base64"`
}

// object says why b is no JSON object.
func object(b []byte) error {
	for _, c := range b {
		switch c {
		case ' ', '\t', '\r', '\n':
			continue
		case '{':
			if json.Valid(b) {
				return nil
			}
			var v any
			return json.Unmarshal(b, &v)
		}
		return errors.New("the record is no JSON object")
	}
	return errors.New("the record is empty")
}

// Ping implements health.Pinger.
func (p *PubSub) Ping(ctx context.Context) error {
	if pinger, ok := p.PubSub.(health.Pinger); ok {
		return pinger.Ping(ctx)
	}
	return nil
}

// Pause implements pubsub.PausableSubscriber.
func (p *PubSub) Pause(ctx context.Context) error {
	if s, ok := p.PubSub.(pubsub.PausableSubscriber); ok {
		return s.Pause(ctx)
	}
	return nil
}

// Resume implements pubsub.PausableSubscriber.
func (p *PubSub) Resume(ctx context.Context) error {
	if s, ok := p.PubSub.(pubsub.PausableSubscriber); ok {
		return s.Resume(ctx)
	}
	return nil
}
