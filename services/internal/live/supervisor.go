package live

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Supervisor is the first process of the container: it runs the service, and a newer program of it when one was sent.
//
// To Kubernetes it behaves as the service itself: SIGTERM is passed on, and when the program ends it ends with the same
// exit code. With one exception: a program that was sent and ends before it listens is put aside, and the image's own
// runs again, so that a mistake does not cost the pod.
type Supervisor struct {
	Dir      string        // the shared folder
	Command  []string      // the image's own program and its arguments
	Address  string        // where the program listens once it is up; "" for one that doesn't
	Grace    time.Duration // how long a program may take to end before it is killed
	Patience time.Duration // how long a program may take to listen
	Log      *slog.Logger

	child *child
}

// child is the program that runs.
type child struct {
	cmd   *exec.Cmd
	sum   [sha256.Size]byte // of its file
	sent  bool              // it was sent, it is not the image's
	ended chan struct{}     // closed when it ended
}

// request is a call for a newer program. Exactly one answer is sent.
type request struct{ answer chan error }

// errSame says that there is nothing to do.
var errSame = errors.New("this program runs already")

// Run runs the service until it ends or ctx does, and returns its exit code.
func (s *Supervisor) Run(ctx context.Context) (int, error) {
	requests, err := s.listen(ctx)
	if err != nil {
		return 0, err
	}
	// The first start is watched like any other, because a container that is started again finds the program that was
	// sent to the one before.
	cause := s.start()
	if cause == nil {
		cause = s.settle(ctx)
	}
	if cause != nil && ctx.Err() == nil {
		if err := s.fallBack(cause); err != nil {
			return 0, err
		}
	}
	if s.child == nil {
		return 0, cause
	}
	for {
		select {
		case <-ctx.Done():
			// As long as Kubernetes grants; it kills what takes longer.
			s.child.signal(syscall.SIGTERM)
			return s.child.code(), nil
		case <-s.child.ended:
			return s.child.code(), nil
		case r := <-requests:
			r.answer <- s.restart(ctx)
		}
	}
}

// restart runs the program that was sent last, unless it runs already.
func (s *Supervisor) restart(ctx context.Context) error {
	path, sent := s.program()
	if sum, err := sumOf(path); err == nil && sum == s.child.sum {
		return errSame
	}
	s.stop()
	cause := s.start()
	if cause == nil {
		cause = s.settle(ctx)
	}
	switch {
	case cause == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err() // the container is being stopped
	case !sent:
		return cause
	}
	if err := s.fallBack(cause); err != nil {
		return errors.Join(cause, err)
	}
	return fmt.Errorf("%w; the image's own program runs again", cause)
}

// fallBack puts a program that was sent and failed aside, and runs the image's own. If it is the image's that failed
// there is nothing to fall back to: its end is the container's.
func (s *Supervisor) fallBack(cause error) error {
	path, sent := s.program()
	if !sent {
		return nil
	}
	s.Log.Error("the program that was sent is put aside, the image's own runs again", "error", cause)
	s.stop()
	if err := os.Rename(path, filepath.Join(s.Dir, rejected)); err != nil {
		return err
	}
	return s.start()
}

// program is the file to run: the one that was sent, if there is one.
func (s *Supervisor) program() (path string, sent bool) {
	path = filepath.Join(s.Dir, Program)
	if _, err := os.Stat(path); err == nil {
		return path, true
	}
	return s.Command[0], false
}

func (s *Supervisor) start() error {
	path, sent := s.program()
	sum, err := sumOf(path)
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	cmd := exec.Command(path, s.Command[1:]...)
	cmd.Args[0] = s.Command[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	s.child = &child{cmd: cmd, sum: sum, sent: sent, ended: make(chan struct{})}
	go func(c *child) {
		_ = c.cmd.Wait() // code() tells how it ended
		close(c.ended)
	}(s.child)
	s.Log.Info("started", "program", path, "sent", sent)
	return nil
}

// settle waits until the program listens. It fails if the program ends before that, or takes too long.
func (s *Supervisor) settle(ctx context.Context) error {
	if s.Address == "" {
		return nil
	}
	late := time.After(s.Patience)
	try := time.NewTicker(20 * time.Millisecond)
	defer try.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.child.ended:
			return fmt.Errorf("the program ended with exit code %d before it listened on %s; its log says why", s.child.code(), s.Address)
		case <-late:
			return fmt.Errorf("the program does not listen on %s after %s", s.Address, s.Patience)
		case <-try.C:
		}
		if conn, err := net.DialTimeout("tcp", s.Address, time.Second); err == nil {
			return conn.Close()
		}
	}
}

// stop ends the program: kindly, and after the grace period at once.
func (s *Supervisor) stop() {
	if s.child == nil {
		return // nothing could be started yet
	}
	s.child.signal(syscall.SIGTERM)
	select {
	case <-s.child.ended:
		return
	case <-time.After(s.Grace):
	}
	s.Log.Warn("killed, because it did not end in time", "grace", s.Grace.String())
	s.child.signal(syscall.SIGKILL)
	<-s.child.ended
}

func (c *child) signal(sig os.Signal) {
	_ = c.cmd.Process.Signal(sig) // it fails only if the process ended, which is what is wanted
}

// code is the exit code of a program that ended, as a shell tells it: 128 and the signal for one that was killed.
func (c *child) code() int {
	<-c.ended
	if status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return c.cmd.ProcessState.ExitCode()
}

func sumOf(name string) (sum [sha256.Size]byte, err error) {
	file, err := os.Open(name)
	if err != nil {
		return sum, err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return sum, err
	}
	return [sha256.Size]byte(hash.Sum(nil)), nil
}
