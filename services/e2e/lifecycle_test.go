package e2e

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// One platform holds a data folder, and every fault of a command line is one line that says what to do.
func TestRefusals(t *testing.T) {
	s := shared.use(t)
	st, err := s.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Close() }() // it had only to be there
	_, busyPort, err := net.SplitHostPort(busy.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	tests := []struct {
		name string
		args []string
		exit int
		says []string
	}{
		{"second up in the background", []string{"up", "--detach", "--data", s.data}, 1, []string{"in use", strconv.Itoa(st.PID), "dishmesh down"}},
		{"second up", []string{"up", "--data", s.data}, 1, []string{"in use", strconv.Itoa(st.PID), "dishmesh down"}},
		{"busy port", []string{"up", "--detach", "--data", other, "--port", busyPort}, 1, []string{busyPort, "busy", "--port"}},
		{"busy port of the city", []string{"up", "--data", other, "--city-port", busyPort}, 1, []string{busyPort, "busy", "--city-port"}},
		{"port that is none", []string{"up", "--data", other, "--port", "70000"}, 2, []string{"--port", "70000"}},
		{"negative time scale", []string{"up", "--data", other, "--time-scale", "-1"}, 2, []string{"--time-scale"}},
		{"unknown profile", []string{"up", "--data", other, "--profile", "nosuch"}, -1, []string{"nosuch"}},
		{"setting that is none", []string{"up", "--data", other, "--set", "nonsense"}, 2, []string{"nonsense"}},
		{"data folder that is a file", []string{"up", "--detach", "--data", s.program}, 1, []string{"--data"}},
		{"unknown flag", []string{"up", "--data", other, "--fast"}, 2, []string{"--fast", "--help"}},
		{"unknown command", []string{"serve"}, 2, []string{"serve"}},
		{"unknown card", []string{"order", "--data", s.data, "--card", "gold"}, 2, []string{"--card", "gold"}},
		{"several faults", []string{"order", "--data", s.data, "--kitchen", "burns", "--cancel-after", "lunch"}, 2, []string{"burns", "lunch"}},
		{"no orders", []string{"load", "--data", s.data, "--orders", "0"}, 2, []string{"--orders"}},
		{"order without a platform", []string{"order", "--data", other}, 3, []string{"dishmesh up"}},
		{"load without a platform", []string{"load", "--data", other}, 3, []string{"dishmesh up"}},
		{"status without a platform", []string{"status", "--data", other}, 1, []string{"dishmesh up"}},
		{"down without a platform", []string{"down", "--data", other}, 0, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			o, err := runProgram(ctx, nil, s.program, tt.args...)
			if err != nil {
				t.Fatal(err)
			}
			if o.code != tt.exit && !(tt.exit < 0 && o.code > 0) {
				t.Errorf("want exit code %d, got %s", tt.exit, o)
			}
			if lines := strings.Count(o.stderr, "\n"); o.code != 0 && lines != 1 {
				t.Errorf("want one line, got %d: %s", lines, o.stderr)
			}
			for _, text := range tt.says {
				if !strings.Contains(o.stderr, text) {
					t.Errorf("want %q, got %s", text, o.stderr)
				}
			}
		})
	}
	// None of it has touched the platform that runs.
	now := s.healthy(t)
	if now.PID != st.PID {
		t.Errorf("the platform is process %d now, was %d", now.PID, st.PID)
	}
}

// status tells of every process, with its sidecar, and the memory of all.
func TestStatus(t *testing.T) {
	s := shared.use(t)
	st := s.healthy(t)
	var names []string
	for _, p := range st.Processes {
		names = append(names, p.Name)
		if p.PID <= 0 || p.RSSBytes <= 0 {
			t.Errorf("%+v", p)
		}
	}
	for _, want := range []string{"sentry", "placement", "scheduler", "broker", "city", "gateway", "gateway-daprd", "order", "order-daprd", "analytics-daprd"} {
		if !slices.Contains(names, want) {
			t.Errorf("status has no %s: %v", want, names)
		}
	}
	if st.RSSBytes <= 0 || st.RSSBytes > 4<<30 {
		t.Errorf("resident memory of all: got %d bytes", st.RSSBytes)
	}
	t.Logf("%d processes, %d MB", len(st.Processes)+1, st.RSSBytes>>20)

	o := s.command(t, 0, "doctor", "--json")
	var health struct {
		OK     bool `json:"ok"`
		Checks []struct {
			Name string `json:"name"`
		} `json:"checks"`
	}
	if err := json.Unmarshal([]byte(o.stdout), &health); err != nil || !health.OK || len(health.Checks) == 0 {
		t.Errorf("doctor --json: %v: %s", err, o)
	}
	// What must not be read by others is not.
	for _, name := range []string{"accounts.json", "secrets.json", filepath.Join("run", "tokens.json")} {
		checkMode(t, filepath.Join(s.data, name))
	}
}

// checkMode wants a file to be readable by its owner alone.
func checkMode(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Error(err)
		return
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		t.Errorf("%s can be read by others: mode %o", path, mode)
	}
}
