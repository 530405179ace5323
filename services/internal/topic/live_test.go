package topic_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

// A live update that can't be taken in is dropped: it has no dead letter.
func TestLiveUpdates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub := &sidecartest.Publisher{}
		s := topic.New(t.Context(), "gateway", pub, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
		if s.Live() {
			t.Error("live before there is a subscription")
		}
		r := mux.NewRouter()
		fail := func(context.Context, cloudevent.Event) error { return errors.New("no") }
		s.Handle(r, topic.Subscription{Topic: "fooddelivery.menu", Schedule: topic.Standard, Handler: fail, Live: true})
		for _, body := range []string{"<xml/>", `{"specversion":"1.0","id":"menu/a/1","source":"dishmesh/menu","type":"fooddelivery.menu.published","subject":"a","time":"2026-11-22T12:00:00Z","sequence":"1","data":{}}`} {
			w := httptest.NewRecorder()
			r.ServeHTTP(w, httptest.NewRequest("POST", topic.Path("fooddelivery.menu"), strings.NewReader(body)))
			if w.Code != 200 || !strings.Contains(w.Body.String(), "SUCCESS") {
				t.Errorf("%.20s: %d %s", body, w.Code, w.Body)
			}
		}
		if len(pub.Sent()) > 0 || len(s.Topics()) > 0 || !s.Live() {
			t.Errorf("published %v, durable topics %v, live %t", pub.Sent(), s.Topics(), s.Live())
		}
		s.Handle(r, topic.Subscription{Topic: "fooddelivery.order", Handler: fail})
		if s.Live() || !cmp.Equal(s.Topics(), []string{"fooddelivery.order"}) {
			t.Errorf("with a durable topic: live %t, topics %v", s.Live(), s.Topics())
		}
	})
}
