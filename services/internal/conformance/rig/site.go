package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/conformance"
)

// Site implements conformance.Platform with the commands that people use: up, load, audit, down.
type Site struct {
	// Self is the dishmesh program.
	Self    string
	Profile string
	// Data is the platform's own data folder.
	Data string
}

// Orders implements conformance.Platform.
func (s Site) Orders(ctx context.Context, n int, say func(string)) (r conformance.OrdersReport, err error) {
	p, err := (&ports{}).several(2)
	if err != nil {
		return r, err
	}
	say("starting the platform")
	up, err := s.up(ctx, p[0], p[1])
	if err != nil {
		return r, err
	}
	defer up.stop()
	say(fmt.Sprintf("placing %d orders", n))
	var load struct {
		Placed          int            `json:"placed"`
		Ended           int            `json:"ended"`
		Stuck           int            `json:"stuck"`
		Refused         int            `json:"refused"`
		Unexpected      map[string]int `json:"unexpected"`
		OrdersPerSecond float64        `json:"orders_per_second"`
	}
	if err := s.ask(ctx, &load, "load", "--orders", strconv.Itoa(n), "--concurrency", "10", "--outcomes", "mixed", "--timeout", "2m"); err != nil {
		return r, err
	}
	r = conformance.OrdersReport{Placed: load.Placed, Ended: load.Ended, Stuck: load.Stuck, Refused: load.Refused, PerSecond: load.OrdersPerSecond}
	for _, k := range load.Unexpected {
		r.Unexpected += k
	}
	say("auditing")
	var audit struct {
		Invariants []struct {
			Name       string   `json:"name"`
			OK         bool     `json:"ok"`
			Violations []string `json:"violations"`
		} `json:"invariants"`
	}
	if err := s.ask(ctx, &audit, "audit", "--wait", "1m"); err != nil {
		return r, err
	}
	for _, v := range audit.Invariants {
		if v.OK {
			r.Held++
			continue
		}
		text := v.Name
		if len(v.Violations) > 0 {
			text += ": " + v.Violations[0]
		}
		r.Broken = append(r.Broken, text)
	}
	return r, nil
}

// running is the platform in the foreground of a child, whose end ends everything.
type running struct {
	cmd  *exec.Cmd
	done chan error
}

// up starts the platform and returns when it is ready.
func (s Site) up(ctx context.Context, port, cityPort int) (*running, error) {
	cmd := exec.Command(s.Self, "up", "--json", "--data", s.Data, "--profile", s.Profile, "--time-scale", "0",
		"--port", strconv.Itoa(port), "--city-port", strconv.Itoa(cityPort))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the platform: %w", err)
	}
	r := &running{cmd: cmd, done: make(chan error, 1)}
	ready := make(chan bool, 1)
	go func() {
		var answer struct {
			Ready bool `json:"ready"`
		}
		dec := json.NewDecoder(out)
		ready <- dec.Decode(&answer) == nil && answer.Ready
		_, _ = io.Copy(io.Discard, out)
		r.done <- cmd.Wait()
	}()
	select {
	case ok := <-ready:
		if ok {
			return r, nil
		}
		r.stop()
		return nil, fmt.Errorf("the platform does not start: %s", strings.TrimSpace(said.String()))
	case <-time.After(5 * time.Minute):
		r.stop()
		return nil, errors.New("the platform was not ready within 5 minutes")
	case <-ctx.Done():
		r.stop()
		return nil, ctx.Err()
	}
}

// stop ends the platform in order; its supervisor ends all that it has started.
func (r *running) stop() {
	_ = r.cmd.Process.Signal(os.Interrupt) // it may have ended
	select {
	case <-r.done:
	case <-time.After(30 * time.Second):
		_ = r.cmd.Process.Kill()
		<-r.done
	}
}

// ask runs a command that answers with JSON. Exit code 1 is an answer, too.
func (s Site) ask(ctx context.Context, into any, args ...string) error {
	cmd := exec.CommandContext(ctx, s.Self, append(args, "--data", s.Data, "--json")...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) || out.Len() == 0 {
		lines := strings.Split(strings.TrimSpace(said.String()), "\n")
		return fmt.Errorf("dishmesh %s: %w: %s", args[0], errors.Join(err, ctx.Err()), lines[len(lines)-1])
	}
	if err := json.Unmarshal(out.Bytes(), into); err != nil {
		return fmt.Errorf("dishmesh %s: %w", args[0], err)
	}
	return nil
}
