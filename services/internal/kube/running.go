package kube

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"
)

// Running is a program in a container that goes on until it is told to end, by the end of its standard input.
type Running struct {
	in     io.WriteCloser
	stdout bytes.Buffer
	done   chan error
}

// Start starts a program in a container that ends when its standard input does.
func (c Client) Start(ctx context.Context, at Container, argv ...string) (*Running, error) {
	args := at.exec(true, argv)
	cmd := c.Command(ctx, args...)
	r := &Running{done: make(chan error, 1)}
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &r.stdout, &stderr
	var err error
	if r.in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, &Error{Args: args, Err: err}
	}
	go func() {
		err := cmd.Wait()
		if err != nil {
			err = &Error{Args: args, Stderr: clip(stderr.String()), Err: err}
		}
		r.done <- err
	}()
	return r, nil
}

// End ends the input, waits for the program and returns its standard output.
func (r *Running) End() (string, error) {
	_ = r.in.Close() // it may have ended by itself, which Wait tells
	err := <-r.done
	r.done <- err // for who asks again
	return r.stdout.String(), err
}

var forwarding = regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+) `)

// forwardWithin is how long a port-forward may take to begin.
const forwardWithin = 20 * time.Second

// Forward makes a port of a pod or a service reachable from here, inside of any mesh, and returns the address. It ends
// with ctx, or by stop. Should the pod go, so does the forward.
func (c Client) Forward(ctx context.Context, namespace, target string, port int) (addr string, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	args := []string{"port-forward", "-n", namespace, "--address", "127.0.0.1", target, fmt.Sprintf(":%d", port)}
	cmd := c.Command(ctx, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return "", nil, &Error{Args: args, Err: err}
	}
	found := make(chan string, 1)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stdout); lines.Scan(); {
			if m := forwarding.FindStringSubmatch(lines.Text()); m != nil {
				found <- m[1]
				break
			}
		}
		_, _ = io.Copy(io.Discard, stdout) // it tells of each connection
		_ = cmd.Wait()                     // it ends by being stopped
	}()
	stop = func() { cancel(); <-ended }
	select {
	case addr = <-found:
		return addr, stop, nil
	case <-ended:
		err = &Error{Args: args, Stderr: clip(stderr.String()), Err: errors.New("it ended")}
	case <-time.After(forwardWithin):
		err = &Error{Args: args, Err: fmt.Errorf("it does not begin within %s", forwardWithin)}
	}
	stop()
	return "", nil, err
}
