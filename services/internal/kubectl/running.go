package kubectl

import (
	"bytes"
	"context"
	"io"
)

// Running is a program in a container that goes on until it is told to end, by the end of its standard input.
type Running struct {
	in     io.WriteCloser
	stdout bytes.Buffer
	done   chan error
}

// Start starts a program in a container that ends when its standard input does.
func (c Cluster) Start(ctx context.Context, at Container, argv ...string) (*Running, error) {
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
