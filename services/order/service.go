// Package order takes orders: an event-sourced aggregate on the state API, and the saga that sees each order
// through payment, kitchen and courier as a Dapr workflow.
package order

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// Config is what the order service can be set to.
type Config struct {
	TicketDeadline   time.Duration `env:"TICKET_DEADLINE" default:"2m" help:"how long a kitchen may take to answer"`
	DispatchDeadline time.Duration `env:"DISPATCH_DEADLINE" default:"60s" help:"how long the search for a courier may take"`
	OrderDeadline    time.Duration `env:"ORDER_DEADLINE" default:"45m" help:"after which an order that has not ended is rolled back, or reported if it was picked up"`
	EventVersions    string        `env:"EVENT_VERSIONS" default:"" help:"events that are written in an older version, such as order.delivered=1; all others in the newest"`
	Bench            bool          `env:"BENCH" default:"false" help:"serve POST /internal/bench/noop, the yardstick of the saga's speed"`
}

// Service is the order service.
type Service struct {
	cfg     Config
	log     *slog.Logger
	state   sidecar.Store
	orders  *eventstore.Store[state]
	outbox  *outbox.Outbox
	topics  *topic.Subscriber
	engine  engine
	sidecar run.Engine
	working atomic.Bool // the workflow worker is connected

	pricing    pricingapi.Client
	payment    paymentapi.Client
	restaurant restaurantapi.Client
	delivery   deliveryapi.Client

	deadlines *deadlines
	bench     *bench
	ended     *prometheus.CounterVec
	overdue   prometheus.Counter
}

// engine is the part of the workflow client that the service uses.
type engine interface {
	StartWorker(ctx context.Context, r *workflow.Registry) error
	ScheduleWorkflow(ctx context.Context, name string, opts ...workflow.NewWorkflowOptions) (string, error)
	RaiseEvent(ctx context.Context, id, eventName string, opts ...workflow.RaiseEventOptions) error
	TerminateWorkflow(ctx context.Context, id string, opts ...workflow.TerminateOptions) error
	PurgeWorkflowState(ctx context.Context, id string, opts ...workflow.PurgeOptions) error
}

// The effects that an order's transactions leave in the outbox, beside its events.
const (
	effectStart  = "start-order-saga"
	effectSignal = "signal-order-saga"
)

type signalEffect struct {
	OrderID string `json:"order_id"`
	Signal  signal `json:"signal"`
}

// New builds the service.
func New(d *run.Deps, cfg Config) (run.Service, error) {
	return newService(d, cfg, workflow.NewClientWithLogger(d.Conn, engineLog{d.Log}))
}

func newService(d *run.Deps, cfg Config, engine engine) (*Service, error) {
	events, err := orderapi.Events.Writing(cfg.EventVersions)
	if err != nil {
		return nil, fmt.Errorf("EVENT_VERSIONS: %w", err)
	}
	s := &Service{
		cfg: cfg, log: d.Log, state: d.State, topics: d.Topics, engine: engine, sidecar: d.Engine, outbox: d.UseOutbox(),
		pricing: pricingapi.NewClient(d.Invoker), payment: paymentapi.Client{Invoker: d.Invoker},
		restaurant: restaurantapi.Client{Invoker: d.Invoker}, delivery: deliveryapi.Client{Invoker: d.Invoker},
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "orders_ended_total", Help: "Orders by terminal state."}, []string{"status"}),
	}
	s.overdue = prometheus.NewCounter(prometheus.CounterOpts{Name: "orders_overdue_total", Help: "Orders that did not end in time."})
	d.Metrics.MustRegister(s.ended, s.overdue)
	s.orders = eventstore.New(d.State, s.outbox, eventstore.Options[state]{
		Name: "order", Source: "dishmesh/order", Topic: cloudevent.Topic("order"), Events: events, Apply: apply,
	})
	s.outbox.Handle(effectStart, s.startSaga)
	s.outbox.Handle(effectSignal, s.signalSaga)
	s.deadlines = newDeadlines(d.State)
	if cfg.Bench {
		s.bench = newBench(engine)
	}
	return s, nil
}

// Routes implements run.Service.
func (s *Service) Routes(r *mux.Router) {
	r.Handle("/v1/orders", web.HandlerFunc(s.handlePlace)).Methods("POST")
	r.Handle("/v1/orders", web.HandlerFunc(s.handleList)).Methods("GET")
	r.Handle("/v1/orders/{order}", web.HandlerFunc(s.handleGet)).Methods("GET")
	r.Handle("/v1/orders/{order}/events", web.HandlerFunc(s.handleEvents)).Methods("GET")
	r.Handle("/v1/orders/{order}/cancel", web.HandlerFunc(s.handleCancel)).Methods("POST")
	s.topics.Handle(r, s.Subscriptions()...)
	s.orders.Serve(r)
	if s.bench != nil {
		r.Handle("/internal/bench/noop", web.HandlerFunc(s.bench.handle)).Methods("POST")
	}
}

// Run implements run.Runner: it works for the workflow engine and watches the deadlines.
func (s *Service) Run(ctx context.Context) error {
	registry := workflow.NewRegistry()
	if err := s.register(registry); err != nil {
		return err
	}
	var working sync.WaitGroup
	defer working.Wait()
	working.Go(func() { s.work(ctx, registry, 2*time.Second) })
	return s.watchDeadlines(ctx)
}

// work serves the workflow engine. A worker whose engine is stuck ends with the sidecar, which waits for the worker's
// stream before it is gone; then another one begins.
func (s *Service) work(ctx context.Context, registry *workflow.Registry, lookEvery time.Duration) {
	for ctx.Err() == nil {
		worker, end := context.WithCancel(ctx)
		if s.connect(worker, registry) {
			s.watchEngine(worker, lookEvery)
		}
		s.working.Store(false)
		end()
	}
}

// connect starts a worker as soon as the engine is there. It reports false when ctx ends before.
func (s *Service) connect(ctx context.Context, registry *workflow.Registry) bool {
	for {
		err := s.engine.StartWorker(ctx, registry)
		if err == nil {
			s.working.Store(true)
			return true
		}
		s.log.Info("the workflow engine is not there yet", "error", err)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// lostAfter is how many looks in a row must find no worker before the engine counts as stuck.
const lostAfter = 4

// watchEngine ends the sidecar when its workflow engine does not take this worker on. daprd 1.18 unregisters the
// workflow actors when a worker goes, holding a lock until they have halted; an actor that waits for a worker at
// that moment never halts, and the worker that comes back waits for the lock. No saga would move again. It returns
// when the sidecar is ending, or ctx has ended.
func (s *Service) watchEngine(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	lost := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		look, cancel := context.WithTimeout(ctx, every)
		workers, err := s.sidecar.WorkflowWorkers(look)
		cancel()
		switch {
		case err != nil: // the sidecar is away: its next run begins anew
			lost = 0
			continue
		case workers > 0:
			lost = 0
			s.working.Store(true)
			continue
		}
		s.working.Store(false)
		if lost++; lost < lostAfter {
			continue
		}
		s.log.Error("the workflow engine does not take its worker on; ending the sidecar so that it starts again")
		end, cancel := context.WithTimeout(ctx, 5*time.Second)
		err = s.sidecar.Shutdown(end)
		cancel()
		if err != nil && ctx.Err() == nil {
			s.log.Error("the sidecar did not end", "error", err)
		}
		return
	}
}

// Ready implements run.Readier.
func (s *Service) Ready() error {
	if !s.working.Load() {
		return errors.New("the workflow worker is not connected yet")
	}
	return nil
}

func (s *Service) register(r *workflow.Registry) error {
	errs := []error{
		r.AddWorkflowN(sagaName, func(ctx *workflow.WorkflowContext) (any, error) { return orderSaga(ctx) }),
		r.AddActivityN(stepAuthorize, s.authorizePayment),
		r.AddActivityN(stepTicket, s.openTicket),
		r.AddActivityN(stepCapture, s.capturePayment),
		r.AddActivityN(stepDispatch, s.dispatchCourier),
		r.AddActivityN(stepEnd, s.endOrder),
		r.AddActivityN(stepTooLate, s.refuseCancel),
		r.AddActivityN(undoAuthorize, s.voidPayment),
		r.AddActivityN(undoTicket, s.cancelTicket),
		r.AddActivityN(undoCapture, s.refundPayment),
		r.AddActivityN(undoDispatch, s.releaseCourier),
	}
	errs = append(errs, s.registerNext(r))
	if s.bench != nil {
		errs = append(errs, s.bench.register(r))
	}
	return errors.Join(errs...)
}

// startSaga is the effect of an order having been placed. A saga that runs already, or an order that is beyond
// its beginning, needs none.
func (s *Service) startSaga(ctx context.Context, data []byte) error {
	var in sagaInput
	if err := json.Unmarshal(data, &in); err != nil {
		return fmt.Errorf("start saga: %w", err)
	}
	_, err := s.engine.ScheduleWorkflow(ctx, sagaName, workflow.WithInstanceID(in.OrderID), workflow.WithInput(in))
	if err == nil || strings.Contains(err.Error(), "already exists") {
		return nil
	}
	return err
}

// signalSaga tells a saga what happened. One that has ended and was forgotten needs no telling.
func (s *Service) signalSaga(ctx context.Context, data []byte) error {
	var e signalEffect
	if err := json.Unmarshal(data, &e); err != nil {
		return fmt.Errorf("signal saga: %w", err)
	}
	err := s.engine.RaiseEvent(ctx, e.OrderID, signalEvent, workflow.WithEventPayload(e.Signal))
	if err == nil || !unknownSaga(err) {
		return err
	}
	current, _, loadErr := s.orders.Load(ctx, e.OrderID)
	if loadErr != nil {
		return loadErr
	}
	if o := current.Order; o.Status.Terminal() || o.Status == orderapi.PickedUp {
		return nil
	}
	return err
}

func signalling(id string, sig signal) ([]outbox.Effect, error) {
	e, err := outbox.NewEffect(effectSignal, signalEffect{OrderID: id, Signal: sig})
	return []outbox.Effect{e}, err
}
