package platform

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// addresses returns free ports of 127.0.0.1.
func addresses(t *testing.T, n int) []string {
	t.Helper()
	book := openPorts(Layout{Data: t.TempDir()})
	var out []string
	for i := range n {
		port, err := book.pick(string(rune('a' + i)))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, local(port))
	}
	return out
}

// eventLog collects the events of a supervisor.
type eventLog struct {
	mu     sync.Mutex
	events []Event
}

func (l *eventLog) add(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
}

func (l *eventLog) backoffs(part string) (out []time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.events {
		if e.Part == part && e.State == StateBackoff {
			out = append(out, e.Took)
		}
	}
	return out
}

func start(t *testing.T, cfg SupervisorConfig) *Supervisor {
	t.Helper()
	s, err := NewSupervisor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Stop)
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSupervisorStartsWhatIsNeededFirst(t *testing.T) {
	w := newWorld(t)
	addr := addresses(t, 3)
	first := w.part("first", addr[0], "FAKE_DELAY=150ms")
	second := w.part("second", addr[1], "FAKE_DELAY=50ms")
	second.Needs = []string{"first"}
	third := w.part("third", addr[2])
	third.Needs = []string{"first", "second"}
	s := start(t, SupervisorConfig{Parts: []Part{first, second, third}, LogPath: w.log})

	want := []string{"first-started", "first-ready", "second-started", "second-ready", "third-started", "third-ready"}
	if diff := cmp.Diff(want, w.journal(t)); diff != "" {
		t.Errorf("order of the start (-want +got):\n%s", diff)
	}
	for _, p := range s.Processes(t.Context()) {
		if !p.Healthy || p.PID == 0 || p.RSSBytes == 0 || p.Restarts != 0 {
			t.Errorf("process %s: got %+v, want a healthy one with memory and no restarts", p.Name, p)
		}
	}
}

func TestSupervisorStopsLastPhaseFirst(t *testing.T) {
	w := newWorld(t)
	addr := addresses(t, 3)
	base := w.part("base", addr[0])
	base.Phase = PhaseTrust
	middle := w.part("middle", addr[1])
	middle.Phase = PhaseSidecar
	top := w.part("top", addr[2])
	top.Phase = PhaseCity
	s := start(t, SupervisorConfig{Parts: []Part{base, middle, top}, LogPath: w.log})
	s.Stop()

	var got []string
	for _, line := range w.journal(t) {
		if strings.HasSuffix(line, "-stopping") {
			got = append(got, line)
		}
	}
	if diff := cmp.Diff([]string{"top-stopping", "middle-stopping", "base-stopping"}, got); diff != "" {
		t.Errorf("order of the end (-want +got):\n%s", diff)
	}
}

func TestSupervisorKillsWhoIgnoresTheEnd(t *testing.T) {
	w := newWorld(t)
	stubborn := w.part("stubborn", addresses(t, 1)[0], "FAKE_STUBBORN=1")
	stubborn.Grace = 200 * time.Millisecond
	s := start(t, SupervisorConfig{Parts: []Part{stubborn}, LogPath: w.log})
	pid := s.Processes(t.Context())[0].PID

	begun := time.Now()
	s.Stop()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("stopping took %s, want little more than the grace of 200ms", took)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("signal to the stopped process: got %v, want %v", err, syscall.ESRCH)
	}
}

func TestSupervisorRestartsWithBackoff(t *testing.T) {
	w := newWorld(t)
	var log eventLog
	s := start(t, SupervisorConfig{Parts: []Part{w.part("worker", addresses(t, 1)[0])}, LogPath: w.log, OnEvent: log.add})

	for n := 1; n <= 3; n++ {
		if err := s.Restart("worker", true); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the restart", func() bool {
			p := s.Processes(context.Background())[0]
			return p.Healthy && p.Restarts == n
		})
	}
	want := []time.Duration{200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond}
	if diff := cmp.Diff(want, log.backoffs("worker")); diff != "" {
		t.Errorf("back-off (-want +got):\n%s", diff)
	}

	if err := s.Restart("worker", false); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the orderly restart", func() bool { return s.Processes(context.Background())[0].Restarts == 4 })
	if got := log.backoffs("worker")[3]; got != 0 {
		t.Errorf("back-off of a restart that was asked for: got %s, want 0", got)
	}
	if err := s.Restart("nobody", false); err == nil || !strings.Contains(err.Error(), "worker") {
		t.Errorf("restart of an unknown process: got %v, want an error that lists the known ones", err)
	}
}

func TestSupervisorFailsWithTheEndOfTheLog(t *testing.T) {
	w := newWorld(t)
	s, err := NewSupervisor(SupervisorConfig{Parts: []Part{w.part("broken", "127.0.0.1:1", "FAKE_CRASH=1")}, LogPath: w.log})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop()
	err = s.Start(t.Context())
	var failure *StartError
	if !errors.As(err, &failure) {
		t.Fatalf("got error %v, want a StartError", err)
	}
	if failure.Part != "broken" || !strings.Contains(failure.Error(), "exit status 7") {
		t.Errorf("got %q, want the part and its exit status", failure.Error())
	}
	if got := failure.LogTail[len(failure.LogTail)-1]; got != "cannot go on: the disk is on fire" {
		t.Errorf("end of the log: got %q", got)
	}
}

func TestNewSupervisorRefusesNeedsThatCannotBeMet(t *testing.T) {
	for name, parts := range map[string][]Part{
		"unknown need": {{Name: "a", Needs: []string{"b"}}},
		"circle":       {{Name: "a", Needs: []string{"b"}}, {Name: "b", Needs: []string{"a"}}},
		"same name":    {{Name: "a"}, {Name: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewSupervisor(SupervisorConfig{Parts: parts}); err == nil {
				t.Error("got no error")
			}
		})
	}
}

// startFakeSupervisor runs a supervisor with one child in a process of its own.
func startFakeSupervisor(t *testing.T) (*exec.Cmd, []ProcessRecord) {
	t.Helper()
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "FAKE_ROLE=supervisor", "FAKE_DIR="+dir, "FAKE_ADDR="+addresses(t, 1)[0])
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var records []ProcessRecord
	eventually(t, "the start of the supervisor", func() bool {
		return readJSON(filepath.Join(dir, "records.json"), &records) == nil && len(records) == 1
	})
	return cmd, records
}

func TestKilledSupervisorLeavesNothingBehind(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ties a child to its parent; elsewhere the next start ends what was left")
	}
	cmd, records := startFakeSupervisor(t)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the child", func() bool {
		id, err := processIdentity(records[0].PID)
		return err != nil || id != records[0].Identity
	})
}

func TestNextStartEndsOrphans(t *testing.T) {
	w := newWorld(t)
	part := w.part("orphan", addresses(t, 1)[0])
	env, err := part.Env()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(part.Path)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	identity, err := processIdentity(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}

	l, err := OpenLayout(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	info := RunInfo{Processes: []ProcessRecord{
		{Name: "orphan", PID: cmd.Process.Pid, Identity: identity},
		{Name: "stranger", PID: os.Getpid(), Identity: "a process of long ago with the same pid"},
	}}
	if err := writeJSON(l.RunInfo(), info, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := endOrphans(l)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []string{"orphan"}) {
		t.Errorf("ended %v, want only the orphan", got)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("the orphan still runs")
	}
}

func TestRunInfoKeys(t *testing.T) {
	b, err := json.Marshal(RunInfo{Apps: map[string]AppEndpoint{"order": {AppPort: 1, internalPort: 2}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{`"gateway_url"`, `"city_url"`, `"broker"`, `"pid"`, `"profile"`, `"app_port":1`, `"dapr_http_port"`, `"dapr_grpc_port"`} {
		if !strings.Contains(string(b), key) {
			t.Errorf("run.json lacks %s: %s", key, b)
		}
	}
}
