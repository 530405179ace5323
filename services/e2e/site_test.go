package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// site is one platform with a data folder of its own, driven by the dishmesh command.
type site struct {
	program string
	data    string
	flags   []string // of up, beside the data folder
	url     string   // of the public API

	mu   sync.Mutex
	pids map[int]bool // every process that was seen of it
}

var (
	sitesMu sync.Mutex
	sites   []*site
)

// newSite prepares a platform on free ports that up starts with flags.
func newSite(program, data string, flags ...string) *site {
	port, cityPort := freePort(), freePort()
	s := &site{
		program: program, data: data, pids: map[int]bool{}, url: "http://127.0.0.1:" + strconv.Itoa(port),
		flags: append([]string{"--port", strconv.Itoa(port), "--city-port", strconv.Itoa(cityPort)}, flags...),
	}
	sitesMu.Lock()
	defer sitesMu.Unlock()
	sites = append(sites, s)
	return s
}

// freePort finds a port below those that the system gives to outgoing connections: it has to be free again after a
// kill of everything.
func freePort() int {
	for {
		port := 20000 + rand.IntN(10000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			_ = l.Close() // it only had to be there
			return port
		}
	}
}

// outcome is how a run of the command ended.
type outcome struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

func (o outcome) String() string {
	return fmt.Sprintf("exit code %d after %.1f s\nstdout: %s\nstderr: %s", o.code, o.took.Seconds(), clip(o.stdout), clip(o.stderr))
}

func clip(s string) string {
	const most = 4000
	if s = strings.TrimSpace(s); len(s) > most {
		return s[:most/2] + "\n…\n" + s[len(s)-most/2:]
	}
	return s
}

// run runs a command on the site's data folder. It ends with ctx at the latest.
func (s *site) run(ctx context.Context, args ...string) (outcome, error) {
	return runProgram(ctx, nil, s.program, append(args, "--data", s.data)...)
}

func runProgram(ctx context.Context, progress io.Writer, program string, args ...string) (outcome, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	cmd.WaitDelay = 5 * time.Second
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if progress != nil {
		cmd.Stdout = io.MultiWriter(&stdout, progress)
	}
	start := time.Now()
	err := cmd.Run()
	o := outcome{code: cmd.ProcessState.ExitCode(), stdout: stdout.String(), stderr: stderr.String(), took: time.Since(start)}
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return o, fmt.Errorf("%s %s: %w; %s", filepath.Base(program), strings.Join(args, " "), ctx.Err(), o)
	case err != nil && !errors.As(err, &exit):
		return o, err
	}
	return o, nil
}

// up starts the platform in the background and returns when it is ready.
func (s *site) up(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	args := append([]string{"up", "--detach", "--data", s.data}, s.flags...)
	o, err := runProgram(ctx, os.Stdout, s.program, args...)
	if err == nil && o.code != 0 {
		err = fmt.Errorf("up: %s", o)
	}
	if err != nil {
		return errors.Join(err, fmt.Errorf("%s", s.logTail(time.Time{})))
	}
	_, err = s.status(ctx)
	return err
}

// stopWithin is what a stop of everything in order may take.
const stopWithin = 10 * time.Second

// down stops the platform, and reports if that took too long or left a process.
func (s *site) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, _ = s.status(ctx) // notes the pids of late restarts; nothing may be running
	o, err := s.run(ctx, "down")
	if err == nil && o.code != 0 {
		err = fmt.Errorf("down: %s", o)
	}
	if err == nil && o.took > stopWithin {
		err = fmt.Errorf("down took %.1f s, want at most %s", o.took.Seconds(), stopWithin)
	}
	left := s.left()
	for _, pid := range left {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it may end by itself meanwhile
	}
	if len(left) > 0 {
		err = errors.Join(err, fmt.Errorf("down left the processes %v", left))
	}
	return err
}

// killAll kills every process of every site: the last resort.
func killAll() {
	sitesMu.Lock()
	defer sitesMu.Unlock()
	for _, s := range sites {
		s.kill()
	}
}

// kill kills every process of the platform at once, the supervisor first, and returns their pids.
func (s *site) kill() []int {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	pids := []int{}
	if st, err := s.status(ctx); err == nil {
		pids = append(pids, st.PID)
	}
	pids = append(pids, s.left()...) // what status has just seen, and what it has not
	for _, pid := range pids {
		_ = syscall.Kill(pid, syscall.SIGKILL) // children die with their supervisor where the system can do that
	}
	return pids
}

// left lists the processes that were seen of the platform and still exist.
func (s *site) left() []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left []int
	for pid := range s.pids {
		if s.alive(pid) {
			left = append(left, pid)
		}
	}
	return left
}

// alive tells whether pid is still a process of this platform, and not one that got its number later.
func (s *site) alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	out, err := exec.Command("ps", "-o", "stat=,args=", "-p", strconv.Itoa(pid)).Output()
	if errors.Is(err, exec.ErrNotFound) {
		return true // nobody can tell
	}
	line := strings.TrimSpace(string(out))
	if err != nil || strings.HasPrefix(line, "Z") {
		return false
	}
	for _, mark := range []string{s.data, filepath.Dir(s.program) + string(filepath.Separator), "daprd", "placement", "scheduler", "sentry"} {
		if strings.Contains(line, mark) {
			return true
		}
	}
	return false
}

// process and status are what the tests need of status --json.
type process struct {
	Name     string `json:"name"`
	PID      int    `json:"pid"`
	Healthy  bool   `json:"healthy"`
	Restarts int    `json:"restarts"`
	RSSBytes int64  `json:"rss_bytes"`
	Problem  string `json:"problem"`
}

type status struct {
	Healthy   bool      `json:"healthy"`
	PID       int       `json:"pid"`
	RSSBytes  int64     `json:"rss_bytes"`
	Processes []process `json:"processes"`
}

func (st status) process(name string) process {
	for _, p := range st.Processes {
		if p.Name == name {
			return p
		}
	}
	return process{}
}

// problems lists what is not healthy.
func (st status) problems() string {
	var b strings.Builder
	for _, p := range st.Processes {
		if !p.Healthy {
			fmt.Fprintf(&b, "%s: %s; ", p.Name, p.Problem)
		}
	}
	return b.String()
}

func (s *site) status(ctx context.Context) (status, error) {
	var st status
	o, err := s.run(ctx, "status", "--json")
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal([]byte(o.stdout), &st); err != nil {
		return st, fmt.Errorf("status --json: %w: %s", err, o)
	}
	if st.PID == 0 {
		return st, fmt.Errorf("status: %s", o)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pids[st.PID] = true
	for _, p := range st.Processes {
		if p.PID > 0 {
			s.pids[p.PID] = true
		}
	}
	return st, nil
}

// healthyWithin is how long everything may take to be well again after a restart.
const healthyWithin = 2 * time.Minute

// healthy waits until every process is.
func (s *site) healthy(t *testing.T) status {
	t.Helper()
	var st status
	eventually(t, healthyWithin, "every process is healthy", func() (err error) {
		if st, err = s.status(t.Context()); err == nil && !st.Healthy {
			err = errors.New(st.problems())
		}
		return err
	})
	return st
}

// use is how a test takes a platform: it waits until that is healthy, and shows what the processes have to say when
// the test has failed.
func (s *site) use(t *testing.T) *site {
	t.Helper()
	start := time.Now()
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.logTail(start))
		}
	})
	s.healthy(t)
	return s
}

// command runs a command that must end with the exit code want.
func (s *site) command(t *testing.T, want int, args ...string) outcome {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	o, err := s.run(ctx, args...)
	if err != nil {
		t.Fatal(err)
	}
	if o.code != want {
		t.Fatalf("dishmesh %s: want exit code %d, got %s", strings.Join(args, " "), want, o)
	}
	return o
}

// verdict is the answer of audit --json.
type verdict struct {
	OK         bool           `json:"ok"`
	InFlight   int            `json:"in_flight"`
	Orders     map[string]int `json:"orders"`
	Invariants []struct {
		ID         int      `json:"id"`
		Name       string   `json:"name"`
		OK         bool     `json:"ok"`
		Checked    int      `json:"checked"`
		Violations []string `json:"violations"`
	} `json:"invariants"`
}

// audit runs the audit, which waits until every order has ended, and wants its exit code.
func (s *site) audit(t *testing.T, want int) verdict {
	t.Helper()
	o := s.command(t, want, "audit", "--json", "--wait", "60s")
	v, err := readVerdict(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func readVerdict(o outcome) (v verdict, err error) {
	if err := json.Unmarshal([]byte(o.stdout), &v); err != nil {
		return v, fmt.Errorf("audit --json: %w: %s", err, o)
	}
	return v, nil
}

// auditGreen wants every invariant to hold and every order to have ended.
func (s *site) auditGreen(t *testing.T) {
	t.Helper()
	v := s.audit(t, 0)
	if !v.OK || v.InFlight != 0 || len(v.Invariants) == 0 {
		t.Errorf("audit: want ok with nothing in flight, got %+v", v)
	}
	total := 0
	for _, n := range v.Orders {
		total += n
	}
	if total == 0 || v.Invariants[0].Checked < total {
		t.Errorf("audit: %d orders, of which invariant %d checked %d", total, v.Invariants[0].ID, v.Invariants[0].Checked)
	}
}

// eventually polls until what holds is true, that is f gives no error.
func eventually(t *testing.T, within time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 200*time.Millisecond) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s: %v", within, what, err)
		}
		select {
		case <-time.After(wait):
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, t.Context().Err())
		}
	}
}
