package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"

	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// Limits say how much of a dependency's trouble a caller puts up with.
type Limits struct {
	Concurrent int           `env:"CALLS_AT_ONCE" default:"64" help:"calls that may be under way to one app or binding"`
	Wait       time.Duration `env:"CALLS_WAIT" default:"1s" help:"how long a call waits for a free place among them before it is refused"`
	Failures   int           `env:"BREAKER_FAILURES" default:"3" help:"failures running after which an app or binding is left alone"`
	Pause      time.Duration `env:"BREAKER_PAUSE" default:"30s" help:"how long it is left alone before one call is tried"`
}

// DefaultLimits are those of every hop; components/README.md says why.
func DefaultLimits() Limits {
	return Limits{Concurrent: 64, Wait: time.Second, Failures: 3, Pause: 30 * time.Second}
}

// Check reports every limit that makes no sense.
func (l Limits) Check() error {
	var errs []error
	if l.Concurrent < 1 {
		errs = append(errs, fmt.Errorf("CALLS_AT_ONCE=%d: must be at least 1", l.Concurrent))
	}
	if l.Failures < 1 || l.Failures > 1_000_000 {
		errs = append(errs, fmt.Errorf("BREAKER_FAILURES=%d: must be 1 to 1000000", l.Failures))
	}
	if l.Pause <= 0 {
		errs = append(errs, fmt.Errorf("BREAKER_PAUSE=%s: must be more than nothing", l.Pause))
	}
	return errors.Join(errs...)
}

// Guards keep a circuit breaker and a bulkhead for each dependency of a service: for each app that it calls, over all
// paths, and for each output binding. They live in the caller because the runtime's own breaker takes every 4xx for a
// failure and has a state for each path. A call that the runtime repeats counts once, by how it ends.
type Guards struct {
	limits   Limits
	log      *slog.Logger
	byName   sync.Map // dependency to *guard
	rejected *prometheus.CounterVec
	opened   *prometheus.CounterVec
}

// NewGuards makes guards that log and count what they do.
func NewGuards(l Limits, log *slog.Logger, reg prometheus.Registerer) *Guards {
	g := &Guards{limits: l, log: log,
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "calls_rejected_total",
			Help: "Calls that were not made, by dependency and by what refused them: breaker or bulkhead."}, []string{"dependency", "by"}),
		opened: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "calls_breaker_opened_total",
			Help: "Times that the breaker of a dependency has opened."}, []string{"dependency"}),
	}
	reg.MustRegister(g.rejected, g.opened, g)
	return g
}

var (
	stateDesc = prometheus.NewDesc("calls_breaker_state",
		"State of the breaker of a dependency: 0 closed, 1 half-open, 2 open.", []string{"dependency"}, nil)
	inFlightDesc = prometheus.NewDesc("calls_in_flight", "Calls under way to a dependency.", []string{"dependency"}, nil)
)

// Describe implements prometheus.Collector.
func (g *Guards) Describe(ch chan<- *prometheus.Desc) { ch <- stateDesc; ch <- inFlightDesc }

// Collect implements prometheus.Collector.
func (g *Guards) Collect(ch chan<- prometheus.Metric) {
	g.byName.Range(func(name, value any) bool {
		one := value.(*guard)
		ch <- prometheus.MustNewConstMetric(stateDesc, prometheus.GaugeValue, float64(one.breaker.State()), name.(string))
		ch <- prometheus.MustNewConstMetric(inFlightDesc, prometheus.GaugeValue, float64(one.bulkhead.inFlight.Load()), name.(string))
		return true
	})
}

// guard stands before one dependency.
type guard struct {
	name     string
	limits   Limits
	breaker  *breaker
	bulkhead *bulkhead
	byOpen   prometheus.Counter // rejections
	byFull   prometheus.Counter
}

func (g *Guards) of(name string) *guard {
	if one, ok := g.byName.Load(name); ok {
		return one.(*guard)
	}
	one, _ := g.byName.LoadOrStore(name, &guard{name: name, limits: g.limits,
		breaker: newBreaker(name, g.limits, g.changed), bulkhead: newBulkhead(g.limits.Concurrent, g.limits.Wait),
		byOpen: g.rejected.WithLabelValues(name, "breaker"), byFull: g.rejected.WithLabelValues(name, "bulkhead")})
	return one.(*guard)
}

func (g *Guards) changed(name string, from, to gobreaker.State) {
	if to == gobreaker.StateOpen {
		g.opened.WithLabelValues(name).Inc()
	}
	g.log.Warn("breaker", "dependency", name, "from", from.String(), "to", to.String())
}

// enter asks for a call. If it is granted, leave must be called once with what the outcome says about the dependency
// (see judgeStatus); otherwise the error is problem.Unavailable and says when to come again.
func (g *guard) enter(ctx context.Context) (leave func(verdict error), err error) {
	if !g.bulkhead.tryEnter() {
		if g.breaker.State() == gobreaker.StateOpen { // what is under way will fail too: no use in waiting for it
			return nil, g.left(gobreaker.ErrOpenState)
		}
		if err := g.bulkhead.enter(ctx); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			g.byFull.Inc()
			return nil, problem.Wrap(err, problem.Unavailable, "%d calls to %s are under way, no more are made at once",
				g.limits.Concurrent, g.name).After(time.Second)
		}
	}
	done, err := g.breaker.Allow()
	if err != nil {
		g.bulkhead.leave()
		return nil, g.left(err)
	}
	return func(verdict error) {
		done(verdict)
		g.bulkhead.leave()
	}, nil
}

// left is the refusal of a dependency that is left alone.
func (g *guard) left(cause error) error {
	g.byOpen.Inc()
	after := time.Second // a trial is under way
	if errors.Is(cause, gobreaker.ErrOpenState) {
		after = g.breaker.remaining()
	}
	return problem.Wrap(cause, problem.Unavailable, "%s failed %d times running and is left alone for %s",
		g.name, g.limits.Failures, g.limits.Pause).After(after)
}

// Transport guards the calls that go through next by the app that their dapr-app-id header names. Calls without the
// header are for the sidecar itself and pass. A call lasts until its answer's body is closed.
func (g *Guards) Transport(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		app := r.Header.Get(appIDHeader)
		if app == "" {
			return next.RoundTrip(r)
		}
		leave, err := g.of(app).enter(r.Context())
		if err != nil {
			if r.Body != nil {
				_ = r.Body.Close() // it is not sent; http.RoundTripper wants it closed all the same
			}
			return nil, err
		}
		resp, err := next.RoundTrip(r)
		if err != nil {
			leave(judgeTransport(r.Context(), err))
			return nil, err
		}
		resp.Body = &answer{ReadCloser: resp.Body, ctx: r.Context(), leave: leave, verdict: judgeStatus(resp.StatusCode)}
		return resp, nil
	})
}

// answer is the body of a guarded call.
type answer struct {
	io.ReadCloser
	ctx     context.Context
	leave   func(error)
	verdict error
	closed  atomic.Bool
}

// Read implements io.Reader. An answer that breaks off is no success.
func (a *answer) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && a.verdict == nil {
		a.verdict = fmt.Errorf("the answer broke off: %w", err)
		if errors.Is(a.ctx.Err(), context.Canceled) {
			a.verdict = errNotTheirs
		}
	}
	return n, err
}

// Close implements io.Closer.
func (a *answer) Close() error {
	if a.closed.CompareAndSwap(false, true) {
		a.leave(a.verdict)
	}
	return a.ReadCloser.Close()
}
