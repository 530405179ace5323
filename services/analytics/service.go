// Package analytics keeps the read models of the operations console, from events alone: one document per order and
// counters over all of them.
//
// Nothing depends on the order in which events arrive, and repeating one changes nothing. A document is merged from
// an order's events (model.go). What it adds to the counters is a function of the document alone (stats.go), and
// the document and the difference of the two contributions are written in one transaction (writer.go), so that the
// counters are always the sum over the documents.
package analytics

import (
	"context"
	"fmt"
	"time"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/analytics/analyticsapi"
	"github.com/dishmesh/dishmesh/services/internal/batch"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// Name is the service's app id.
const Name = analyticsapi.App

// Config is what the service can be set to.
type Config struct {
	BatchWindow time.Duration `env:"BATCH_WINDOW" default:"100ms" help:"the time between two writes of events at most, of all topics together, as long as none is more than a second old; it is five times what a write takes; those that come meanwhile are written together"`
	BatchMax    int           `env:"BATCH_MAX" default:"64" help:"how many events are written together at most"`
}

// Service is the analytics service.
type Service struct {
	deps  *run.Deps
	shard int
	queue *batch.Queue[*arrival]
}

// New makes the service.
func New(d *run.Deps, cfg Config) (run.Service, error) {
	if cfg.BatchMax < 1 {
		return nil, fmt.Errorf("BATCH_MAX=%d: must be at least 1", cfg.BatchMax)
	}
	s := &Service{deps: d, shard: shardOf(d.Instance)}
	s.queue = batch.New(cfg.BatchWindow, cfg.BatchMax, s.flush)
	return s, nil
}

// Routes serves the subscriptions and the operators' API.
func (s *Service) Routes(r *mux.Router) {
	s.deps.Topics.Handle(r, s.Subscriptions()...)
	r.Handle("/v1/analytics/summary", web.HandlerFunc(s.handleSummary)).Methods("GET")
	r.Handle("/v1/analytics/orders", web.HandlerFunc(s.handleOrders)).Methods("GET")
}

// onEvent returns when the event is counted, together with others of its time.
func (s *Service) onEvent(ctx context.Context, e cloudevent.Event) error {
	if _, ok := effects[e.Name()]; !ok {
		return nil
	}
	f, err := factOf(e)
	if err != nil {
		return err
	}
	a := &arrival{event: e, fact: f, receipt: inbox.From(ctx)}
	if a.key() == "" {
		return problem.New(problem.InvalidRequest, "event %s names no order and no user", e.ID)
	}
	return s.queue.Do(ctx, a, e.Time)
}
