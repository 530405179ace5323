// Package tool runs the programs that a cluster is made with: docker, kind, kubectl, helm. Every call is bound to a
// context, written to one log file, and fails with what the program said last.
package tool

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// grace is how long a program has to end by itself after an interrupt, before it is killed.
const grace = 15 * time.Second

// tailLines is how many lines of a failed program's stderr its error carries.
const tailLines = 4

// Command is one call of a program.
type Command struct {
	// Name is the program: a name that the box knows, a name on PATH, or a path.
	Name string
	Args []string
	// Stdin is what the program reads; nil is nothing.
	Stdin io.Reader
	// Dir is the folder it runs in; empty is this process's own.
	Dir string
	// Env is added to the box's environment.
	Env []string
	// Line takes each line of stderr as it comes, for progress. It is called from one goroutine at a time.
	Line func(string)
}

// String is the command as a person would type it, without what stands on stdin.
func (c Command) String() string { return strings.TrimSpace(c.Name + " " + strings.Join(c.Args, " ")) }

// Runner runs programs. Box is the real one; tests answer for the programs.
type Runner interface {
	// Run returns the program's stdout. An error is an *Error where the program ran and failed.
	Run(ctx context.Context, c Command) ([]byte, error)
}

// Error is a program that ended with a failure.
type Error struct {
	Command Command
	// Code is its exit code, or -1 where it ended by a signal.
	Code int
	// Tail is the end of what it wrote to stderr.
	Tail []string
}

// Error implements error in one line.
func (e *Error) Error() string {
	said := strings.Join(e.Tail, " | ")
	if said == "" {
		said = fmt.Sprintf("exit code %d", e.Code)
	}
	return fmt.Sprintf("%s: %s", brief(e.Command), said)
}

// Said reports whether the program's last lines contain a text, whatever its case.
func Said(err error, text string) bool {
	var e *Error
	return errors.As(err, &e) && strings.Contains(strings.ToLower(strings.Join(e.Tail, "\n")), strings.ToLower(text))
}

// brief names a command without its long arguments.
func brief(c Command) string {
	words := []string{c.Name}
	for _, a := range c.Args {
		if len(words) == 4 || len(a) > 40 {
			break
		}
		words = append(words, a)
	}
	return strings.Join(words, " ")
}

// Box knows where the programs are and what environment they run in.
type Box struct {
	// Paths are programs that are not taken from PATH, by name.
	Paths map[string]string
	// Env is added to this process's own environment.
	Env []string
	// Log takes every command with its output and time; nil keeps nothing.
	Log io.Writer

	mu sync.Mutex
}

// Use sets the path of a program.
func (b *Box) Use(name, path string) {
	if b.Paths == nil {
		b.Paths = map[string]string{}
	}
	b.Paths[name] = path
}

// Setenv sets a variable for every program that is run from now on.
func (b *Box) Setenv(name, value string) {
	for i, v := range b.Env {
		if strings.HasPrefix(v, name+"=") {
			b.Env[i] = name + "=" + value
			return
		}
	}
	b.Env = append(b.Env, name+"="+value)
}

// Run implements Runner. When the context ends, the program and all that it started are interrupted, and killed if they
// stay.
func (b *Box) Run(ctx context.Context, c Command) ([]byte, error) {
	path := c.Name
	if p, ok := b.Paths[c.Name]; ok {
		path = p
	}
	cmd := exec.CommandContext(ctx, path, c.Args...)
	cmd.Dir = c.Dir
	cmd.Env = append(append(os.Environ(), b.Env...), c.Env...)
	cmd.Stdin = c.Stdin
	// A group of its own, so that Ctrl-C reaches the children by us, in order, and not by the terminal.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = grace
	var stdout bytes.Buffer
	tail := &tail{line: c.Line}
	cmd.Stdout, cmd.Stderr = &stdout, tail

	start := time.Now()
	err := cmd.Run()
	tail.end()
	if err != nil && cmd.Process != nil && ctx.Err() != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // what ignored the interrupt; mostly nobody is left
	}
	b.write(c, time.Since(start), stdout.Bytes(), tail.all.Bytes(), err)
	switch {
	case err == nil:
		return stdout.Bytes(), nil
	case ctx.Err() != nil:
		return stdout.Bytes(), context.Cause(ctx)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		lines := tail.last
		if len(lines) == 0 {
			lines = lastLines(stdout.String())
		}
		return stdout.Bytes(), &Error{Command: c, Code: exit.ExitCode(), Tail: lines}
	}
	return nil, fmt.Errorf("%s: %w", c.Name, err)
}

// write appends one call to the log. Values on stdin may be secret and are never written.
func (b *Box) write(c Command, took time.Duration, stdout, stderr []byte, err error) {
	if b.Log == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	fmt.Fprintf(b.Log, "%s $ %s\n", time.Now().UTC().Format(time.RFC3339), c)
	const most = 16 << 10
	if err != nil || len(stdout) < 2<<10 {
		_, _ = b.Log.Write(stdout[:min(len(stdout), most)]) // a full disk shows elsewhere
	}
	_, _ = b.Log.Write(stderr[max(0, len(stderr)-most):])
	end := "ok"
	if err != nil {
		end = err.Error()
	}
	fmt.Fprintf(b.Log, "= %s, %.1f s\n", end, took.Seconds())
}

// tail keeps what a program writes to stderr and hands on each line.
type tail struct {
	all  bytes.Buffer
	rest []byte
	last []string
	line func(string)
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	if t.all.Len() < 1<<20 {
		t.all.Write(p)
	}
	t.rest = append(t.rest, p...)
	for {
		i := bytes.IndexAny(t.rest, "\n\r")
		if i < 0 {
			return len(p), nil
		}
		t.take(string(t.rest[:i]))
		t.rest = t.rest[i+1:]
	}
}

func (t *tail) end() {
	t.take(string(t.rest))
	t.rest = nil
}

func (t *tail) take(line string) {
	line = strings.TrimSpace(line)
	if line == "" {
		return
	}
	t.last = append(t.last, line)
	if len(t.last) > tailLines {
		t.last = t.last[1:]
	}
	if t.line != nil {
		t.line(line)
	}
}

func lastLines(text string) []string {
	var t tail
	for line := range strings.SplitSeq(text, "\n") {
		t.take(line)
	}
	return t.last
}
