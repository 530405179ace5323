package e2e

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// schedule is what the tests need of chaos --json.
type schedule struct {
	OK   bool `json:"ok"`
	Red  int  `json:"red"`
	Runs []struct {
		Fault    string   `json:"fault"`
		Seed     uint64   `json:"seed"`
		Victim   string   `json:"victim"`
		Orders   int      `json:"orders"`
		Ended    int      `json:"ended"`
		Settled  float64  `json:"settled_seconds"`
		OK       bool     `json:"ok"`
		Problems []string `json:"problems"`
	} `json:"runs"`
}

// chaos runs a fault on the site, of which every run must be green.
func (s *site) chaos(t *testing.T, runs int, args ...string) {
	t.Helper()
	o := s.command(t, 0, append(append([]string{"chaos"}, args...), "--json")...)
	var got schedule
	if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
		t.Fatalf("chaos --json: %v: %s", err, o)
	}
	if !got.OK || len(got.Runs) != runs {
		t.Errorf("chaos %v: ok=%t, %d runs, want %d", args, got.OK, len(got.Runs), runs)
	}
	for _, r := range got.Runs {
		t.Logf("%s, seed %d: %s, %d orders, settled after %.1f s", r.Fault, r.Seed, r.Victim, r.Orders, r.Settled)
		if !r.OK || r.Ended != r.Orders {
			t.Errorf("%s, seed %d, %s: %d of %d orders ended, %v", r.Fault, r.Seed, r.Victim, r.Ended, r.Orders, r.Problems)
		}
	}
}

// A short sample of `make test-faults`, on a platform of its own whose services can be crashed: every service that owns a
// stream dies at every point of a commit, some processes are killed at random, and the broker stays away for a while.
func TestFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: builds the services once more, for a platform of its own")
	}
	dir := filepath.Dir(shared.data) // is kept when a test fails
	crashable := filepath.Join(dir, "faults")
	if err := goBuild(t.Context(), crashable, "faults", "./services/cmd/..."); err != nil {
		t.Fatal(err)
	}
	flags := []string{"--time-scale", "0", "--bin", crashable, "--set", "order.DISPATCH_DEADLINE=3s"}
	for _, service := range []string{"order", "payment", "restaurant", "delivery", "notification"} {
		flags = append(flags, "--set", service+".CRASH_POINTS=run/crash")
	}
	s := newSite(filepath.Join(programs, "dishmesh"), filepath.Join(dir, "chaos"), flags...)
	t.Cleanup(func() {
		if err := s.down(); err != nil {
			t.Error(err)
		}
	})
	if err := s.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.use(t)
	t.Run("crash points", func(t *testing.T) { s.chaos(t, 4, "crash", "--together", "--seed", "1") })
	t.Run("kill", func(t *testing.T) { s.chaos(t, 3, "kill", "--seeds", "1..3") })
	// The two of them at once, because both take their time.
	replaced := s.hang(t, "analytics-daprd")
	t.Run("broker", func(t *testing.T) { s.chaos(t, 1, "broker-stop", "--for", "4s") })
	t.Run("hang", replaced)
	s.auditGreen(t)
}

// hang stops a process without ending it, and gives the test that the supervisor has started it again.
func (s *site) hang(t *testing.T, victim string) func(*testing.T) {
	t.Helper()
	before := s.healthy(t).process(victim)
	if err := syscall.Kill(before.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	return func(t *testing.T) {
		eventually(t, time.Minute, victim+" is started again", func() error {
			now, err := s.status(t.Context())
			if err == nil && (now.process(victim).PID == before.PID || !now.process(victim).Healthy) {
				err = fmt.Errorf("%+v", now.process(victim))
			}
			return err
		})
		t.Logf("the hung process was replaced within %.1f s", time.Since(start).Seconds())
	}
}
