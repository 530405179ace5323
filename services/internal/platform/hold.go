package platform

import (
	"context"
	"fmt"
	"syscall"
)

// Hold ends a part, orderly or by SIGKILL, and keeps it down until Release: an outage of it that lasts.
func (s *Supervisor) Hold(name string, kill bool) error {
	c, err := s.child(name)
	if err != nil {
		return err
	}
	return c.hold(kill)
}

// Release starts a part that is held.
func (s *Supervisor) Release(name string) error {
	c, err := s.child(name)
	if err != nil {
		return err
	}
	return c.release()
}

// Freeze stops a part's process without ending it (SIGSTOP): it lives and does nothing. The watch finds it and starts
// it again.
func (s *Supervisor) Freeze(name string) error {
	c, err := s.child(name)
	if err != nil {
		return err
	}
	if !c.signal(syscall.SIGSTOP) {
		return fmt.Errorf("%s is not running", name)
	}
	return nil
}

func (c *child) hold(kill bool) error {
	c.mu.Lock()
	if c.held != nil {
		c.mu.Unlock()
		return fmt.Errorf("%s is held already", c.part.Name)
	}
	c.held = make(chan struct{})
	pid, cmd := c.pid, c.cmd
	c.mu.Unlock()
	if kill {
		c.signal(syscall.SIGKILL)
		return nil
	}
	// One that is between two starts has no process: it will not get the next.
	if c.signal(syscall.SIGTERM) {
		c.killAfterGrace(pid, cmd)
	}
	return nil
}

func (c *child) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return fmt.Errorf("%s is not held", c.part.Name)
	}
	close(c.held)
	c.held = nil
	return nil
}

// awaitRelease waits until the part is not held; false if the context ended before.
func (c *child) awaitRelease(ctx context.Context) bool {
	for {
		c.mu.Lock()
		held := c.held
		if held != nil {
			c.state = StateHeld
		}
		c.mu.Unlock()
		if held == nil {
			return true
		}
		c.sup.event(Event{Part: c.part.Name, State: StateHeld})
		select {
		case <-held:
		case <-ctx.Done():
			return false
		}
	}
}
