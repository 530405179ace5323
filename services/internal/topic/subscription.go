package topic

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
)

// Subscription is what a service hears of one topic and what it does about it. A service declares its subscriptions in
// one table, subscriptions.go.
type Subscription struct {
	Topic    string
	Stream   string   // the stream behind the topic, as the events' ids name it; "": as the topic's entity
	Schedule Schedule // pauses before the retries
	// Types are the event types that are handled, without the common prefix. components/subscriptions names the same,
	// so that the sidecar drops all others.
	Types   []string
	Handler Handler
	// Live is for a reader that passes events on as they happen and keeps nothing: it has no store, takes every type and
	// every delivery, and what it missed it is not told of again. What it can't take in is counted, logged and dropped:
	// an update that comes late is no update, and whoever keeps something of the same event has a dead letter of its own.
	Live bool
}

// Handler takes one event in. It may be called again for the same event, when it failed or its commit was not
// confirmed, and never with an older one after a newer. Its effect goes into one transaction, the last that it writes;
// see package inbox. A problem that trying again can't mend (problem.Permanent) dead-letters the event at once.
type Handler func(ctx context.Context, e cloudevent.Event) error

// Schedule is the pause before each retry of a subscription. Every pause is drawn from 10 % below to 10 % above it.
type Schedule []time.Duration

// The schedules: a topic that moves money gets one retry more.
var (
	Standard = Schedule{time.Second, 2 * time.Second, 4 * time.Second}
	Money    = Schedule{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}
)

// Jitter is by how much a pause may differ from its schedule, as a part of it.
const Jitter = 0.1

// pause before the attempt that follows this one.
func (s Schedule) pause(attempt int) time.Duration {
	return time.Duration(float64(s[attempt-1]) * (1 - Jitter + 2*Jitter*rand.Float64()))
}

// entity of a topic is the aggregate type: "delivery" of fooddelivery.delivery.location. It is the name of the app
// that owns the topic.
func (s Subscription) entity() string {
	entity, _, _ := strings.Cut(strings.TrimPrefix(s.Topic, cloudevent.Prefix), ".")
	return entity
}

// StreamName is the name of the stream behind the topic, as it stands in the events' ids.
func (s Subscription) StreamName() string {
	if s.Stream != "" {
		return s.Stream
	}
	return s.entity()
}

func (s Subscription) handles(name string) bool { return slices.Contains(s.Types, name) }

// source is the one that the topic's events have.
func (s Subscription) source() string { return sourcePrefix + s.entity() }

const sourcePrefix = "dishmesh/"
