package sidecar_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// callee answers calls in place of the sidecar and counts those that reach it.
type callee struct {
	reached atomic.Int32
	answer  func(r *http.Request) (*http.Response, error)
}

func (c *callee) RoundTrip(r *http.Request) (*http.Response, error) {
	c.reached.Add(1)
	return c.answer(r)
}

func status(code int) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: code, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("{}"))}, nil
	}
}

// hangs answers nothing until the caller gives up.
func hangs(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func away(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED }

// caller calls apps through guards.
type caller struct {
	callee
	client  *http.Client
	metrics *prometheus.Registry
}

func newCaller(edit ...func(*sidecar.Limits)) *caller {
	limits := sidecar.DefaultLimits()
	for _, e := range edit {
		e(&limits)
	}
	c := &caller{metrics: prometheus.NewRegistry()}
	c.answer = status(200)
	c.client = &http.Client{Transport: sidecar.NewGuards(limits, slog.New(slog.DiscardHandler), c.metrics).Transport(&c.callee)}
	return c
}

func (c *caller) call(ctx context.Context, app string) error {
	return sidecar.Do(ctx, c.client, "http://sidecar", sidecar.Call{App: app, Method: http.MethodGet, Path: "/internal/x"})
}

// calls makes n calls one after the other and gives how many of them reached the callee.
func (c *caller) calls(ctx context.Context, n int, app string) (reached int) {
	before := c.reached.Load()
	for range n {
		_ = c.call(ctx, app) // the outcome is what was set
	}
	return int(c.reached.Load() - before)
}

func refused(t *testing.T, err error, detail string, after time.Duration) {
	t.Helper()
	var p *problem.Error
	if !errors.As(err, &p) || p.Type != problem.Unavailable || !strings.Contains(p.Detail, detail) || p.RetryAfter != after {
		t.Errorf("got %v, want unavailable with %q after %s", err, detail, after)
	}
}

// What opens the breaker: three failures running, and nothing else.
func TestBreakerOpens(t *testing.T) {
	for _, tt := range []struct {
		name   string
		answer func(*http.Request) (*http.Response, error)
		opens  bool
	}{
		{"500", status(500), true},
		{"502", status(502), true},
		{"503", status(503), true},
		{"504", status(504), true},
		{"429", status(429), true},
		{"time-out", hangs, true},
		{"400", status(400), false},
		{"403", status(403), false},
		{"404", status(404), false},
		{"409", status(409), false},
		{"422", status(422), false},
		{"304", status(304), false},
		{"200", status(200), false},
		{"own sidecar away", away, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCaller()
				c.answer = tt.answer
				for range 10 {
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					_ = c.call(ctx, "pricing")
					cancel()
				}
				want := int32(10)
				if tt.opens {
					want = 3
				}
				if got := c.reached.Load(); got != want {
					t.Errorf("%d of 10 calls reached the callee, want %d", got, want)
				}
			})
		})
	}
}

func TestFailuresMustFollowEachOther(t *testing.T) {
	c := newCaller()
	for range 10 {
		c.answer = status(503)
		c.calls(t.Context(), 2, "pricing")
		c.answer = status(404)
		c.calls(t.Context(), 1, "pricing")
	}
	if got := c.reached.Load(); got != 30 {
		t.Errorf("%d of 30 calls reached the callee", got)
	}
}

// An open breaker waits 30 s, lets one call through, and goes by it.
func TestHalfOpenTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller()
		c.answer = status(503)
		if got := c.calls(t.Context(), 5, "pricing"); got != 3 {
			t.Errorf("%d calls reached the callee, want 3", got)
		}
		time.Sleep(10 * time.Second)
		refused(t, c.call(t.Context(), "pricing"), "pricing failed 3 times running and is left alone for 30s", 20*time.Second)
		time.Sleep(20*time.Second + time.Millisecond)
		if got := c.calls(t.Context(), 5, "pricing"); got != 1 {
			t.Errorf("%d trials reached the callee, want 1 that fails", got)
		}
		time.Sleep(29 * time.Second)
		if got := c.calls(t.Context(), 5, "pricing"); got != 0 {
			t.Errorf("%d calls reached the callee within 30 s of a failed trial", got)
		}
		time.Sleep(time.Second + time.Millisecond)

		// While a trial is under way, nobody else gets through.
		release := make(chan struct{})
		c.answer = func(r *http.Request) (*http.Response, error) {
			<-release
			return status(200)(r)
		}
		before := c.reached.Load()
		var trial error
		var done sync.WaitGroup
		done.Go(func() { trial = c.call(t.Context(), "pricing") })
		synctest.Wait()
		for range 5 {
			refused(t, c.call(t.Context(), "pricing"), "left alone", time.Second)
		}
		close(release)
		done.Wait()
		if got := c.reached.Load() - before; trial != nil || got != 1 {
			t.Errorf("the trial ended with %v, %d calls reached the callee", trial, got)
		}
		if got := c.calls(t.Context(), 5, "pricing"); got != 5 {
			t.Errorf("%d of 5 calls reached the callee after a good trial", got)
		}
	})
}

// A caller that gives up says nothing about the callee, neither good nor bad.
func TestOwnCancellationCountsAsNeither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller()
		giveUp := func() {
			c.answer = hangs
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			_ = c.call(ctx, "pricing")
		}
		for range 5 {
			giveUp()
		}
		c.answer = status(503)
		c.calls(t.Context(), 2, "pricing")
		giveUp()
		c.answer = status(503)
		if got := c.calls(t.Context(), 5, "pricing"); got != 1 {
			t.Errorf("%d calls reached the callee: a cancelled one between failures must not wipe them out", got)
		}
		time.Sleep(31 * time.Second)
		giveUp() // the trial
		c.answer = status(200)
		if got := c.calls(t.Context(), 3, "pricing"); got != 3 {
			t.Errorf("%d of 3 calls reached the callee after a trial that was given up", got)
		}
	})
}

func TestAnAnswerThatBreaksOffIsAFailure(t *testing.T) {
	c := newCaller()
	c.answer = func(*http.Request) (*http.Response, error) {
		body := io.MultiReader(strings.NewReader("{"), brokenReader{})
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: io.NopCloser(body)}, nil
	}
	if got := c.calls(t.Context(), 10, "pricing"); got != 3 {
		t.Errorf("%d calls reached the callee, want 3", got)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A full bulkhead holds calls back for a while and refuses them then; other dependencies do not notice.
func TestBulkhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(func(l *sidecar.Limits) { l.Concurrent = 2 })
		release := make(chan struct{})
		c.answer = func(r *http.Request) (*http.Response, error) {
			if r.Header.Get("dapr-app-id") == "pricing" {
				<-release
			}
			return status(200)(r)
		}
		var done sync.WaitGroup
		errs := make(chan error, 10)
		call := func() { done.Go(func() { errs <- c.call(t.Context(), "pricing") }) }
		call()
		call()
		synctest.Wait()
		began := time.Now()
		refused(t, c.call(t.Context(), "pricing"), "2 calls to pricing are under way", time.Second)
		if took := time.Since(began); took != time.Second {
			t.Errorf("refused after %s, want 1 s", took)
		}
		if err := c.call(t.Context(), "order"); err != nil {
			t.Errorf("another dependency: %v", err)
		}
		if err := testutil.GatherAndCompare(c.metrics, strings.NewReader(`
# HELP calls_in_flight Calls under way to a dependency.
# TYPE calls_in_flight gauge
calls_in_flight{dependency="order"} 0
calls_in_flight{dependency="pricing"} 2
# HELP calls_rejected_total Calls that were not made, by dependency and by what refused them: breaker or bulkhead.
# TYPE calls_rejected_total counter
calls_rejected_total{by="breaker",dependency="order"} 0
calls_rejected_total{by="breaker",dependency="pricing"} 0
calls_rejected_total{by="bulkhead",dependency="order"} 0
calls_rejected_total{by="bulkhead",dependency="pricing"} 1
`), "calls_in_flight", "calls_rejected_total"); err != nil {
			t.Error(err)
		}
		call() // waits
		synctest.Wait()
		if got := c.reached.Load(); got != 3 {
			t.Errorf("%d calls were let through", got)
		}
		close(release)
		done.Wait()
		for range 3 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		// Refusals of the bulkhead are no failures of the callee.
		if got := c.calls(t.Context(), 5, "pricing"); got != 5 {
			t.Errorf("%d of 5 calls got through afterwards", got)
		}
	})
}

// Who gives up waiting gets its own error, and takes no place.
func TestGivingUpBeforeAFullBulkhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(func(l *sidecar.Limits) { l.Concurrent = 1; l.Wait = time.Hour })
		c.answer = hangs
		first, end := context.WithCancel(t.Context())
		var done sync.WaitGroup
		done.Go(func() { _ = c.call(first, "pricing") })
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := c.call(ctx, "pricing"); problem.Of(err) != problem.Timeout {
			t.Errorf("got %v, want a time-out", err)
		}
		end()
		done.Wait()
		c.answer = status(200)
		if err := c.call(t.Context(), "pricing"); err != nil {
			t.Error(err)
		}
	})
}

// An answer holds its place until it is read to the end.
func TestAPlaceIsHeldUntilTheBodyIsClosed(t *testing.T) {
	c := newCaller(func(l *sidecar.Limits) { l.Concurrent = 1; l.Wait = time.Millisecond })
	req, err := http.NewRequest(http.MethodGet, "http://sidecar/x", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("dapr-app-id", "pricing")
	resp, err := c.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	refused(t, c.call(t.Context(), "pricing"), "under way", time.Second)
	_ = resp.Body.Close()
	_ = resp.Body.Close() // closing twice gives back one place
	if err := c.call(t.Context(), "pricing"); err != nil {
		t.Error(err)
	}
}

// While the breaker is open, nobody waits for calls that will fail.
func TestAnOpenBreakerIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCaller(func(l *sidecar.Limits) { l.Concurrent = 4; l.Wait = time.Hour })
		c.answer = hangs
		var done sync.WaitGroup
		end := func(after time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			_ = c.call(ctx, "pricing")
		}
		for i := range 4 {
			done.Go(func() { end(time.Duration(i+1) * time.Second) })
		}
		time.Sleep(3*time.Second + time.Millisecond) // three have failed, one hangs
		done.Go(func() { end(time.Minute) })
		synctest.Wait()
		began := time.Now()
		for range 4 {
			refused(t, c.call(t.Context(), "pricing"), "left alone", 30*time.Second-time.Millisecond)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("refused after %s", took)
		}
		done.Wait()
	})
}

func TestBreakerMetrics(t *testing.T) {
	c := newCaller()
	c.answer = status(503)
	c.calls(t.Context(), 5, "pricing")
	c.answer = status(200)
	c.calls(t.Context(), 1, "menu")
	if err := testutil.GatherAndCompare(c.metrics, strings.NewReader(`
# HELP calls_breaker_opened_total Times that the breaker of a dependency has opened.
# TYPE calls_breaker_opened_total counter
calls_breaker_opened_total{dependency="pricing"} 1
# HELP calls_breaker_state State of the breaker of a dependency: 0 closed, 1 half-open, 2 open.
# TYPE calls_breaker_state gauge
calls_breaker_state{dependency="menu"} 0
calls_breaker_state{dependency="pricing"} 2
`), "calls_breaker_opened_total", "calls_breaker_state"); err != nil {
		t.Error(err)
	}
}

// What is asked of the sidecar itself is not guarded.
func TestTheSidecarItselfIsNotGuarded(t *testing.T) {
	c := newCaller()
	c.answer = status(503)
	if got := c.calls(t.Context(), 10, ""); got != 10 {
		t.Errorf("%d of 10 calls were made", got)
	}
}

func TestLimitsCheck(t *testing.T) {
	if err := sidecar.DefaultLimits().Check(); err != nil {
		t.Error(err)
	}
	got := sidecar.Limits{}.Check()
	want := "CALLS_AT_ONCE=0: must be at least 1\nBREAKER_FAILURES=0: must be 1 to 1000000\nBREAKER_PAUSE=0s: must be more than nothing"
	if diff := cmp.Diff(want, got.Error()); diff != "" {
		t.Error(diff)
	}
}

// What a call costs with its guard, and without.
func BenchmarkGuard(b *testing.B) {
	for _, guarded := range []bool{false, true} {
		name := "without"
		var transport http.RoundTripper = &callee{answer: status(200)}
		if guarded {
			name = "with"
			transport = sidecar.NewGuards(sidecar.DefaultLimits(), slog.New(slog.DiscardHandler), prometheus.NewRegistry()).Transport(transport)
		}
		b.Run(name, func(b *testing.B) {
			req, err := http.NewRequest(http.MethodGet, "http://sidecar/x", nil)
			if err != nil {
				b.Fatal(err)
			}
			req.Header.Set("dapr-app-id", "pricing")
			b.ReportAllocs()
			for b.Loop() {
				resp, err := transport.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				_ = resp.Body.Close()
			}
		})
	}
}
