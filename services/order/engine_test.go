package order

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
)

// stuckEngine takes no worker on until it was shut down, which takes as long as a worker's stream is open.
type stuckEngine struct {
	engine
	looks, shutdowns, workers, streams atomic.Int32
}

func (e *stuckEngine) StartWorker(ctx context.Context, _ *workflow.Registry) error {
	if e.shutdowns.Load() > 0 && e.streams.Load() > 0 {
		return errors.New("it is still ending")
	}
	e.workers.Add(1)
	e.streams.Add(1)
	context.AfterFunc(ctx, func() { e.streams.Add(-1) })
	return nil
}

func (e *stuckEngine) WorkflowWorkers(context.Context) (int, error) {
	e.looks.Add(1)
	if e.shutdowns.Load() > 0 {
		return 1, nil
	}
	return 0, nil
}

func (e *stuckEngine) Shutdown(context.Context) error {
	e.shutdowns.Add(1)
	return nil
}

// awayEngine can't be asked.
type awayEngine struct {
	engine
	looks atomic.Int32
}

func (e *awayEngine) StartWorker(context.Context, *workflow.Registry) error { return nil }

func (e *awayEngine) WorkflowWorkers(context.Context) (int, error) {
	e.looks.Add(1)
	return 0, errors.New("away")
}

func (e *awayEngine) Shutdown(context.Context) error { panic("there is nothing to end") }

func TestWorkEndsAStuckSidecarAndItsWorker(t *testing.T) {
	engine := &stuckEngine{}
	s := &Service{log: discard(), sidecar: engine, engine: engine}
	work(t, s)
	runtest.Eventually(t, "the sidecar was ended and another worker taken on", func() bool {
		return engine.shutdowns.Load() == 1 && engine.workers.Load() == 2 && s.Ready() == nil
	})
	if got := engine.looks.Load(); got < lostAfter {
		t.Errorf("ended after %d looks, want at least %d", got, lostAfter)
	}
	after := engine.looks.Load()
	runtest.Eventually(t, "it is looked at further", func() bool { return engine.looks.Load() > after+2*lostAfter })
	if s, w, open := engine.shutdowns.Load(), engine.workers.Load(), engine.streams.Load(); s != 1 || w != 2 || open != 1 {
		t.Errorf("ended %d times, %d workers of which %d are left, want 1, 2 and 1", s, w, open)
	}
}

func TestWorkLeavesASidecarThatIsAway(t *testing.T) {
	engine := &awayEngine{}
	work(t, &Service{log: discard(), sidecar: engine, engine: engine})
	runtest.Eventually(t, "it was looked at often", func() bool { return engine.looks.Load() > 4*lostAfter })
}

func work(t *testing.T, s *Service) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); s.work(ctx, nil, time.Millisecond) }()
	t.Cleanup(func() { cancel(); <-done })
}
