// Package conformance finds out what a profile, a set of Dapr components with the servers behind them, really keeps
// of what the services build on. It talks to the profile as the services do, through sidecars alone, and judges by what
// an application sees: what was acknowledged, what arrived, what can be read.
//
// Checks are written against Bench, so that the same check runs on real sidecars and, in the tests, on doubles that
// are deliberately bad.
package conformance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Verdict says whether a guarantee holds.
type Verdict string

// The verdicts. Their text is what --json has.
const (
	Kept          Verdict = "kept"
	KeptOnTop     Verdict = "kept_on_top"    // not by the profile, but by what the services put on top of it
	NotKept       Verdict = "not_kept"       //
	NotApplicable Verdict = "not_applicable" // the profile has nothing that it could mean
	Unknown       Verdict = "unknown"        // the check could not be carried out
)

// Words is the verdict as people read it.
func (v Verdict) Words() string {
	switch v {
	case Kept:
		return "kept"
	case KeptOnTop:
		return "kept by us on top"
	case NotKept:
		return "not kept"
	case NotApplicable:
		return "not applicable"
	}
	return "could not be checked"
}

// Outcome is what one check found.
type Outcome struct {
	Verdict Verdict `json:"verdict"`
	// Did says what was done, with its quantities.
	Did string `json:"did"`
	// Figure is what was measured, for people; Figures has the same as numbers, by stable names.
	Figure  string             `json:"figure"`
	Figures map[string]float64 `json:"figures"`
	// Reason says why the verdict is not "kept".
	Reason string `json:"reason,omitempty"`
}

// Result is the outcome of a check with what was checked.
type Result struct {
	Name    string `json:"name"`
	Area    Area   `json:"area"`
	Promise string `json:"promise"`
	// ReliedOn is why the services need it; empty: they do not.
	ReliedOn string `json:"relied_on,omitempty"`
	Outcome
	Seconds float64 `json:"seconds"`
}

// Broken tells whether the result breaks what the services rely on. What could not be checked counts as broken.
func (r Result) Broken() bool {
	return r.ReliedOn != "" && (r.Verdict == NotKept || r.Verdict == Unknown)
}

// Report is the result of a run. Its JSON keys are stable.
type Report struct {
	Profile string    `json:"profile"`
	OK      bool      `json:"ok"` // nothing that the services rely on is broken
	Quick   bool      `json:"quick"`
	Began   time.Time `json:"began"`
	Seconds float64   `json:"seconds"`
	// Versions holds what the programs under test say of themselves, by program.
	Versions map[string]string `json:"versions"`
	Results  []Result          `json:"results"`
	// Interrupted says that not every check that was asked for was carried out.
	Interrupted bool `json:"interrupted"`
}

// Area groups checks by what they are about. Checks of different areas may run side by side.
type Area string

// The areas, in the order of the report.
const (
	Events   Area = "events"
	State    Area = "state"
	Workflow Area = "workflow"
	Orders   Area = "orders"
)

// Areas lists all areas.
func Areas() []Area { return []Area{Events, State, Workflow, Orders} }

// Check is one guarantee and how to find out whether it holds.
type Check struct {
	// Name is stable: --only and --json have it.
	Name string
	Area Area
	// Promise is the guarantee as a sentence.
	Promise string
	// ReliedOn says why the services need it; empty: they do not.
	ReliedOn string
	// Alone keeps other checks from running meanwhile, because a server is killed or every core is needed.
	Alone bool
	// Own says that the check starts what it needs itself and wants everything else stopped.
	Own bool
	run func(ctx context.Context, e *Env) (Outcome, error)
}

// Env is what a check works with.
type Env struct {
	Bench Bench
	Times Times
	// Run is different in every run: what an earlier one left in a topic or store is told apart by it.
	Run string
	// Say tells people how far the check is.
	Say func(text string)
	// Platform runs the order suite; nil where there is nothing to run it with.
	Platform Platform
}

// Times are the durations and quantities of the checks.
type Times struct {
	ShortOutage, LongOutage time.Duration
	// Part scales the number of messages and rounds: 1 is the full suite.
	Part float64
	// Patience is how long something that must come in the end is waited for.
	Patience time.Duration
	// Orders of the order suite.
	Orders int
}

// Full are the times of a run that counts, Quick of a run that gives a first idea.
func Full() Times {
	return Times{ShortOutage: 10 * time.Second, LongOutage: time.Minute, Part: 1, Patience: 90 * time.Second, Orders: 200}
}

// Quick is a tenth of Full in quantity, with outages of seconds.
func Quick() Times {
	return Times{ShortOutage: time.Second, LongOutage: 3 * time.Second, Part: 0.2, Patience: 60 * time.Second, Orders: 30}
}

// n scales a quantity, to 1 at least.
func (t Times) n(full int) int { return max(1, int(float64(full)*t.Part)) }

// Watcher is told how a run goes. Its methods are called from several goroutines.
type Watcher interface {
	Started(Check)
	Said(c Check, text string)
	Done(Result)
}

// Suite is one run.
type Suite struct {
	Profile  string
	Bench    Bench
	Platform Platform
	Times    Times
	Quick    bool
	Checks   []Check
	Run      string
	Watch    Watcher
	// Limit ends a check that hangs.
	Limit time.Duration
}

// Execute carries the checks out: those of one area one after the other, the areas side by side, then those that must
// be alone. It returns what there is when ctx ends.
func (s *Suite) Execute(ctx context.Context) Report {
	began := time.Now()
	var mu sync.Mutex
	results := map[string]Result{}
	do := func(c Check) {
		if ctx.Err() != nil {
			return
		}
		s.Watch.Started(c)
		r := s.check(ctx, c)
		if ctx.Err() != nil {
			return // interrupted: it means nothing
		}
		mu.Lock()
		results[c.Name] = r
		mu.Unlock()
		s.Watch.Done(r)
	}
	var lanes sync.WaitGroup
	for _, area := range Areas() {
		lanes.Go(func() {
			for _, c := range s.Checks {
				if c.Area == area && !c.Alone && !c.Own {
					do(c)
				}
			}
		})
	}
	lanes.Wait()
	for _, c := range s.Checks {
		if c.Alone && !c.Own {
			do(c)
		}
	}
	versions := s.Bench.Versions()
	if slices.ContainsFunc(s.Checks, func(c Check) bool { return c.Own }) {
		s.Bench.Close()
	}
	for _, c := range s.Checks {
		if c.Own {
			do(c)
		}
	}
	r := Report{Profile: s.Profile, OK: true, Quick: s.Quick, Began: began.UTC().Truncate(time.Second),
		Seconds: seconds(time.Since(began)), Versions: versions, Results: []Result{}, Interrupted: ctx.Err() != nil}
	for _, c := range s.Checks {
		if got, ok := results[c.Name]; ok {
			r.Results = append(r.Results, got)
			r.OK = r.OK && !got.Broken()
		}
	}
	return r
}

func (s *Suite) check(ctx context.Context, c Check) Result {
	begun := time.Now()
	limit := s.Limit
	if limit == 0 {
		limit = 10 * time.Minute
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	e := &Env{Bench: s.Bench, Times: s.Times, Run: s.Run + "-" + c.Name, Platform: s.Platform,
		Say: func(text string) { s.Watch.Said(c, text) }}
	out, err := c.run(limited, e)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil && limited.Err() != nil {
			err = fmt.Errorf("it did not end within %s: %w", limit, err)
		}
		out.Verdict, out.Reason = Unknown, err.Error()
	}
	if out.Figures == nil {
		out.Figures = map[string]float64{}
	}
	return Result{Name: c.Name, Area: c.Area, Promise: c.Promise, ReliedOn: c.ReliedOn, Outcome: out, Seconds: seconds(time.Since(begun))}
}

// seconds rounds to tenths.
func seconds(d time.Duration) float64 { return d.Round(100 * time.Millisecond).Seconds() }
