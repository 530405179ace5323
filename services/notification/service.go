// Package notification tells people what becomes of their orders: it renders a message for each channel that a
// person wants and hands it to the outside world through Dapr output bindings.
//
// The guarantee. What an event owes is sent at least once, and every copy carries the same notification id, which
// is derived from the event and the channel. Neither SMTP nor the HTTP providers can take part in a transaction,
// so a crash between a provider's "accepted" and our record of it leads to a second copy, and so may a partition that
// changes hands at that moment; nothing else does: a redelivered event, a concurrent delivery and a retry of another
// channel find the record and send nothing. A receiver that drops ids it has seen, as providers of SMS and push do by
// Idempotency-Key, makes it exactly once. Sending at most once (recording first) was the alternative; it would lose
// messages, which is worse here.
//
// The cost. An event is one read, the sends, and one transaction that records all its channels (tell.go). Nothing is
// written before the sends: a claim would only keep off a second reader of the partition, which the broker does.
// Reads and transactions of the events of a moment are done together (batch.go).
package notification

import (
	"sync"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/batch"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
)

// Name is the service's app id.
const Name = notificationapi.App

// Config is what the service can be set to.
type Config struct {
	SendTimeout time.Duration `env:"SEND_TIMEOUT" default:"4s" help:"how long a provider of SMS or push may take to accept a message"`
	KeepFor     time.Duration `env:"KEEP_FOR" default:"2160h" help:"how long a notification is remembered; its event must not be redelivered later than that"`
	BatchWindow time.Duration `env:"BATCH_WINDOW" default:"40ms" help:"the time between two reads for events at most, and again between two records of them, as long as none is more than a second old; it is five times what one takes; those that come meanwhile are read or recorded together"`
}

// Service is the notification service.
type Service struct {
	deps      *run.Deps
	cfg       Config
	templates *templates
	now       func() time.Time
	mailTurn  chan struct{} // see sendMail
	reads     *batch.Queue[*reading]
	writes    *batch.Queue[*writing]

	mu         sync.Mutex
	inFlight   map[string]bool      // ids of the events that are being told of right now
	unrecorded map[string]time.Time // when notifications were sent that could not be recorded, by id

	outcomes *prometheus.CounterVec
}

// New makes the service.
func New(d *run.Deps, cfg Config) (run.Service, error) {
	t, err := parseTemplates()
	if err != nil {
		return nil, err
	}
	s := &Service{
		deps: d, cfg: cfg, templates: t, now: time.Now, mailTurn: make(chan struct{}, 1),
		inFlight: map[string]bool{}, unrecorded: map[string]time.Time{},
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "notifications_total", Help: "Tries to send as they were recorded, by channel and outcome: sent, retry, failed.",
		}, []string{"channel", "outcome"}),
	}
	s.reads = batch.New(cfg.BatchWindow, maxBatch, s.readTogether)
	s.writes = batch.New(cfg.BatchWindow, maxBatch, s.writeTogether)
	d.UseOutbox()
	d.Metrics.MustRegister(s.outcomes)
	return s, nil
}

// Routes serves the subscriptions and the public API.
func (s *Service) Routes(r *mux.Router) {
	s.deps.Topics.Handle(r, s.Subscriptions()...)
	r.Handle("/v1/notifications", web.HandlerFunc(s.handleList)).Methods("GET")
}
