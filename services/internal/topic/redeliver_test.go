package topic_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

func newSubscriber(t *testing.T, pub *sidecartest.Publisher) (*topic.Subscriber, *prometheus.Registry) {
	t.Helper()
	reg := prometheus.NewRegistry()
	return topic.New(t.Context(), "payment", pub, slog.New(slog.DiscardHandler), reg), reg
}

// A replay is one attempt of the same handler; it makes no pause and no new dead letter.
func TestRedeliver(t *testing.T) {
	failure := errors.New("not today")
	for _, tt := range []struct {
		name, topic, body string
		handler           topic.Handler
		handled           int
		want              problem.Type
		is                error
	}{
		{"taken in", orders, "", func(context.Context, cloudevent.Event) error { return nil }, 1, "", nil},
		{"fails", orders, "", func(context.Context, cloudevent.Event) error { return failure }, 1, problem.Internal, failure},
		{"panics", orders, "", func(context.Context, cloudevent.Event) error { panic("oh") }, 1, problem.Internal, nil},
		{"malformed", orders, "{", func(context.Context, cloudevent.Event) error { return nil }, 0, problem.InvalidRequest, nil},
		{"another topic", "fooddelivery.menu", "", func(context.Context, cloudevent.Event) error { return nil }, 0, problem.NotFound, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				pub := &sidecartest.Publisher{}
				s, _ := newSubscriber(t, pub)
				handled := 0
				s.Handle(mux.NewRouter(), topic.Subscription{Topic: orders, Schedule: topic.Money, Types: []string{"order.placed"},
					Handler: func(ctx context.Context, e cloudevent.Event) error {
						handled++
						return tt.handler(ctx, e)
					}})
				if tt.body == "" {
					tt.body = encode(t, event())
				}
				start := time.Now()
				_, err := s.Redeliver(t.Context(), tt.topic, []byte(tt.body))
				switch {
				case (err == nil) != (tt.want == ""), err != nil && problem.Of(err) != tt.want, tt.is != nil && !errors.Is(err, tt.is):
					t.Errorf("got %v, want %s", err, tt.want)
				case handled != tt.handled:
					t.Errorf("handled %d times, want %d", handled, tt.handled)
				case time.Since(start) > 0 || len(pub.Sent()) > 0:
					t.Errorf("took %s and published %v", time.Since(start), pub.Sent())
				}
			})
		})
	}
}

// Live updates are taken in as they are: what fails is dropped, counted, and neither tried again nor dead-lettered.
func TestLive(t *testing.T) {
	pub := &sidecartest.Publisher{}
	s, reg := newSubscriber(t, pub)
	if s.Live() {
		t.Error("live before there is a subscription")
	}
	r := mux.NewRouter()
	fail := false
	s.Handle(r, topic.Subscription{Topic: orders, Live: true, Handler: func(context.Context, cloudevent.Event) error {
		if fail {
			return errors.New("no")
		}
		return nil
	}})
	for _, tt := range []struct {
		body string
		fail bool
	}{{encode(t, event()), false}, {encode(t, event()), true}, {"<xml/>", false}} {
		fail = tt.fail
		w := httptest.NewRecorder()
		r.ServeHTTP(w, httptest.NewRequest("POST", topic.Path(orders), strings.NewReader(tt.body)))
		if w.Code != 200 || !strings.Contains(w.Body.String(), "SUCCESS") {
			t.Errorf("%.20s: %d %s", tt.body, w.Code, w.Body)
		}
	}
	f := &fixture{t: t, metrics: reg}
	if diff := cmp.Diff(map[string]float64{"ok": 1, "dropped": 2}, f.outcomes()); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if len(pub.Sent()) > 0 || len(s.Topics()) > 0 || !s.Live() {
		t.Errorf("published %v, durable topics %v, live %t", pub.Sent(), s.Topics(), s.Live())
	}
	s.Handle(r, topic.Subscription{Topic: "fooddelivery.menu", Handler: func(context.Context, cloudevent.Event) error { return nil }})
	if s.Live() || !cmp.Equal(s.Topics(), []string{"fooddelivery.menu"}) {
		t.Errorf("with a durable topic: live %t, topics %v", s.Live(), s.Topics())
	}
}
