package e2e

import (
	"fmt"
	"testing"
	"time"
)

// Every process of the platform is killed at once in the middle of a load, and started again on the same data. The
// customers carry on, every order that was acknowledged ends, and the audit is green.
func TestKillEverything(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: kills every process and starts the platform again")
	}
	s := shared.use(t)
	l := s.load(t, 60, 20, "--outcomes", "mixed", "--seed", "11")
	l.placed(t, 25) // some have ended, others are placed or on their way
	pids := s.kill()
	if len(pids) < 20 {
		t.Fatalf("killed only %v", pids)
	}
	eventually(t, 20*time.Second, "nothing is left", func() error {
		if left := s.left(); len(left) > 0 {
			return fmt.Errorf("processes %v are", left)
		}
		return nil
	})
	s.command(t, 1, "status")
	select {
	case <-l.done:
		t.Fatalf("the load has ended too early: %v %s", l.err, l.ended)
	default:
	}
	start := time.Now()
	if err := s.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Logf("up again on the same data after %.1f s", time.Since(start).Seconds())
	l.result(t)
	s.healthy(t)
	s.auditGreen(t)
	s.operator(t) // with the password of before
	s.order(t, 0)
}
