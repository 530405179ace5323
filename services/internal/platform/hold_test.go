package platform

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A part that is held stays down until it is released, whatever is asked of it meanwhile.
func TestSupervisorHoldsAndReleases(t *testing.T) {
	for _, kill := range []bool{true, false} {
		w := newWorld(t)
		s := start(t, SupervisorConfig{Parts: []Part{w.part("worker", addresses(t, 1)[0])}, LogPath: w.log})
		if err := s.Release("worker"); err == nil {
			t.Error("release of a part that is not held: got no error")
		}
		if err := s.Hold("worker", kill); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the hold", func() bool { return s.Processes(t.Context())[0].State == StateHeld })
		if err := s.Hold("worker", kill); err == nil {
			t.Error("a second hold: got no error")
		}
		if err := s.Restart("worker", true); err == nil {
			t.Error("a kill of a part that is held: got no error")
		}
		p := s.Processes(t.Context())[0]
		if p.PID != 0 || p.Healthy || p.State != StateHeld {
			t.Errorf("a held part: got %+v, want it down", p)
		}
		if err := s.Release("worker"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the release", func() bool {
			p := s.Processes(t.Context())[0]
			return p.Healthy && p.Restarts == 1
		})
	}
}

// A part that dies is not started again when it is held before its next start.
func TestSupervisorHoldsBetweenTwoStarts(t *testing.T) {
	w := newWorld(t)
	s := start(t, SupervisorConfig{Parts: []Part{w.part("worker", addresses(t, 1)[0])}, LogPath: w.log})
	if err := s.Restart("worker", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end", func() bool { return s.Processes(t.Context())[0].State == StateBackoff })
	if err := s.Hold("worker", true); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the hold", func() bool { return s.Processes(t.Context())[0].State == StateHeld })
	starts := slices.DeleteFunc(w.journal(t), func(line string) bool { return line != "worker-started" })
	if len(starts) != 1 {
		t.Errorf("started %d times, want once", len(starts))
	}
}

// A process that lives and does not answer is killed and started again.
func TestSupervisorRestartsWhatHangs(t *testing.T) {
	w := newWorld(t)
	var log eventLog
	part := w.part("worker", addresses(t, 1)[0])
	alive := part.Ready
	part.Alive = func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
		defer cancel()
		return alive(ctx)
	}
	s := start(t, SupervisorConfig{Parts: []Part{part}, LogPath: w.log, OnEvent: log.add, ProbeEvery: 50 * time.Millisecond, ProbeFailures: 3})
	before := s.Processes(t.Context())[0]
	if err := syscall.Kill(before.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the restart of what hangs", func() bool {
		p := s.Processes(context.Background())[0]
		return p.Healthy && p.Restarts == 1 && p.PID != before.PID
	})
	log.mu.Lock()
	defer log.mu.Unlock()
	told := slices.ContainsFunc(log.events, func(e Event) bool {
		return e.State == StateBackoff && strings.Contains(e.Detail, "worker hung and was killed") && strings.Contains(e.Detail, "3 probes")
	})
	if !told {
		t.Errorf("events: got %+v, want one that tells of the hang", log.events)
	}
}

// One that fails its probe now and then, or says that it is not ready, is left alone.
func TestSupervisorLeavesAloneWhatAnswers(t *testing.T) {
	w := newWorld(t)
	part := w.part("worker", addresses(t, 1)[0])
	probes := make(chan struct{})
	n := 0
	part.Alive = func(ctx context.Context) error {
		probes <- struct{}{}
		if n++; n%3 != 0 {
			return context.DeadlineExceeded
		}
		return nil
	}
	s := start(t, SupervisorConfig{Parts: []Part{part}, LogPath: w.log, ProbeEvery: time.Millisecond, ProbeFailures: 3})
	for range 12 {
		<-probes
	}
	if p := s.Processes(t.Context())[0]; p.Restarts != 0 || p.State != StateReady {
		t.Errorf("got %+v, want it untouched", p)
	}
	go func() { // the watch may be waiting to be counted
		for {
			select {
			case <-probes:
			case <-t.Context().Done():
				return
			}
		}
	}()
}
