// Package payment keeps the money right: an event-sourced double-entry ledger with one stream for each order, and
// the way to the card acquirer, whose every answer ends up in it exactly once.
package payment

import (
	"context"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// Config is what the payment service can be set to.
type Config struct {
	AcquirerAPIKey  string        `env:"ACQUIRER_API_KEY" required:"true" secret:"true" help:"key that the card acquirer knows this merchant by"`
	AcquirerTimeout time.Duration `env:"ACQUIRER_TIMEOUT" default:"3s" help:"how long one call to the acquirer may take; then it is asked what became of it"`
	CommissionBP    int64         `env:"COMMISSION_BP" default:"2000" help:"the platform's part of a restaurant's dishes, in hundredths of a percent"`
}

// Service is the payment service.
type Service struct {
	cfg      Config
	deps     *run.Deps
	store    *eventstore.Store[account]
	acquirer *acquirer
	locks    keyLocks
	events   *prometheus.CounterVec
}

// New builds the service.
func New(d *run.Deps, cfg Config) (run.Service, error) {
	s := &Service{
		cfg: cfg, deps: d,
		store: eventstore.New(d.State, d.UseOutbox(), eventstore.Options[account]{
			Name: streamName, Source: "dishmesh/payment", Topic: cloudevent.Topic("payment"), Events: paymentapi.Events, Apply: apply,
		}),
		acquirer: &acquirer{
			binding: d.Binding, apiKey: cfg.AcquirerAPIKey, timeout: cfg.AcquirerTimeout, log: d.Log,
			calls: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "acquirer_calls_total",
				Help: "Operations by how they were settled: answered, refused, duplicate; asked_found, asked_absent, unresolved after no answer."},
				[]string{"operation", "outcome"}),
		},
		events: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "payment_events_total", Help: "Events written to the ledger."}, []string{"type"}),
	}
	d.Metrics.MustRegister(s.acquirer.calls, s.events)
	d.Outbox.Handle(lateCheck, s.checkLate)
	return s, nil
}

// Routes implements run.Service.
func (s *Service) Routes(r *mux.Router) {
	r.Handle("/internal/payments/{order}/authorize", web.HandlerFunc(s.handleAuthorize)).Methods("POST")
	r.Handle("/internal/payments/{order}/capture", web.HandlerFunc(s.handleCapture)).Methods("POST")
	r.Handle("/internal/payments/{order}/void", web.HandlerFunc(s.handleVoid)).Methods("POST")
	r.Handle("/internal/payments/{order}/refund", web.HandlerFunc(s.handleRefund)).Methods("POST")
	r.Handle("/internal/payments/{order}", web.HandlerFunc(s.handleInternalGet)).Methods("GET")
	r.Handle("/v1/payments/{order}", web.HandlerFunc(s.handleGet)).Methods("GET")
	s.deps.Topics.Handle(r, s.subscriptions()...)
	s.store.Serve(r)
}

// history gives the state of a payment and the events behind it; version 0 if there are none.
func (s *Service) history(ctx context.Context, order string) (account, int, []cloudevent.Event, error) {
	a, version, err := s.store.Load(ctx, order)
	if err != nil || version == 0 {
		return a, version, nil, err
	}
	events, err := s.store.History(ctx, order, 0)
	return a, version, events, err
}
