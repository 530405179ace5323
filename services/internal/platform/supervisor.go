package platform

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// Event is something that happened to a part.
type Event struct {
	Part   string
	State  State
	PID    int
	Detail string
	// Took is the time to become ready, or, for StateBackoff, the time until the next start.
	Took time.Duration
}

// SupervisorConfig says what a Supervisor runs.
type SupervisorConfig struct {
	Parts []Part
	// LogPath names the log file of a part.
	LogPath func(name string) string
	// OnEvent is told of every event, from several goroutines.
	OnEvent func(Event)
	// OnChange is called after the set of processes has changed.
	OnChange func()
	// ProbeEvery is the pause between two probes of a part that runs, default 3 s. One that has failed ProbeFailures of
	// them in a row, default 5, hangs: it is killed and started again.
	ProbeEvery    time.Duration
	ProbeFailures int
}

// Supervisor keeps a set of parts running.
type Supervisor struct {
	cfg      SupervisorConfig
	order    []*child
	children map[string]*child
	spawn    *spawner
	cancel   context.CancelFunc
	failed   chan error
	stopOnce sync.Once
}

// NewSupervisor checks that every need exists and that no two parts need each other in a circle.
func NewSupervisor(cfg SupervisorConfig) (*Supervisor, error) {
	if cfg.ProbeEvery == 0 {
		cfg.ProbeEvery = probeEvery
	}
	if cfg.ProbeFailures == 0 {
		cfg.ProbeFailures = probeFailures
	}
	s := &Supervisor{cfg: cfg, children: map[string]*child{}, failed: make(chan error, len(cfg.Parts)+1)}
	for _, p := range cfg.Parts {
		if s.children[p.Name] != nil {
			return nil, fmt.Errorf("two parts are named %s", p.Name)
		}
		// A part may only need what was listed before it, so there can be no circle.
		for _, need := range p.Needs {
			if s.children[need] == nil {
				return nil, fmt.Errorf("part %s needs %s, which is not listed before it", p.Name, need)
			}
		}
		c := &child{part: p, sup: s, ready: make(chan struct{}), done: make(chan struct{}), state: StateWaiting}
		s.children[p.Name] = c
		s.order = append(s.order, c)
	}
	return s, nil
}

// StartError is the failure of a part to become ready, with the end of its log.
type StartError struct {
	Part    string
	Err     error
	LogPath string
	LogTail []string
}

func (e *StartError) Error() string { return fmt.Sprintf("%v (log: %s)", e.Err, e.LogPath) }

func (e *StartError) Unwrap() error { return e.Err }

// Start starts every part as soon as what it needs is ready and returns when all are. After an error the caller must
// still call Stop.
func (s *Supervisor) Start(ctx context.Context) error {
	runCtx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.spawn = newSpawner()
	for _, c := range s.order {
		go c.run(runCtx)
	}
	go s.rotateLogs(runCtx)
	for _, c := range s.order {
		select {
		case <-c.ready:
		case err := <-s.failed:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// fail reports a part that never became ready.
func (s *Supervisor) fail(c *child, err error) {
	path := s.cfg.LogPath(c.part.Name)
	lines, tailErr := TailLines(path, 10)
	if tailErr != nil {
		lines = []string{tailErr.Error()}
	}
	s.event(Event{Part: c.part.Name, State: StateFailed, Detail: err.Error()})
	s.failed <- &StartError{Part: c.part.Name, Err: err, LogPath: path, LogTail: lines}
}

// Stop ends every part, the last phase first, all parts of a phase together. It is safe to call twice.
func (s *Supervisor) Stop() {
	s.stopOnce.Do(func() {
		if s.cancel == nil {
			return
		}
		s.cancel()
		phases := map[Phase][]*child{}
		for _, c := range s.order {
			phases[c.part.Phase] = append(phases[c.part.Phase], c)
		}
		for phase := PhaseCity; phase >= PhaseTrust; phase-- {
			var wg sync.WaitGroup
			for _, c := range phases[phase] {
				wg.Go(func() { c.stop(c.part.Grace) })
			}
			wg.Wait()
		}
		s.spawn.close()
	})
}

// Restart ends a part and starts it again: orderly, or by SIGKILL when kill is set.
func (s *Supervisor) Restart(name string, kill bool) error {
	c, err := s.child(name)
	if err != nil {
		return err
	}
	return c.restart(kill)
}

func (s *Supervisor) child(name string) (*child, error) {
	if c := s.children[name]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("there is no process named %q; there are %s", name, strings.Join(s.Names(), ", "))
}

// Names lists the parts in the order of their start.
func (s *Supervisor) Names() []string {
	out := make([]string, len(s.order))
	for i, c := range s.order {
		out[i] = c.part.Name
	}
	return out
}

// Process is the state of one part. The keys are stable.
type Process struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	App     string `json:"app,omitempty"`
	PID     int    `json:"pid"`
	State   State  `json:"state"`
	Healthy bool   `json:"healthy"`
	// Restarts counts the starts after the first one.
	Restarts      int     `json:"restarts"`
	RSSBytes      int64   `json:"rss_bytes"`
	UptimeSeconds float64 `json:"uptime_seconds"`
	// Problem says why a part is not healthy, or how it ended last.
	Problem string `json:"problem,omitempty"`
}

// Processes asks every part for its health, all at the same time.
func (s *Supervisor) Processes(ctx context.Context) []Process {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	out := make([]Process, len(s.order))
	var wg sync.WaitGroup
	for i, c := range s.order {
		wg.Go(func() { out[i] = c.process(ctx) })
	}
	wg.Wait()
	var pids []int
	for _, p := range out {
		if p.PID != 0 {
			pids = append(pids, p.PID)
		}
	}
	rss := residentBytes(pids)
	for i := range out {
		out[i].RSSBytes = rss[out[i].PID]
	}
	return out
}

func (c *child) process(ctx context.Context) Process {
	c.mu.Lock()
	p := Process{Name: c.part.Name, Kind: c.part.Kind, App: c.part.App, PID: c.pid, State: c.state, Restarts: c.restarts, Problem: c.lastExit}
	if c.pid != 0 {
		p.UptimeSeconds = time.Since(c.started).Round(time.Millisecond).Seconds()
	}
	c.mu.Unlock()
	if p.State != StateReady {
		if p.Problem == "" {
			p.Problem = string(p.State)
		}
		return p
	}
	p.Healthy = true
	p.Problem = ""
	if c.part.Ready != nil {
		if err := c.part.Ready(ctx); err != nil {
			p.Healthy, p.Problem = false, err.Error()
		}
	}
	return p
}

// records lists the running processes for run.json.
func (s *Supervisor) records() []ProcessRecord {
	var out []ProcessRecord
	for _, c := range s.order {
		c.mu.Lock()
		if c.pid != 0 {
			out = append(out, ProcessRecord{Name: c.part.Name, PID: c.pid, Identity: c.identity})
		}
		c.mu.Unlock()
	}
	return slices.Clip(out)
}

func (s *Supervisor) event(e Event) {
	if s.cfg.OnEvent != nil {
		s.cfg.OnEvent(e)
	}
}

func (s *Supervisor) changed() {
	if s.cfg.OnChange != nil {
		s.cfg.OnChange()
	}
}

// rotateLogs looks after the size of the logs until the context ends.
func (s *Supervisor) rotateLogs(ctx context.Context) {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, c := range s.order {
			if err := rotateLog(s.cfg.LogPath(c.part.Name), logLimit); err != nil {
				s.event(Event{Part: c.part.Name, State: StateReady, Detail: "log rotation: " + err.Error()})
			}
		}
	}
}
