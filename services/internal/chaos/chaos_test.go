package chaos_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/audit"
	"github.com/dishmesh/dishmesh/services/internal/chaos"
	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/load"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

var parts = []string{"broker", "city", "order", "order-daprd", "sentry"}

// supervisor notes what it is asked for, and starts at once what was killed.
type supervisor struct {
	mu       sync.Mutex
	asked    []string
	restarts map[string]int
	held     func() // is called when a part is held
	unwell   string
}

func (s *supervisor) ask(action, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, action+" "+name)
	s.restarts[name]++
	return nil
}

func (s *supervisor) Kill(_ context.Context, name string) error    { return s.ask("kill", name) }
func (s *supervisor) Freeze(_ context.Context, name string) error  { return s.ask("freeze", name) }
func (s *supervisor) Release(_ context.Context, name string) error { return s.ask("release", name) }
func (s *supervisor) Hold(_ context.Context, name string, _ bool) error {
	defer s.held()
	return s.ask("hold", name)
}

func (s *supervisor) Status(context.Context) (platform.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := platform.Status{Ready: true, Healthy: s.unwell == ""}
	for _, name := range parts {
		kind := platform.KindService
		if name == "broker" {
			kind = platform.KindBroker
		}
		st.Processes = append(st.Processes, platform.Process{Name: name, Kind: kind, Healthy: name != s.unwell, Restarts: s.restarts[name]})
	}
	return st, nil
}

// site is a platform on which all goes well, unless told otherwise.
func site(sup *supervisor) chaos.Site {
	sup.restarts = map[string]int{}
	return chaos.Site{
		Supervisor: sup, PollEvery: time.Millisecond,
		Load: func(_ context.Context, cfg load.Config) (load.Report, error) {
			return load.Report{Orders: cfg.Orders, Ended: cfg.Orders, Outcomes: map[orderapi.Status]int{orderapi.Delivered: cfg.Orders}}, nil
		},
		Audit: func(context.Context, time.Duration, time.Time) (audit.Report, error) {
			return audit.Report{OK: true, Invariants: []audit.Invariant{{ID: 1, OK: true}}}, nil
		},
	}
}

// A seed always stands for the same, every part is a victim sooner or later, and every outcome is wished for.
func TestNewPlan(t *testing.T) {
	victims := map[string]int{}
	for seed := range uint64(200) {
		p := chaos.NewPlan(seed, parts, 8)
		if diff := cmp.Diff(p, chaos.NewPlan(seed, parts, 8)); diff != "" {
			t.Fatalf("seed %d gives two plans:\n%s", seed, diff)
		}
		victims[p.Victim]++
		if p.At < 0 || p.At >= 3*time.Second || len(p.Wishes) != 8 {
			t.Errorf("seed %d: at %s, %d orders", seed, p.At, len(p.Wishes))
		}
		for _, status := range []orderapi.Status{orderapi.Delivered, orderapi.Declined, orderapi.Rejected, orderapi.Undeliverable, orderapi.Cancelled} {
			if !slices.ContainsFunc(p.Wishes, func(w customer.Wish) bool { return slices.Contains(w.May, status) }) {
				t.Errorf("seed %d: no order may end as %s", seed, status)
			}
		}
	}
	if len(victims) != len(parts) {
		t.Errorf("victims of 200 seeds: %v, want each of %v", victims, parts)
	}
	for n := 1; n < 12; n++ {
		if got := len(chaos.NewPlan(1, parts, n).Wishes); got != n {
			t.Errorf("%d orders: got %d", n, got)
		}
	}
}

func TestStrike(t *testing.T) {
	plan := chaos.NewPlan(3, parts, 4)
	plan.At = time.Millisecond
	for _, tc := range []struct {
		name    string
		change  func(*chaos.Site, *supervisor)
		problem string // "": green
		failure string
	}{
		{name: "green", change: func(*chaos.Site, *supervisor) {}},
		{name: "invariant", problem: "invariant 5, books: ord_1: charged twice", change: func(s *chaos.Site, _ *supervisor) {
			s.Audit = func(context.Context, time.Duration, time.Time) (audit.Report, error) {
				return audit.Report{Invariants: []audit.Invariant{{ID: 5, Name: "books", Violations: []string{"ord_1: charged twice"}}}}, nil
			}
		}},
		{name: "stuck", problem: "ord_1 has not ended", change: func(s *chaos.Site, _ *supervisor) {
			s.Load = func(_ context.Context, cfg load.Config) (load.Report, error) {
				return load.Report{Orders: cfg.Orders, Ended: cfg.Orders - 1, Stuck: 1, StuckOrders: []string{"ord_1"}}, nil
			}
		}},
		{name: "refused", problem: "1 orders were refused", change: func(s *chaos.Site, _ *supervisor) {
			s.Load = func(_ context.Context, cfg load.Config) (load.Report, error) {
				return load.Report{Orders: cfg.Orders, Ended: cfg.Orders - 1, Refused: 1}, nil
			}
		}},
		{name: "wrong end", problem: "kitchen rejects: delivered", change: func(s *chaos.Site, _ *supervisor) {
			s.Load = func(_ context.Context, cfg load.Config) (load.Report, error) {
				return load.Report{Orders: cfg.Orders, Ended: cfg.Orders, Unexpected: map[string]int{"kitchen rejects: delivered": 1}}, nil
			}
		}},
		{name: "lost", problem: "1 orders of the load are unaccounted for", change: func(s *chaos.Site, _ *supervisor) {
			s.Load = func(_ context.Context, cfg load.Config) (load.Report, error) {
				return load.Report{Orders: cfg.Orders, Ended: cfg.Orders - 1}, nil
			}
		}},
		{name: "audit unreadable", failure: "audit: no store", change: func(s *chaos.Site, _ *supervisor) {
			s.Audit = func(context.Context, time.Duration, time.Time) (audit.Report, error) {
				return audit.Report{}, errors.New("no store")
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			sup := &supervisor{}
			s := site(sup)
			tc.change(&s, sup)
			r, err := s.Kill(t.Context(), plan)
			if tc.failure != "" {
				if err == nil || !strings.Contains(err.Error(), tc.failure) {
					t.Errorf("got %v, want %q", err, tc.failure)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if r.OK != (tc.problem == "") || !strings.Contains(strings.Join(r.Problems, "; "), tc.problem) {
				t.Errorf("got ok=%t with %q, want %q", r.OK, r.Problems, tc.problem)
			}
			if want := []string{"kill " + plan.Victim}; !slices.Equal(sup.asked, want) {
				t.Errorf("asked for %v, want %v", sup.asked, want)
			}
			if line := r.Line(); !strings.Contains(line, plan.Victim) || strings.Contains(line, "RED") != (tc.problem != "") {
				t.Errorf("line: %s", line)
			}
		})
	}
}

func TestHang(t *testing.T) {
	sup := &supervisor{}
	s := site(sup)
	if _, err := s.Hang(t.Context(), chaos.Plan{Victim: "order", Wishes: chaos.NewPlan(1, parts, 1).Wishes}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"freeze order"}; !slices.Equal(sup.asked, want) {
		t.Errorf("asked for %v, want %v", sup.asked, want)
	}
	if _, err := s.Kill(t.Context(), chaos.Plan{Victim: "nobody"}); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("an unknown victim: got %v", err)
	}
}

// A part that is stopped is started again after the time, also when the run is interrupted meanwhile.
func TestStop(t *testing.T) {
	for _, interrupted := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			sup := &supervisor{}
			s := site(sup)
			broker, err := s.Broker(ctx)
			if err != nil || broker != "broker" {
				t.Fatalf("broker: got %q, %v", broker, err)
			}
			begun := time.Now()
			sup.held = func() {
				if interrupted {
					cancel()
				}
			}
			r, err := s.Stop(ctx, chaos.Outage{Part: broker, For: time.Minute, Rate: 2})
			if want := []string{"hold broker", "release broker"}; !slices.Equal(sup.asked, want) {
				t.Errorf("asked for %v, want %v", sup.asked, want)
			}
			if interrupted {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v, want %v", err, context.Canceled)
				}
				return
			}
			if took := time.Since(begun); err != nil || !r.OK || r.For != 60 || took != 63*time.Second {
				t.Errorf("got %+v after %s, %v", r, took, err)
			}
		})
	}
}

func TestDo(t *testing.T) {
	run := func(r chaos.Result, err error) func(context.Context) (chaos.Result, error) {
		return func(context.Context) (chaos.Result, error) { return r, err }
	}
	runs := []func(context.Context) (chaos.Result, error){
		run(chaos.Result{Seed: 1, OK: true}, nil), run(chaos.Result{Seed: 2}, nil),
		run(chaos.Result{Seed: 3, OK: true}, errors.New("could not be killed")), run(chaos.Result{Seed: 4, OK: true}, nil),
	}
	for keepGoing, want := range map[bool][2]int{false: {2, 1}, true: {4, 2}} { // runs and red ones
		told := 0
		s, err := site(&supervisor{}).Do(t.Context(), runs, keepGoing, func(chaos.Result) { told++ })
		if err != nil {
			t.Fatal(err)
		}
		if got := [2]int{len(s.Runs), s.Red}; got != want || told != want[0] || s.OK {
			t.Errorf("keep going %t: got %v, told %d, ok=%t, want %v", keepGoing, got, told, s.OK, want)
		}
		var b strings.Builder
		if err := s.Print(&b); err != nil || !strings.Contains(b.String(), "RED") {
			t.Errorf("%v: %s", err, b.String())
		}
	}
}
