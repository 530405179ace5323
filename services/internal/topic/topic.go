// Package topic takes events in. One adapter serves every subscription of a service. It checks the envelope, hands the
// events of a stream to the handler once and in order, retries on one schedule, dead-letters what can't be handled, and
// tells the sidecar SUCCESS or RETRY. The sidecar's own inbound retry is off, so that a hop retries in one place only.
//
// An event that came before is ignored, one that is missing is fetched from the owner of the stream first: package
// inbox keeps what was taken in. The order that a broker gives is used where there is one and not relied on.
package topic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/batch"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// Subscriber is the adapter of one service.
type Subscriber struct {
	app      string
	pub      sidecar.Publisher
	log      *slog.Logger
	shutdown context.Context
	subs     []Subscription
	turns    *turns

	store   sidecar.Store // nil: nothing is kept
	owners  sidecar.Invoker
	reads   *batch.Queue[*reading]
	records *batch.Queue[*inbox.Receipt]

	handled *prometheus.CounterVec
	lag     *prometheus.HistogramVec
	fetched *prometheus.CounterVec
}

// New makes the adapter of app. When ctx ends, retries are given back to the broker.
func New(ctx context.Context, app string, pub sidecar.Publisher, log *slog.Logger, reg prometheus.Registerer) *Subscriber {
	s := &Subscriber{app: app, pub: pub, log: log, shutdown: ctx, turns: newTurns(),
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "events_handled_total",
			Help: "Events by topic and outcome: ok, duplicate, retry (given back to the broker), dead, dropped (a live update)."}, []string{"topic", "outcome"}),
		lag: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "event_lag_seconds", Help: "Time from an event's occurrence to its handling.",
			Buckets: []float64{.005, .01, .02, .03, .04, .05, .075, .1, .15, .2, .25, .3, .4, .5, 1, 2.5, 5, 10, 30}}, []string{"topic"}),
		fetched: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "events_fetched_total",
			Help: "Events that were missing and were fetched from the owner of their stream."}, []string{"topic"}),
	}
	reg.MustRegister(s.handled, s.lag, s.fetched)
	return s
}

// WithInbox has the adapter keep in store what was taken in, and ask owners for what is missing. store is the one that
// the handlers write to, made by inbox.New.
func (s *Subscriber) WithInbox(store sidecar.Store, owners sidecar.Invoker) *Subscriber {
	s.store, s.owners = store, owners
	s.reads = batch.New(0, maxTogether, s.readTogether)
	s.records = batch.New(0, maxTogether, s.recordTogether)
	return s
}

// Path is where the sidecar delivers a topic; components/subscriptions names the same.
func Path(topic string) string { return "/events/" + topic }

// Subscriptions lists what is handled.
func (s *Subscriber) Subscriptions() []Subscription { return s.subs }

// What the sidecar is answered.
const (
	success  = "SUCCESS"
	giveBack = "RETRY"
)

type answer struct {
	Status string `json:"status"`
}

// Handle serves the deliveries of subscriptions on r.
func (s *Subscriber) Handle(r *mux.Router, subs ...Subscription) {
	s.subs = append(s.subs, subs...)
	for _, sub := range subs {
		r.Handle(Path(sub.Topic), web.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			body, err := readAll(r)
			if err != nil {
				return err
			}
			return web.JSON(w, http.StatusOK, answer{s.deliver(r.Context(), sub, r.Header.Get("Content-Type"), body)})
		})).Methods(http.MethodPost)
	}
}

func (s *Subscriber) deliver(ctx context.Context, sub Subscription, contentType string, body []byte) string {
	d, err := read(sub, contentType, body, time.Now().UTC())
	if err != nil {
		return s.bury(ctx, d, err, 1)
	}
	s.lag.WithLabelValues(sub.Topic).Observe(max(0, time.Since(d.event.Time)).Seconds())
	if d.key != "" && s.store != nil {
		defer s.turns.take(ctx, d.key)()
	}
	return s.insist(ctx, d)
}

// errGiveBack says that the event can only go back to the broker.
var errGiveBack = errors.New("the event goes back to the broker")

// insist takes an event in, on the schedule of its subscription, or buries it. An event is buried for a failure of its
// own alone: while the app's store, its outbox or the owner of its stream does not answer, it goes back to the broker,
// however often.
func (s *Subscriber) insist(ctx context.Context, d *delivery) string {
	ids := correlation.From(ctx)
	if d.event.TraceParent != "" {
		ids.TraceParent = d.event.TraceParent
	}
	ctx = correlation.With(ctx, ids)
	topic, schedule := d.sub.Topic, d.sub.Schedule
	for attempt := 1; ; attempt++ {
		d.reached, d.away = false, false
		outcome, err := s.take(ctx, d, attempt == 1)
		if err == nil {
			s.handled.WithLabelValues(topic, outcome).Inc()
			return success
		}
		if errors.Is(err, errGiveBack) || s.shutdown.Err() != nil || ctx.Err() != nil {
			s.handled.WithLabelValues(topic, "retry").Inc()
			return giveBack
		}
		if d.refusal != nil && errors.Is(err, d.refusal) || problem.Permanent(err) || attempt > len(schedule) {
			if d.away || d.reached && errors.Is(err, sidecar.ErrAway) {
				return s.sendBack(d, err)
			}
			return s.bury(ctx, d, err, attempt)
		}
		pause := schedule.pause(attempt)
		s.log.Warn("event failed, will be tried again", "event", d.event.ID, "type", d.event.Type, "in", pause, "error", err)
		timer := time.NewTimer(pause)
		select {
		case <-s.shutdown.Done():
		case <-ctx.Done():
		case <-timer.C:
			continue
		}
		timer.Stop()
		s.handled.WithLabelValues(topic, "retry").Inc()
		return giveBack
	}
}

// sendBack gives an event back to the broker that can be neither taken in nor buried now.
func (s *Subscriber) sendBack(d *delivery, cause error) string {
	s.log.Warn("event goes back to the broker until what it needs answers", "event", d.event.ID, "type", d.event.Type, "error", cause)
	s.handled.WithLabelValues(d.sub.Topic, "retry").Inc()
	return giveBack
}

// isAway tells whether an error says that somebody does not answer, and not what they answered.
func isAway(err error) bool {
	kind := problem.Of(err)
	return kind == problem.Unavailable || kind == problem.Timeout || errors.Is(err, context.DeadlineExceeded)
}

// attemptTimeout bounds one call of a handler.
const attemptTimeout = 10 * time.Second

func (s *Subscriber) attempt(ctx context.Context, h Handler, e cloudevent.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	return h(ctx, e)
}

// maxDelivery bounds what is read at all; beyond it nothing can be kept as a dead letter.
const maxDelivery = 16 << 20

func readAll(r *http.Request) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r.Body, maxDelivery))
	if err != nil {
		return nil, problem.Wrap(err, problem.Unavailable, "the delivery broke off")
	}
	return b, nil
}
