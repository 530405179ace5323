// Package actortest has a stand-in for the platform's gateway that tests of kitchens and couriers drive: it logs
// everybody in, records what is asked, answers as the test says, and sends live events.
package actortest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dishmesh/dishmesh/services/internal/contract/catalogue"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// Answer decides what a request gets: a value is sent as JSON, an error as a problem.
type Answer func(body []byte) (any, error)

// Gateway is the stand-in.
type Gateway struct {
	URL string

	server  *httptest.Server
	mu      sync.Mutex
	answers map[string]Answer
	calls   []string
	streams map[string][]chan string
}

// New starts a gateway that lives as long as the test.
func New(t *testing.T) *Gateway {
	t.Helper()
	g := &Gateway{answers: map[string]Answer{}, streams: map[string][]chan string{}}
	g.server = httptest.NewServer(g)
	g.URL = g.server.URL
	t.Cleanup(func() { g.server.CloseClientConnections(); g.server.Close() })
	return g
}

// On sets the answer to a request such as "POST /v1/tickets/ord_1/accept".
func (g *Gateway) On(request string, a Answer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.answers[request] = a
}

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	request := r.Method + " " + r.URL.RequestURI()
	body := make([]byte, max(0, r.ContentLength))
	_, _ = r.Body.Read(body)
	if r.URL.Path == "/v1/tokens" {
		_ = json.NewEncoder(w).Encode(userapi.Tokens{AccessToken: "token", ExpiresIn: 900, RefreshToken: "refresh"})
		return
	}
	if strings.HasSuffix(r.URL.Path, "/live") {
		g.stream(w, r)
		return
	}
	g.mu.Lock()
	answer := g.answers[request]
	if r.Method != http.MethodGet {
		g.calls = append(g.calls, request)
	}
	g.mu.Unlock()
	if answer == nil {
		problem.Write(w, problem.New(problem.NotFound, "%s", request), "", "")
		return
	}
	out, err := answer(body)
	if err != nil {
		problem.Write(w, err, "", "")
		return
	}
	_ = json.NewEncoder(w).Encode(out)
}

func (g *Gateway) stream(w http.ResponseWriter, r *http.Request) {
	events := make(chan string, 16)
	g.mu.Lock()
	g.streams[r.URL.Path] = append(g.streams[r.URL.Path], events)
	g.mu.Unlock()
	w.Header().Set("Content-Type", "text/event-stream")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w).Flush
	for {
		_ = flush()
		select {
		case e := <-events:
			_, _ = fmt.Fprint(w, e)
		case <-r.Context().Done():
			g.mu.Lock()
			g.streams[r.URL.Path] = slices.DeleteFunc(g.streams[r.URL.Path], func(c chan string) bool { return c == events })
			g.mu.Unlock()
			return
		}
	}
}

// Followed reports whether somebody follows a live stream.
func (g *Gateway) Followed(path string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.streams[path]) > 0
}

// Emit sends an event to whoever follows a live stream.
func (g *Gateway) Emit(t *testing.T, path, kind, subject string, data proto.Message) {
	t.Helper()
	schema, payload, err := catalogue.All.Encode(kind, data)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{
		"type": "fooddelivery." + kind, "id": kind + "/" + subject, "subject": subject, "sequence": "1",
		"dataschema": schema, "data": json.RawMessage(payload),
	})
	if err != nil {
		t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.streams[path] {
		c <- fmt.Sprintf("event: %s\ndata: %s\n\n", kind, raw)
	}
}

// Cut breaks all connections, as a gateway does that is killed.
func (g *Gateway) Cut() { g.server.CloseClientConnections() }

// Calls lists the requests that change something, in order.
func (g *Gateway) Calls() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.calls)
}

// Eventually waits until cond holds, and fails the test when that takes too long.
func Eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	const patience, pause = 10 * time.Second, 2 * time.Millisecond
	end := time.After(patience)
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}
