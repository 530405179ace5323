// Package audit checks the invariants of the platform from what is durable: the stores of the services, the book of
// the card acquirer, and what the customers wrote down for themselves. It never asks a service, it only reads, and
// it works whether or not the platform runs.
//
// The sources are read one after the other, in the order in which an effect follows its cause: the customers' own
// journal, what the consumers of events have taken in, orders, payments, tickets, deliveries, the acquirer's book. Whatever an earlier source shows as done must
// therefore be seen in the later ones; what a later one has beyond that may have happened in between, and is held
// against the platform only where the order has ended.
package audit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// Config says what to audit.
type Config struct {
	Stores Stores
	Book   string // file of the acquirer's book; missing: empty
	// Fetch brings the book and the journals of Notices, where they are elsewhere, to where they are read; nil: they are
	// there. It is called each time before they are read.
	Fetch   func(ctx context.Context) error
	Journal string // file of the customers' acknowledged orders; missing: empty
	Streams Streams
	// Subscriptions are those that keep an inbox.
	Subscriptions []Subscription
	Notices       Notices
	Wait          time.Duration // how long to wait for orders to end
	Patience      time.Duration // how long an order may stand still before it counts as stuck; default 5 min
	Strict        bool          // an order that has not ended is a violation at once
	// Since leaves out what has not changed since: who audits often looks at what is new, and at all of it in the end.
	Since    time.Time
	Progress func(inFlight int)
	Now      func() time.Time
}

// Streams are the event streams that are audited.
type Streams struct {
	Order, Payment, Ticket, Delivery Stream
	Others                           []Stream // only their sequences and heads are checked
}

// since gives the streams of orders without what has not changed since. The others are small, and what they say of
// accounts holds for what comes later.
func (s Streams) since(t time.Time) Streams {
	for _, stream := range []*Stream{&s.Order, &s.Payment, &s.Ticket, &s.Delivery} {
		stream.since = t
	}
	return s
}

// Report is the outcome.
type Report struct {
	OK         bool           `json:"ok"` // no invariant is broken
	Invariants []Invariant    `json:"invariants"`
	InFlight   int            `json:"in_flight"` // orders that have not ended, or whose payout is to come
	Pending    int            `json:"pending"`   // messages and notifications that are on their way
	Orders     map[string]int `json:"orders"`    // by status
	Notes      []string       `json:"notes"`     // what is no violation and wants to be known
}

// Invariant is one thing that must hold.
type Invariant struct {
	ID         int      `json:"id"`
	Name       string   `json:"name"`
	OK         bool     `json:"ok"`
	Checked    int      `json:"checked"` // how many things were looked at
	Unit       string   `json:"unit"`    // what they are
	Violations []string `json:"violations"`
}

func (v *Invariant) violate(format string, args ...any) {
	v.OK = false
	v.Violations = append(v.Violations, fmt.Sprintf(format, args...))
}

const (
	defaultPatience = 5 * time.Minute
	pollEvery       = time.Second
)

// Run audits. An error means that something could not be read; a broken invariant is none.
func Run(ctx context.Context, cfg Config) (Report, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Patience == 0 {
		cfg.Patience = defaultPatience
	}
	cfg.Streams = cfg.Streams.since(cfg.Since)
	if cfg.Wait > 0 {
		deadline := time.Now().Add(cfg.Wait)
		settled, err := cfg.await(ctx)
		if err == nil && settled {
			settled, err = cfg.awaitMessages(ctx, deadline)
		}
		if err != nil {
			return Report{}, err
		}
		cfg.Strict = cfg.Strict || !settled
	}
	return cfg.look(ctx)
}

// look audits what is there now.
func (cfg Config) look(ctx context.Context) (Report, error) {
	facts, err := cfg.gather(ctx)
	if err != nil {
		return Report{}, err
	}
	return facts.judge()
}

// awaitMessages waits, once the orders have ended, for the messages that still follow from them.
func (cfg Config) awaitMessages(ctx context.Context, deadline time.Time) (settled bool, err error) {
	cfg.Strict = false
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		report, err := cfg.look(ctx)
		if err != nil || report.Pending == 0 {
			return err == nil, err
		}
		if time.Now().After(deadline) {
			return false, nil
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-tick.C:
		}
	}
}

// await polls until every order has ended and is paid out. settled is false when the time was over first.
func (cfg Config) await(ctx context.Context) (settled bool, err error) {
	deadline := time.NewTimer(cfg.Wait)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		n, err := cfg.inFlight(ctx)
		if err != nil || n == 0 {
			return err == nil, err
		}
		if cfg.Progress != nil {
			cfg.Progress(n)
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-deadline.C:
			return false, nil
		case <-tick.C:
		}
	}
}

// inFlight counts from the heads alone.
func (cfg Config) inFlight(ctx context.Context) (n int, err error) {
	delivered := map[string]bool{}
	err = cfg.heads(ctx, cfg.Streams.Order, func(h history) error {
		o, err := orderOf(h)
		if !o.Status.Terminal() {
			n++
		}
		delivered[h.id] = o.Status == orderapi.Delivered
		return err
	})
	if err != nil {
		return 0, err
	}
	err = cfg.heads(ctx, cfg.Streams.Payment, func(h history) error {
		var p struct {
			Status paymentapi.Status `json:"status"`
		}
		if err := decode(h, &p); err != nil {
			return err
		}
		if delivered[h.id] && p.Status == paymentapi.Captured {
			n++
		}
		return nil
	})
	return n, err
}

func (cfg Config) heads(ctx context.Context, s Stream, visit func(history) error) error {
	snapshot, err := cfg.Stores.Open(ctx, s.App)
	if err != nil {
		return err
	}
	err = s.each(ctx, snapshot, func(h history) error {
		if h.old {
			return nil
		}
		return visit(h)
	})
	return errors.Join(err, snapshot.Close())
}
