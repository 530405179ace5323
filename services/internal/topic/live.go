package topic

import (
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/web"
)

// HandleLive serves the deliveries of topic on r for a service that passes events on as they happen and keeps nothing.
// What it can't take in is counted (events_handled_total, outcome dropped), logged and dropped: an update that comes
// late is no update, and whoever keeps something of the same event has a dead letter of its own.
func (s *Subscriber) HandleLive(r *mux.Router, topic string, h Handler) {
	s.live = true
	r.Handle(Path(topic), web.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		body, err := readAll(r)
		if err != nil {
			return err
		}
		outcome := "ok"
		e, err := decode(body)
		if err == nil {
			s.lag.WithLabelValues(topic).Observe(time.Since(e.Time).Seconds())
			err = s.attempt(traced(r.Context(), e), h, e)
		}
		if err != nil {
			outcome = "dropped"
			s.log.Error("live update dropped", "event", e.ID, "topic", topic, "cause", err)
		}
		s.handled.WithLabelValues(topic, outcome).Inc()
		return web.JSON(w, http.StatusOK, answer{"SUCCESS"})
	})).Methods(http.MethodPost)
}

// Live tells whether all that the service takes in are live updates, so that it has no dead letters.
func (s *Subscriber) Live() bool { return s.live && len(s.handlers) == 0 }
