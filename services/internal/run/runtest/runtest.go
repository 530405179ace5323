// Package runtest builds services for tests on in-memory stand-ins, with an outbox that really runs.
package runtest

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// Fakes are the stand-ins behind the Deps that New makes.
type Fakes struct {
	Store     *sidecartest.Store
	Publisher *sidecartest.Publisher
	Mesh      sidecartest.Mesh
}

// New gives dependencies for a service called name. Its subscriptions keep no inbox, so that a test can hand its handlers
// what it likes, in any order; WithInbox has them keep one.
func New(t testing.TB, name string) (*run.Deps, *Fakes) {
	t.Helper()
	f := &Fakes{Store: sidecartest.NewStore(), Publisher: &sidecartest.Publisher{}, Mesh: sidecartest.Mesh{}}
	log := slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelError}))
	reg := prometheus.NewRegistry()
	ctx, cancel := context.WithCancel(context.Background())
	state := inbox.New(f.Store)
	d := &run.Deps{
		Name: name, Instance: "test", Log: log, Metrics: reg,
		State: state, Publisher: f.Publisher, Invoker: f.Mesh, Shutdown: ctx,
		Healthy: func(context.Context) error { return nil },
		Outbox:  outbox.New(state, f.Publisher, outbox.Options{Instance: "test", Log: log}),
		Topics:  topic.New(ctx, name, f.Publisher, log, reg),
	}
	t.Cleanup(cancel)
	return d, f
}

// WithInbox has the subscriptions of d keep an inbox in its store, as in the running platform. Owners of streams are asked
// over f.Mesh.
func WithInbox(d *run.Deps, f *Fakes) { d.Topics.WithInbox(d.State, f.Mesh) }

// Start runs the outbox, after the service has registered its effects, and waits until it is ready.
func Start(t testing.TB, d *run.Deps) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Outbox.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("outbox: %v", err)
		}
	})
	Eventually(t, "the outbox is ready", d.Outbox.Ready)
}

// Router gives the service's routes as they are served, without the app token.
func Router(d *run.Deps, s run.Service) *mux.Router {
	r := web.Router()
	r.Use(web.Observe(d.Log, prometheus.NewRegistry()))
	s.Routes(r)
	return r
}

// Eventually polls until ok holds and fails the test after 10 s.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for tick := time.NewTicker(2 * time.Millisecond); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// Do sends a request to h as who, as the gateway would pass it on, and decodes a 2xx answer into out (nil: ignored);
// any other answer comes back as the problem that it is.
func Do(h http.Handler, who web.Identity, method, path string, in, out any) error {
	body := []byte(nil)
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return err
		}
	}
	r := httptest.NewRequest(method, path, bytes.NewReader(body))
	if in != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	who.Set(r.Header)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code >= 300 {
		return problem.Read(w.Result())
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(w.Body.Bytes(), out)
}

// Deliver brings an event in as the sidecar does, on the topic of its type, and gives the answer's status.
func Deliver(t testing.TB, h http.Handler, e cloudevent.Event) string {
	body, err := json.Marshal(e)
	if err != nil {
		t.Error(err)
		return ""
	}
	entity, _, _ := strings.Cut(e.Name(), ".")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, topic.Path(cloudevent.Topic(entity)), bytes.NewReader(body)))
	var answer struct{ Status string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Errorf("delivery: %d %s", w.Code, w.Body)
	}
	return answer.Status
}
