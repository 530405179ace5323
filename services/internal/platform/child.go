package platform

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// Back-off between restarts of a child: it doubles from the first to the last, and starts again once the child has
// run for settleTime.
const (
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 5 * time.Second
	settleTime   = 30 * time.Second
	// startAttempts is how often a part may die before it was ever ready; then the start of the platform fails.
	startAttempts = 4
)

// The watch over parts that run: one that has not answered so often in a row hangs. Together that is well beyond the
// pauses of a machine that is busy, and about as long as a lease of the outbox.
const (
	probeEvery    = 3 * time.Second
	probeFailures = 5
)

// State of a part.
type State string

// The states of a part.
const (
	StateWaiting  State = "waiting"  // for the parts it needs
	StateStarting State = "starting" // process runs, not ready yet
	StateReady    State = "ready"
	StateBackoff  State = "restarting" // died, waits for its next start
	StateHeld     State = "held"       // ended on request, and not started again until it is released
	StateStopped  State = "stopped"
	StateFailed   State = "failed" // never became ready
)

// child watches over one part.
type child struct {
	part  Part
	sup   *Supervisor
	ready chan struct{} // closed when ready for the first time
	done  chan struct{} // closed when the child has stopped for good

	mu       sync.Mutex
	state    State
	cmd      *exec.Cmd
	pid      int
	identity string
	started  time.Time
	restarts int
	lastExit string
	quick    bool          // the next restart needs no back-off, because somebody asked for it
	held     chan struct{} // not nil: the next start waits until it is closed
}

func (c *child) setState(s State) {
	c.mu.Lock()
	c.state = s
	c.mu.Unlock()
}

// run keeps the part running until the context ends, then leaves the stopping to stop.
func (c *child) run(ctx context.Context) {
	defer close(c.done)
	for _, need := range c.part.Needs {
		select {
		case <-c.sup.children[need].ready:
		case <-ctx.Done():
			c.setState(StateStopped)
			return
		}
	}
	backoff := firstBackoff
	everReady := false
	for attempt := 1; ; attempt++ {
		if !c.awaitRelease(ctx) {
			c.setState(StateStopped)
			return
		}
		begun := time.Now()
		err := c.once(ctx, begun, &everReady)
		if ctx.Err() != nil {
			c.setState(StateStopped)
			return
		}
		c.mu.Lock()
		c.lastExit, c.pid, c.cmd = err.Error(), 0, nil
		c.state = StateBackoff
		quick, held := c.quick, c.held
		c.quick = false
		if held != nil { // ended on request: that is no failure
			c.restarts++
		}
		c.mu.Unlock()
		if held != nil {
			backoff = firstBackoff
			continue
		}
		if !everReady && attempt >= startAttempts {
			c.setState(StateFailed)
			c.sup.fail(c, err)
			return
		}
		if time.Since(begun) >= settleTime {
			backoff = firstBackoff
		}
		wait := backoff
		if quick {
			wait = 0
		}
		c.sup.event(Event{Part: c.part.Name, State: StateBackoff, Detail: err.Error(), Took: wait})
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			c.setState(StateStopped)
			return
		}
		backoff = min(2*backoff, lastBackoff)
		c.mu.Lock()
		c.restarts++
		c.mu.Unlock()
	}
}

// once starts the process, reports when it is ready and returns when it has ended.
func (c *child) once(ctx context.Context, begun time.Time, everReady *bool) error {
	cmd, logFile, err := c.command()
	if err != nil {
		return err
	}
	defer logFile.Close()
	c.setState(StateStarting)
	c.sup.event(Event{Part: c.part.Name, State: StateStarting})
	if err := c.sup.spawn.start(cmd); err != nil {
		return fmt.Errorf("cannot start %s: %w", c.part.Path, err)
	}
	identity, err := processIdentity(cmd.Process.Pid)
	if err != nil {
		identity = "" // it has ended already; Wait tells why
	}
	c.mu.Lock()
	c.cmd, c.pid, c.identity, c.started = cmd, cmd.Process.Pid, identity, begun
	held := c.held != nil
	c.mu.Unlock()
	if held { // while it was being started
		c.signal(syscall.SIGKILL)
	}
	c.sup.changed()

	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	readyCtx, cancel := context.WithTimeout(ctx, c.part.ReadyWithin)
	defer cancel()
	ready := c.part.Ready
	if c.part.FirstReady != nil {
		ready = c.part.FirstReady()
	}
	becameReady := make(chan error, 1)
	go func() { becameReady <- pollReady(readyCtx, ready) }()
	watchCtx, endWatch := context.WithCancel(ctx)
	defer endWatch()
	hangs := make(chan error, 1)
	for {
		select {
		case err := <-exited:
			return fmt.Errorf("%s ended: %s", c.part.Name, exitText(err))
		case err := <-becameReady:
			becameReady = nil
			if err == nil {
				c.setState(StateReady)
				if !*everReady {
					*everReady = true
					close(c.ready)
				}
				c.sup.event(Event{Part: c.part.Name, State: StateReady, PID: cmd.Process.Pid, Took: time.Since(begun)})
				go func() { hangs <- c.watch(watchCtx) }()
				continue
			}
			if ctx.Err() != nil {
				continue // stopping: the process is being ended by stop
			}
			c.signal(syscall.SIGKILL)
			<-exited
			return fmt.Errorf("%s was not ready within %s: %w", c.part.Name, c.part.ReadyWithin, err)
		case err := <-hangs:
			if ctx.Err() != nil {
				continue
			}
			c.signal(syscall.SIGKILL)
			<-exited
			return fmt.Errorf("%s hung and was killed: %w", c.part.Name, err)
		}
	}
}

func (c *child) command() (*exec.Cmd, *os.File, error) {
	var extra []string
	if c.part.Env != nil {
		var err error
		if extra, err = c.part.Env(); err != nil {
			return nil, nil, err
		}
	}
	logFile, err := openLog(c.sup.cfg.LogPath(c.part.Name))
	if err != nil {
		return nil, nil, err
	}
	cmd := exec.Command(c.part.Path, c.part.Args...)
	cmd.Dir = c.part.Dir
	cmd.Env = append(baseEnv(), extra...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = childAttr()
	return cmd, logFile, nil
}

// baseEnv passes on what programs need of the caller's environment and nothing else: a stray variable such as
// NAMESPACE or APP_PORT would change what a sidecar does.
func baseEnv() []string {
	var out []string
	for _, key := range []string{"PATH", "HOME", "USER", "TMPDIR", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "GOCOVERDIR", "GOTRACEBACK", "GORACE"} {
		if v, ok := os.LookupEnv(key); ok {
			out = append(out, key+"="+v)
		}
	}
	return out
}

// pollReady asks until the answer is yes or the context ends, then returns the last refusal.
func pollReady(ctx context.Context, ready func(context.Context) error) error {
	if ready == nil {
		return nil
	}
	wait := 20 * time.Millisecond
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return err
		}
		wait = min(wait*3/2, 200*time.Millisecond)
	}
}

// watch probes the part until the context ends, or until it has not answered several times in a row, which is the
// error it then returns.
func (c *child) watch(ctx context.Context) error {
	alive := c.part.Alive
	if alive == nil {
		alive = c.part.Ready
	}
	if alive == nil {
		<-ctx.Done()
		return nil
	}
	every, limit := c.sup.cfg.ProbeEvery, c.sup.cfg.ProbeFailures
	tick := time.NewTicker(every)
	defer tick.Stop()
	for failures := 0; ; {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
		err := alive(ctx)
		if err == nil || ctx.Err() != nil {
			failures = 0
			continue
		}
		if failures++; failures >= limit {
			return fmt.Errorf("it did not answer %d probes in a row, %s apart: %w", failures, every, err)
		}
	}
}

// signal sends to the child's whole process group.
func (c *child) signal(sig syscall.Signal) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pid == 0 {
		return false
	}
	return syscall.Kill(-c.pid, sig) == nil
}

// stop ends the process: SIGTERM, and SIGKILL once the grace is over. The run context must be cancelled already.
func (c *child) stop(grace time.Duration) {
	c.signal(syscall.SIGTERM)
	select {
	case <-c.done:
	case <-time.After(grace):
		c.signal(syscall.SIGKILL)
		<-c.done
	}
	c.sup.event(Event{Part: c.part.Name, State: StateStopped})
}

// restart ends the process for another start at once: orderly, or with SIGKILL when kill is set.
func (c *child) restart(kill bool) error {
	sig := syscall.SIGTERM
	if kill {
		sig = syscall.SIGKILL
	}
	c.mu.Lock()
	if c.held != nil {
		c.mu.Unlock()
		return fmt.Errorf("%s is held: release it first", c.part.Name)
	}
	c.quick = !kill
	pid, cmd := c.pid, c.cmd
	c.mu.Unlock()
	if !c.signal(sig) {
		return fmt.Errorf("%s is not running", c.part.Name)
	}
	if !kill {
		c.killAfterGrace(pid, cmd)
	}
	return nil
}

// killAfterGrace kills the process if it is still the child's once its grace is over.
func (c *child) killAfterGrace(pid int, cmd *exec.Cmd) {
	time.AfterFunc(c.part.Grace, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.cmd == cmd && cmd != nil {
			_ = syscall.Kill(-pid, syscall.SIGKILL)
		}
	})
}

func exitText(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return "killed by signal " + ws.Signal().String()
		}
		return fmt.Sprintf("exit status %d", exit.ExitCode())
	}
	if err != nil {
		return err.Error()
	}
	return "exit status 0"
}
