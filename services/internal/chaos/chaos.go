// Package chaos does harm to a running platform, under load and by plan, and finds out whether everything that was
// acknowledged still comes to its end. What is harmed is real: processes die by SIGKILL and brokers stay away.
//
// All choices of a run follow from its seed: the victim, the instant, the orders and what befalls them. What a seed
// can't decide is how far the platform is at that instant, because that depends on the machine.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/audit"
	"github.com/dishmesh/dishmesh/services/internal/load"
	"github.com/dishmesh/dishmesh/services/internal/platform"
)

// Supervisor is what a platform's supervisor can be asked for; platform.Client is one.
type Supervisor interface {
	Status(ctx context.Context) (platform.Status, error)
	Kill(ctx context.Context, name string) error
	Hold(ctx context.Context, name string, kill bool) error
	Release(ctx context.Context, name string) error
	Freeze(ctx context.Context, name string) error
}

// Site is the platform that is harmed, with the customers who order there meanwhile.
type Site struct {
	Supervisor Supervisor
	// Load runs a load of the site's own customers, who repeat what is not answered.
	Load load.Drive
	// Audit waits that long at most for orders in flight, then checks every invariant for what has changed since an
	// instant; the zero time means all there is.
	Audit func(ctx context.Context, wait time.Duration, since time.Time) (audit.Report, error)
	// PollEvery is the pause between two looks at something that is waited for; default 200 ms.
	PollEvery time.Duration
}

// Bounds of what a run waits for. Beyond them it is red.
const (
	// orderWithin is how long an order may take, harm included.
	orderWithin = 90 * time.Second
	// healthyWithin is how long every process may take to be well again.
	healthyWithin = 90 * time.Second
	// auditWait is how long what customers do not see may take after the orders have ended: payouts, notifications, and on
	// Redis what a killed sidecar had in hand, which comes again after 45 s.
	auditWait = 90 * time.Second
)

// Result is what came of a run. Its JSON keys are stable.
type Result struct {
	Fault string `json:"fault"`
	// Seed is that of the orders, and of a kill's victim and instant.
	Seed   uint64 `json:"seed"`
	Victim string `json:"victim"` // the part that was harmed
	// At is the instant of the harm, in seconds since the load began, and For how long a part was kept down.
	At  float64 `json:"at_seconds"`
	For float64 `json:"for_seconds"`
	// Orders were asked for; Ended came to an end; Outcomes has them by state.
	Orders   int            `json:"orders"`
	Ended    int            `json:"ended"`
	Outcomes map[string]int `json:"outcomes"`
	// Recovered, Ends and Settled are seconds since the harm, or since its end where it lasted: until every process was
	// well again, until all orders had ended, and until nothing that follows from them was on its way any more.
	Recovered float64 `json:"recovered_seconds"`
	Ends      float64 `json:"ends_seconds"`
	Settled   float64 `json:"settled_seconds"`
	// Took is the whole run, in seconds.
	Took float64 `json:"took_seconds"`
	OK   bool    `json:"ok"`
	// Problems says what is red.
	Problems []string `json:"problems"`
}

func (r *Result) fail(format string, args ...any) {
	r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
}

// seconds rounds to milliseconds, which is more than such figures are worth.
func seconds(d time.Duration) float64 { return d.Round(time.Millisecond).Seconds() }

// harm runs a load and does something to the platform meanwhile; then it waits for everybody to be well and for the
// end of all orders, and judges. do returns the instant from which the recovery counts. The error is one of this
// side, or of the context: it says nothing about the platform.
func (s Site) harm(ctx context.Context, r Result, cfg load.Config, do func(context.Context) (time.Time, error)) (Result, error) {
	began := time.Now()
	r.Problems, r.Outcomes, r.Orders = []string{}, map[string]int{}, cfg.Orders
	type loaded struct {
		report load.Report
		err    error
	}
	done := make(chan loaded, 1)
	loadCtx, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		report, err := s.Load(loadCtx, cfg)
		done <- loaded{report, err}
	}()
	since, err := do(ctx)
	if err != nil {
		stop()
		<-done
		return r, err
	}
	if err := s.Healthy(ctx); err != nil {
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		r.fail("%v", err)
	}
	r.Recovered = seconds(time.Since(since))
	l := <-done
	if l.err != nil {
		return r, fmt.Errorf("load: %w", l.err)
	}
	r.Ends = seconds(time.Since(since))
	r.judgeLoad(l.report)
	verdict, err := s.Audit(ctx, auditWait, began)
	if err != nil {
		return r, fmt.Errorf("audit: %w", err)
	}
	r.judgeAudit(verdict)
	r.Settled, r.Took = seconds(time.Since(since)), seconds(time.Since(began))
	r.OK = len(r.Problems) == 0
	return r, ctx.Err()
}

func (r *Result) judgeLoad(l load.Report) {
	r.Ended = l.Ended
	for status, n := range l.Outcomes {
		r.Outcomes[string(status)] = n
	}
	for _, id := range l.StuckOrders {
		r.fail("%s has not ended within %s", id, orderWithin)
	}
	if l.Refused > 0 {
		r.fail("%d orders were refused for good: %v", l.Refused, l.Errors)
	}
	for what, n := range l.Unexpected {
		r.fail("%d orders ended as they must not: %s", n, what)
	}
	if missing := l.Orders - l.Ended - l.Stuck - l.Refused; missing != 0 && !l.Interrupted {
		r.fail("%d orders of the load are unaccounted for", missing)
	}
}

func (r *Result) judgeAudit(a audit.Report) { r.Problems = append(r.Problems, violations(a)...) }

// violations says what an audit found; nothing if all is well and all orders have ended.
func violations(a audit.Report) []string {
	var found []string
	for _, v := range a.Invariants {
		for _, violation := range v.Violations {
			found = append(found, fmt.Sprintf("invariant %d, %s: %s", v.ID, v.Name, violation))
		}
		if !v.OK && len(v.Violations) == 0 {
			found = append(found, fmt.Sprintf("invariant %d, %s", v.ID, v.Name))
		}
	}
	if a.InFlight > 0 {
		found = append(found, fmt.Sprintf("%d orders are in flight still", a.InFlight))
	}
	if a.Pending > 0 {
		found = append(found, fmt.Sprintf("%d messages are on their way still", a.Pending))
	}
	return found
}

// Healthy waits until every process of the platform is.
func (s Site) Healthy(ctx context.Context) error {
	what := ""
	err := s.poll(ctx, healthyWithin, func() (bool, error) {
		st, err := s.Supervisor.Status(ctx)
		if err != nil {
			what = err.Error()
			return false, nil // it may be busy
		}
		what = unwell(st)
		return st.Healthy, nil
	})
	if errors.Is(err, errNotInTime) {
		return fmt.Errorf("not well again within %s: %s", healthyWithin, what)
	}
	return err
}

func unwell(st platform.Status) string {
	for _, p := range st.Processes {
		if !p.Healthy {
			return p.Name + ": " + p.Problem
		}
	}
	return "the platform has not started"
}

var errNotInTime = errors.New("not in time")

// poll asks until it is done, an error comes, or the time is over: errNotInTime.
func (s Site) poll(ctx context.Context, within time.Duration, ask func() (done bool, err error)) error {
	every := s.PollEvery
	if every == 0 {
		every = 200 * time.Millisecond
	}
	deadline := time.Now().Add(within)
	for {
		done, err := ask()
		if done || err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return errNotInTime
		}
		if err := pause(ctx, every); err != nil {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Parts lists the names of a platform's processes, in the order of the alphabet, so that a seed picks the same one
// again.
func (s Site) Parts(ctx context.Context) ([]string, error) {
	st, err := s.Supervisor.Status(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range st.Processes {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names, nil
}

// Fault is a kind of harm.
type Fault struct {
	Name string `json:"name"` // also the command: dishmesh chaos <name>
	What string `json:"what"`
}

// The faults by name.
const (
	KillFault       = "kill"
	HangFault       = "hang"
	BrokerStopFault = "broker-stop"
	CrashFault      = "crash"
)

// Faults lists them.
func Faults() []Fault {
	return []Fault{
		{KillFault, "one process, any of the platform's, dies by SIGKILL at an instant that the seed gives"},
		{HangFault, "the same with SIGSTOP: the process lives and does nothing until the supervisor finds out"},
		{BrokerStopFault, "the broker is killed and stays away for a while"},
		{CrashFault, "a service dies at a named point of a commit: " + pointList()},
	}
}
