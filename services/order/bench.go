package order

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// bench runs workflows that do nothing but have as many activities and waits as the saga's happy path, on the
// same store: the yardstick of what the platform adds.
type bench struct {
	engine engine
	mu     sync.Mutex
	ended  map[string]chan struct{}
}

const (
	noopWorkflow = "noop"
	noopActivity = "noop"
)

func newBench(e engine) *bench { return &bench{engine: e, ended: map[string]chan struct{}{}} }

func (b *bench) register(r *workflow.Registry) error {
	return errors.Join(
		r.AddWorkflowN(noopWorkflow, func(ctx *workflow.WorkflowContext) (any, error) {
			for range 2 {
				for range 2 {
					if err := ctx.CallActivity(noopActivity).Await(nil); err != nil {
						return nil, err
					}
				}
				if !ctx.IsReplaying() {
					b.answer(ctx.ID())
				}
				if err := ctx.WaitForExternalEvent(signalEvent, -1).Await(nil); err != nil {
					return nil, err
				}
			}
			b.end(ctx.ID())
			return nil, nil
		}),
		r.AddActivityN(noopActivity, func(workflow.ActivityContext) (any, error) { return nil, nil }),
	)
}

// answer raises the event that a workflow has come to wait for, a moment after its turn, as a quick kitchen would.
func (b *bench) answer(id string) {
	time.AfterFunc(5*time.Millisecond, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		for b.engine.RaiseEvent(ctx, id, signalEvent) != nil && ctx.Err() == nil {
		}
	})
}

func (b *bench) end(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c, ok := b.ended[id]; ok {
		delete(b.ended, id)
		close(c)
	}
}

type benchRequest struct {
	Workflows   int `json:"workflows" validate:"min=1,max=10000"`
	Concurrency int `json:"concurrency" validate:"min=1,max=200"`
}

type benchResult struct {
	Workflows int     `json:"workflows"`
	Ended     int     `json:"ended"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
}

// handle runs workflows in a closed loop and answers with their rate.
func (b *bench) handle(w http.ResponseWriter, r *http.Request) error {
	var req benchRequest
	if err := web.Decode(r, &req); err != nil {
		return err
	}
	jobs := make(chan struct{}, req.Workflows)
	for range req.Workflows {
		jobs <- struct{}{}
	}
	close(jobs)
	var mu sync.Mutex
	res := benchResult{Workflows: req.Workflows}
	start := time.Now()
	var workers sync.WaitGroup
	for range req.Concurrency {
		workers.Go(func() {
			for range jobs {
				if b.one(r.Context()) {
					mu.Lock()
					res.Ended++
					mu.Unlock()
				}
			}
		})
	}
	workers.Wait()
	res.Seconds = time.Since(start).Seconds()
	res.PerSecond = float64(res.Ended) / res.Seconds
	if r.Context().Err() != nil {
		return problem.New(problem.Timeout, "the caller went away")
	}
	return web.JSON(w, http.StatusOK, res)
}

func (b *bench) one(ctx context.Context) bool {
	id := ids.New("noop")
	ended := make(chan struct{})
	b.mu.Lock()
	b.ended[id] = ended
	b.mu.Unlock()
	defer b.end(id)
	if _, err := b.engine.ScheduleWorkflow(ctx, noopWorkflow, workflow.WithInstanceID(id)); err != nil {
		return false
	}
	select {
	case <-ended:
		return true
	case <-ctx.Done():
		return false
	case <-time.After(30 * time.Second):
		return false
	}
}
