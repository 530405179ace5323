package rig

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a child that can be killed and started again. It lives in a process group of its own, so that Ctrl-C
// reaches this program alone, which then ends its children in order.
type process struct {
	name string
	path string
	args []string
	env  []string
	dir  string
	log  string
	// ready is one try to find out whether it does its work.
	ready  func(context.Context) error
	within time.Duration
	grace  time.Duration
	spawn  *spawner

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

// spawner starts children on one thread that lives as long as they do: on Linux a child that is to die with its parent
// dies with the thread that made it.
type spawner struct{ requests chan func() }

func newSpawner() *spawner {
	s := &spawner{requests: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for do := range s.requests {
			do()
		}
	}()
	return s
}

func (s *spawner) start(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	s.requests <- func() { done <- cmd.Start() }
	return <-done
}

func (s *spawner) close() { close(s.requests) }

// Start starts the process and returns when it is ready. One that runs already is left alone.
func (p *process) Start(ctx context.Context) error {
	p.mu.Lock()
	if p.cmd != nil {
		p.mu.Unlock()
		return nil
	}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.mu.Unlock()
		return err
	}
	defer log.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = p.dir, append(baseEnv(), p.env...), log, log, childAttr()
	if err := p.spawn.start(cmd); err != nil {
		p.mu.Unlock()
		return fmt.Errorf("start %s: %w", p.name, err)
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	p.mu.Unlock()
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		p.mu.Lock()
		if p.cmd == cmd {
			p.cmd = nil
		}
		p.mu.Unlock()
		close(done)
	}()
	ctx, cancel := context.WithTimeout(ctx, p.within)
	defer cancel()
	wait := 20 * time.Millisecond
	for {
		err := p.ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-done:
			return fmt.Errorf("%s ended before it was ready: %s (log: %s)", p.name, lastLine(p.log), p.log)
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready within %s: %w (log: %s)", p.name, p.within, err, p.log)
		case <-time.After(wait):
		}
		wait = min(wait*3/2, 200*time.Millisecond)
	}
}

// Kill kills it with SIGKILL and waits until it is gone.
func (p *process) Kill() error {
	done, ok := p.signal(syscall.SIGKILL)
	if !ok {
		return fmt.Errorf("%s is not running", p.name)
	}
	<-done
	return nil
}

// stop ends it in good order, by force once its grace is over.
func (p *process) stop() {
	done, ok := p.signal(syscall.SIGTERM)
	if !ok {
		return
	}
	select {
	case <-done:
	case <-time.After(p.grace):
		p.signal(syscall.SIGKILL)
		<-done
	}
}

func (p *process) signal(sig syscall.Signal) (<-chan struct{}, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return nil, false
	}
	err := syscall.Kill(-p.cmd.Process.Pid, sig)
	return p.done, err == nil || errors.Is(err, syscall.ESRCH)
}

// baseEnv passes on what programs need of the caller's environment and nothing else.
func baseEnv() []string {
	out := []string{"GOTRACEBACK=single", "GOMAXPROCS=" + strconv.Itoa(max(1, runtime.NumCPU()/2))}
	for _, key := range []string{"PATH", "HOME", "USER", "TMPDIR", "LANG", "TZ"} {
		if v, ok := os.LookupEnv(key); ok {
			out = append(out, key+"="+v)
		}
	}
	return out
}

// lastLine is the end of a log.
func lastLine(path string) string {
	b, err := os.ReadFile(filepath.Clean(path))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

// httpReady is ready when the URL answers with a 2xx status.
func httpReady(url string) func(context.Context) error {
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("%s answers %s", url, resp.Status)
		}
		return nil
	}
}
