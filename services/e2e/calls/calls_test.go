package calls

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

func TestCalls(t *testing.T) {
	m := startMesh(t)
	t.Run("group", func(t *testing.T) { // ends when its parallel tests have
		t.Run("statuses", func(t *testing.T) { t.Parallel(); testStatuses(t, m) })
		t.Run("recovery", func(t *testing.T) { t.Parallel(); testRecovery(t, m) })
		t.Run("time-out", func(t *testing.T) { t.Parallel(); testTimeout(t, m) })
		t.Run("breaker", func(t *testing.T) { t.Parallel(); testBreaker(t, m) })
		t.Run("breaker with retries", func(t *testing.T) { t.Parallel(); testBreakerCountsOnce(t, m) })
		t.Run("bulkhead", func(t *testing.T) { t.Parallel(); testBulkhead(t, m) })
		t.Run("absent", func(t *testing.T) { t.Parallel(); testAbsent(t, m) })
	})
}

// Between services 429, 502, 503 and 504 are repeated three times and nothing else is; the gateway repeats nothing.
func testStatuses(t *testing.T, m *mesh) {
	tries := map[int]int{200: 1, 204: 1, 304: 1, 400: 1, 401: 1, 403: 1, 404: 1, 408: 1, 409: 1, 410: 1, 422: 1, 429: 4, 500: 1, 501: 1, 502: 4, 503: 4, 504: 4}
	var all sync.WaitGroup
	for code, want := range tries {
		for id, want := range map[string]int{service: want, edge: 1} {
			c := m.caller(t, id, sidecar.DefaultLimits())
			path := fmt.Sprintf("/status/%s/%d", id, code)
			all.Go(func() {
				err := call(t.Context(), c, path, fmt.Sprintf("status=%d", code))
				if (err == nil) != (code/100 == 2) {
					t.Errorf("%s: %d came back as %v", id, code, err)
				}
				if got := m.callee.count(path); got != want {
					t.Errorf("%s: %d calls with the answer %d reached the callee, want %d", id, got, code, want)
				}
			})
		}
	}
	all.Wait()
}

// A callee that is there again in time is not noticed.
func testRecovery(t *testing.T, m *mesh) {
	c := m.caller(t, service, sidecar.DefaultLimits())
	if err := call(t.Context(), c, "/recovery", "status=503&times=2"); err != nil {
		t.Error(err)
	}
	if got := m.callee.count("/recovery"); got != 3 {
		t.Errorf("%d calls reached the callee, want 3", got)
	}
}

// A try is given up after 5 s. A call of a service has time for two of them, and when both pauses before the next come
// out short it has just begun a third; one that somebody waits for ends sooner.
func testTimeout(t *testing.T, m *mesh) {
	for _, tt := range []struct {
		name, caller string
		within       time.Duration
		least, most  time.Duration
		tries, more  int
		problem      problem.Type
	}{
		{"saga", service, 0, 10 * time.Second, 14 * time.Second, 2, 1, problem.Timeout},
		{"somebody waits", service, 3 * time.Second, 3 * time.Second, 4900 * time.Millisecond, 1, 0, problem.Timeout},
		{"gateway", edge, 0, 5 * time.Second, 9 * time.Second, 1, 0, problem.Unavailable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := "/hang/" + strings.ReplaceAll(tt.name, " ", "-")
			c := m.caller(t, tt.caller, sidecar.DefaultLimits())
			began := time.Now()
			err := c.Invoke(t.Context(), sidecar.Call{App: callee, Method: "POST", Path: path + "?hang=", Within: tt.within})
			took := time.Since(began)
			isProblem(t, err, tt.problem)
			if got := m.callee.count(path); got < tt.tries || got > tt.tries+tt.more {
				t.Errorf("%d calls reached the callee, want %d to %d", got, tt.tries, tt.tries+tt.more)
			}
			if took < tt.least || took > tt.most {
				t.Errorf("given up after %s, want %s to %s", took, tt.least, tt.most)
			}
		})
	}
}

// The breaker opens after 3 failures over whatever paths, tries once after its pause, and closes.
func testBreaker(t *testing.T, m *mesh) {
	limits := sidecar.DefaultLimits()
	limits.Pause = time.Second
	c := m.caller(t, edge, limits)
	reached := func() (n int) {
		for i := range 10 {
			n += m.callee.count(fmt.Sprintf("/breaker/%d", i))
		}
		return n
	}
	round := func(query string) int {
		before := reached()
		for i := range 10 {
			_ = call(t.Context(), c, fmt.Sprintf("/breaker/%d", i), query) // the outcome is what was asked for
		}
		return reached() - before
	}
	if got := round("status=404"); got != 10 {
		t.Errorf("%d of 10 calls with the answer 404 reached the callee", got)
	}
	if got := round("status=503"); got != 3 {
		t.Errorf("%d calls reached a callee that fails, want 3", got)
	}
	isProblem(t, call(t.Context(), c, "/breaker/0", ""), problem.Unavailable)
	pause(t, limits.Pause)
	if got := round("status=503"); got != 1 {
		t.Errorf("%d trials reached the callee, want 1", got)
	}
	pause(t, limits.Pause)
	if got := round(""); got != 10 {
		t.Errorf("%d of 10 calls reached the callee that is well again", got)
	}
}

// pause lets a breaker's pause go by: there is nothing to poll for that would not be a trial itself.
func pause(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d + 100*time.Millisecond):
	case <-t.Context().Done():
	}
}

// What the sidecar repeats is one failure to the breaker: three calls of four tries each.
func testBreakerCountsOnce(t *testing.T, m *mesh) {
	c := m.caller(t, service, sidecar.DefaultLimits())
	for range 5 {
		isProblem(t, call(t.Context(), c, "/once", "status=503"), problem.Unavailable)
	}
	if got := m.callee.count("/once"); got != 12 {
		t.Errorf("%d calls reached the callee, want 3 of 4 tries each", got)
	}
}

// No more calls reach a callee that hangs than the bulkhead has places; the rest is refused after the wait.
func testBulkhead(t *testing.T, m *mesh) {
	limits := sidecar.DefaultLimits()
	limits.Concurrent, limits.Wait = 4, 200*time.Millisecond
	c := m.caller(t, edge, limits)
	ctx, release := context.WithCancel(t.Context())
	var all sync.WaitGroup
	refused := make(chan error, 10)
	for range 10 {
		all.Go(func() {
			err := call(ctx, c, "/bulkhead", "hang=")
			if ctx.Err() == nil {
				refused <- err
			}
		})
	}
	for range 6 {
		isProblem(t, <-refused, problem.Unavailable)
	}
	release()
	all.Wait()
	if got := m.callee.count("/bulkhead"); got != 4 {
		t.Errorf("%d calls reached the callee, want 4", got)
	}
}

// A callee that is not there at all is a refusal, in less time than the caller has.
func testAbsent(t *testing.T, m *mesh) {
	c := m.caller(t, service, sidecar.DefaultLimits())
	began := time.Now()
	err := c.Invoke(t.Context(), sidecar.Call{App: "restaurant", Method: "POST", Path: "/x"})
	isProblem(t, err, problem.Unavailable)
	if took := time.Since(began); took > sidecar.CallTimeout+time.Second {
		t.Errorf("took %s", took)
	}
}
