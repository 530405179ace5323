package gateway

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

const aQuote = `{"restaurant_id":"rst_1","items":[{"item_id":"itm_1","quantity":1}],"dropoff":{"lat":52.5,"lon":13.4}}`

// A pricing service that hangs holds up as many calls as its bulkhead has places. The other quotes are refused, with a
// word on when to come again, and nobody who follows an order notices.
func TestASlowPricingServiceLeavesOrderTrackingAlone(t *testing.T) {
	f := newFixture(t)
	release := make(chan struct{})
	var inside, most atomic.Int32
	f.mesh["pricing"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		most.Store(max(most.Load(), inside.Add(1)))
		defer inside.Add(-1)
		<-release
		_ = web.JSON(w, http.StatusOK, struct{}{})
	})
	const quotes = 100
	statuses := make(chan *http.Response, quotes)
	var asking sync.WaitGroup
	for range quotes {
		asking.Go(func() { statuses <- f.do(f.request("POST", "/v1/quotes", ann, aQuote)) })
	}
	for range quotes - testLimits.Concurrent {
		resp := <-statuses
		if err := problem.Read(resp); problem.Of(err) != problem.Unavailable || resp.Header.Get("Retry-After") == "" {
			t.Fatalf("a quote beyond the bulkhead: %v", err)
		}
	}
	// All places are taken now.
	var took []time.Duration
	for range 200 {
		for _, path := range []string{"/v1/orders/" + anOrder, "/v1/deliveries/" + anOrder} {
			began := time.Now()
			if resp := f.do(f.request("GET", path, ann, "")); resp.StatusCode != http.StatusOK {
				t.Fatalf("%s: status %d", path, resp.StatusCode)
			}
			took = append(took, time.Since(began))
		}
	}
	slices.Sort(took)
	if p99 := took[len(took)*99/100]; p99 > 500*time.Millisecond {
		t.Errorf("following an order takes %s (p99) while pricing hangs", p99)
	}
	close(release)
	asking.Wait()
	if got := int(most.Load()); got != testLimits.Concurrent {
		t.Errorf("%d quotes were under way at once, want %d", got, testLimits.Concurrent)
	}
}

// Three failures running, whatever the path, and the service is left alone; refusals of what was asked are none. The
// gateway's own calls go by the same breaker.
func TestAServiceThatFailsIsLeftAlone(t *testing.T) {
	f := newFixture(t)
	var reached atomic.Int32
	code := http.StatusNotFound
	f.mesh["order"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		reached.Add(1)
		w.WriteHeader(code)
	})
	for range 10 {
		f.do(f.request("GET", "/v1/orders/"+anOrder, ann, ""))
	}
	if got := reached.Swap(0); got != 10 {
		t.Errorf("%d of 10 calls with the answer 404 were forwarded", got)
	}
	code = http.StatusServiceUnavailable
	var last *http.Response
	for _, path := range []string{"/v1/orders/" + anOrder, "/v1/orders", "/v1/orders/" + anOrder + "/events", "/v1/orders", "/v1/orders"} {
		last = f.do(f.request("GET", path, ann, ""))
	}
	if got := reached.Load(); got != 3 {
		t.Errorf("%d calls were forwarded to a service that fails, want 3", got)
	}
	if after, err := strconv.Atoi(last.Header.Get("Retry-After")); err != nil || after < 3500 {
		t.Errorf("Retry-After %q, want what is left of the pause", last.Header.Get("Retry-After"))
	}
	if err := problem.Read(last); problem.Of(err) != problem.Unavailable {
		t.Errorf("got %v", err)
	}
	if resp := f.do(f.request("GET", "/v1/deliveries/"+anOrder, ann, "")); resp.StatusCode != http.StatusOK {
		t.Errorf("another service: status %d", resp.StatusCode)
	}
}

// The last menu is shown while the menu service is away, and says how old it is.
func TestTheLastMenuIsShownWhileTheMenuServiceIsAway(t *testing.T) {
	f := newFixture(t)
	away, body := atomic.Bool{}, `{"items":[1]}`
	f.mesh["menu"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			web.Fail(w, r, problem.New(problem.Unavailable, "down"))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Etag", `"one"`)
		if r.Method == http.MethodGet {
			w.Header().Set("Cache-Control", "public, max-age=5, stale-if-error=3600")
		}
		_, _ = io.WriteString(w, body)
	})
	const path = "/v1/restaurants/rst_1/menu"
	read := func(r *http.Request) (int, string, http.Header) {
		resp := f.do(r)
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(b), resp.Header
	}
	get := func(path string) (int, string, http.Header) { return read(f.request("GET", path, web.Identity{}, "")) }
	if code, got, h := get(path); code != 200 || got != body || h.Get("Age") != "" {
		t.Fatalf("got %d %s, Age %q", code, got, h.Get("Age"))
	}
	away.Store(true)
	f.clock.advance(time.Minute)
	for range 5 { // three of them reach the service, two meet the open breaker
		if code, got, h := get(path); code != 200 || got != body || h.Get("Age") != "60" || h.Get("Etag") != `"one"` {
			t.Errorf("got %d %s, Age %q, ETag %q", code, got, h.Get("Age"), h.Get("Etag"))
		}
	}
	if code, _, _ := get("/v1/restaurants/rst_2/menu"); code != 503 {
		t.Errorf("a menu that was never seen: status %d", code)
	}
	if code, _, _ := get(path + "?x=1"); code != 503 {
		t.Errorf("another question: status %d", code)
	}
	if code, _, _ := read(f.request("PATCH", "/v1/restaurants/rst_1/items/itm_1", cook, `{"available":false}`)); code != 503 {
		t.Errorf("a change: status %d", code)
	}
	f.clock.advance(time.Hour)
	if code, _, _ := get(path); code != 503 {
		t.Errorf("after an hour: status %d", code)
	}
}

// Only what its service allows is kept, and a large answer goes through whole.
func TestWhatIsNotKept(t *testing.T) {
	f := newFixture(t)
	away, policy, body := false, "", []byte(`{}`)
	f.mesh["menu"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away {
			web.Fail(w, r, problem.New(problem.Unavailable, "down"))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", policy)
		_, _ = w.Write(body)
	})
	for i, tt := range []struct {
		policy string
		size   int
	}{
		{"public, max-age=5", 10},
		{"stale-if-error=x", 10},
		{"stale-if-error=3600", maxKeptBody + 1},
	} {
		away, policy, body = false, tt.policy, make([]byte, tt.size)
		path := "/v1/restaurants/rst_" + strconv.Itoa(i)
		resp := f.do(f.request("GET", path, web.Identity{}, ""))
		if b, err := io.ReadAll(resp.Body); err != nil || len(b) != tt.size {
			t.Errorf("%q: %d bytes of %d came through: %v", tt.policy, len(b), tt.size, err)
		}
		away = true
		if resp := f.do(f.request("GET", path, web.Identity{}, "")); resp.StatusCode != 503 {
			t.Errorf("%q with %d bytes: status %d", tt.policy, tt.size, resp.StatusCode)
		}
	}
	s := newStaleAnswers(time.Now, prometheus.NewRegistry())
	for i := range 2 * maxKeptAnswers {
		r := f.request("GET", "/v1/restaurants?q="+strconv.Itoa(i), web.Identity{}, "")
		resp := &http.Response{StatusCode: 200, Request: r, Header: http.Header{"Cache-Control": {"stale-if-error=60"}}, Body: http.NoBody}
		if err := s.keep(resp); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(s.kept); got != maxKeptAnswers {
		t.Errorf("%d answers are kept, want %d", got, maxKeptAnswers)
	}
}

// While the order service is away, a stream that is open goes on by what the broker brings, and a new one is refused; a
// courier's stream needs nobody.
func TestLiveStreamsWhileTheirServiceIsAway(t *testing.T) {
	f, h := newFixture(t), &history{}
	f.mesh["order"] = h
	server := f.serve()
	h.append("order.placed")
	customer := f.open(server, liveOf(orderLive), ann, "")
	customer.want("1 order.placed")
	f.mesh["order"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		web.Fail(w, r, problem.New(problem.Unavailable, "order is away").After(time.Second))
	})
	delete(f.mesh, "delivery")
	f.deliver(h.append("order.accepted"))
	customer.want("2 order.accepted")
	resp := f.do(f.request("GET", liveOf(orderLive), ann, ""))
	if err := problem.Read(resp); problem.Of(err) != problem.Unavailable || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a new stream of an order: %v", err)
	}
	f.open(server, "/v1/couriers/me/live", rider, "") // fails the test if it is refused
}
