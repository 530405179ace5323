// Package topic takes events in. One adapter serves every subscription of a service: it decodes, retries on one
// schedule, dead-letters what can't be handled, and tells the sidecar SUCCESS or RETRY. The sidecar's own
// inbound retry is off, so that a hop retries in one place only.
package topic

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// Handler takes one event in. It is idempotent: the same event may come more than once, and an older one after a
// newer. A problem that trying again can't mend (problem.Permanent) dead-letters the event at once.
type Handler func(ctx context.Context, e cloudevent.Event) error

// Schedule is the pause before each retry of a subscription.
type Schedule []time.Duration

// The schedules: a topic that moves money gets one retry more.
var (
	Standard = Schedule{time.Second, 2 * time.Second, 4 * time.Second}
	Money    = Schedule{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second}
)

// maxEvent bounds an event in bytes; a larger one is dead-lettered.
const maxEvent = 1 << 20

// Subscriber is the adapter of one service.
type Subscriber struct {
	app      string
	pub      sidecar.Publisher
	log      *slog.Logger
	handled  *prometheus.CounterVec
	lag      *prometheus.HistogramVec
	shutdown context.Context
	handlers map[string]Handler // by topic; written by Handle alone, before anything is served
	live     bool               // it takes live updates in, by HandleLive
}

// New makes the adapter of app. When ctx ends, retries are given back to the broker.
func New(ctx context.Context, app string, pub sidecar.Publisher, log *slog.Logger, reg prometheus.Registerer) *Subscriber {
	s := &Subscriber{app: app, pub: pub, log: log, shutdown: ctx, handlers: map[string]Handler{},
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "events_handled_total", Help: "Events by topic and outcome: ok, retry, dead, dropped."}, []string{"topic", "outcome"}),
		lag: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "event_lag_seconds", Help: "Time from an event's occurrence to its handling.",
			Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}}, []string{"topic"}),
	}
	reg.MustRegister(s.handled, s.lag)
	return s
}

// Path is where the sidecar delivers a topic; components/subscriptions names the same.
func Path(topic string) string { return "/events/" + topic }

// DeadLetterTopic is where app puts what it can't handle of topic.
func DeadLetterTopic(topic, app string) string { return topic + ".dlq." + app }

// DeadLetter is the data of an event on a dead-letter topic.
type DeadLetter struct {
	Topic    string    `json:"topic"`
	App      string    `json:"app"`
	Cause    string    `json:"cause"`
	Attempts int       `json:"attempts"`
	First    time.Time `json:"first_failure"`
	Last     time.Time `json:"last_failure"`
	Original []byte    `json:"original"`      // the bytes as they came, base64 in JSON
	Cut      int       `json:"cut,omitempty"` // how many bytes are missing at its end
}

// maxOriginal bounds the original in a dead letter, in bytes. In base64 and with the rest it stays below the 1 MiB
// that a broker takes; a dead letter that can't be written would hold up its partition for ever.
const maxOriginal = 640 << 10

type answer struct {
	Status string `json:"status"`
}

// Handle serves the deliveries of topic on r.
func (s *Subscriber) Handle(r *mux.Router, topic string, schedule Schedule, h Handler) {
	s.handlers[topic] = h
	r.Handle(Path(topic), web.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		body, err := readAll(r)
		if err != nil {
			return err
		}
		return web.JSON(w, http.StatusOK, answer{s.deliver(r.Context(), topic, schedule, h, body)})
	})).Methods(http.MethodPost)
}

func (s *Subscriber) deliver(ctx context.Context, topic string, schedule Schedule, h Handler, body []byte) string {
	first := time.Now().UTC()
	e, err := decode(body)
	if err != nil {
		return s.deadLetter(ctx, topic, e, body, fmt.Errorf("malformed: %w", err), 1, first)
	}
	s.lag.WithLabelValues(topic).Observe(time.Since(e.Time).Seconds())
	ctx = traced(ctx, e)
	for attempt := 1; ; attempt++ {
		err := s.attempt(ctx, h, e)
		if err == nil {
			s.handled.WithLabelValues(topic, "ok").Inc()
			return "SUCCESS"
		}
		if s.shutdown.Err() != nil || ctx.Err() != nil {
			s.handled.WithLabelValues(topic, "retry").Inc()
			return "RETRY"
		}
		if problem.Permanent(err) || attempt > len(schedule) {
			return s.deadLetter(ctx, topic, e, body, err, attempt, first)
		}
		s.log.Warn("event failed, will be tried again", "event", e.ID, "type", e.Type, "in", schedule[attempt-1], "error", err)
		select {
		case <-s.shutdown.Done():
			return "RETRY"
		case <-ctx.Done():
			return "RETRY"
		case <-time.After(schedule[attempt-1]):
		}
	}
}

// decode reads an event that was delivered. With the error comes what could be read of it.
func decode(body []byte) (cloudevent.Event, error) {
	var e cloudevent.Event
	err := json.Unmarshal(body, &e)
	if err == nil {
		err = e.Validate()
	}
	if err == nil && len(body) > maxEvent {
		err = fmt.Errorf("the event has %d bytes, more than %d", len(body), maxEvent)
	}
	return e, err
}

// traced puts what follows into the trace of the event.
func traced(ctx context.Context, e cloudevent.Event) context.Context {
	ids := correlation.From(ctx)
	if e.TraceParent != "" {
		ids.TraceParent = e.TraceParent
	}
	return correlation.With(ctx, ids)
}

func (s *Subscriber) attempt(ctx context.Context, h Handler, e cloudevent.Event) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return h(ctx, e)
}

func (s *Subscriber) deadLetter(ctx context.Context, topic string, e cloudevent.Event, body []byte, cause error, attempts int, first time.Time) string {
	now := time.Now().UTC()
	letter := DeadLetter{Topic: topic, App: s.app, Cause: cause.Error(), Attempts: attempts, First: first, Last: now, Original: body}
	if len(body) > maxOriginal {
		letter.Original, letter.Cut = body[:maxOriginal], len(body)-maxOriginal
	}
	data, err := json.Marshal(letter)
	if err == nil {
		id, subject := e.ID, e.Subject
		if id == "" {
			id = "unknown/" + strconv.FormatInt(now.UnixNano(), 36)
		}
		if subject == "" {
			subject = "unknown"
		}
		err = s.pub.Publish(ctx, DeadLetterTopic(topic, s.app), cloudevent.Event{
			SpecVersion: "1.0", ID: id + "/dead/" + s.app, Source: "dishmesh/" + s.app, Type: cloudevent.Prefix + "dead-letter",
			Subject: subject, Time: now, DataContentType: "application/json", CorrelationID: e.CorrelationID, TraceParent: e.TraceParent, Data: data,
		})
	}
	if err != nil {
		s.log.Error("dead letter not written, the broker delivers the event again", "event", e.ID, "cause", cause, "error", err)
		s.handled.WithLabelValues(topic, "retry").Inc()
		return "RETRY"
	}
	s.log.Error("event dead-lettered", "event", e.ID, "topic", topic, "attempts", attempts, "cause", cause)
	s.handled.WithLabelValues(topic, "dead").Inc()
	return "SUCCESS"
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
