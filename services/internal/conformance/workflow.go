package conformance

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/dapr/durabletask-go/workflow"
)

// worker is the app that has a workflow store.
const worker = "order"

// Names of the workflow of the checks.
const (
	flowName   = "conformance"
	firstStep  = "conformance-first"
	secondStep = "conformance-second"
	flowEvent  = "conformance-go"
)

// effects counts what activities did, by instance and step.
type effects struct {
	mu sync.Mutex
	// done counts the ends of activities, begun their beginnings.
	done, begun map[string]int
	slow        time.Duration
}

func newEffects(slow time.Duration) *effects {
	return &effects{done: map[string]int{}, begun: map[string]int{}, slow: slow}
}

func (f *effects) step(name string) workflow.Activity {
	return func(ctx workflow.ActivityContext) (any, error) {
		var in flowInput
		if err := ctx.GetInput(&in); err != nil {
			return nil, err
		}
		f.mu.Lock()
		f.begun[name]++
		f.mu.Unlock()
		time.Sleep(f.slow) // the work itself
		f.mu.Lock()
		f.done[in.ID+"/"+name]++
		f.mu.Unlock()
		return in.N + 1, nil
	}
}

func (f *effects) started(step string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.begun[step]
}

// flowInput is the input of the workflow and its steps.
type flowInput struct {
	ID string `json:"id"`
	N  int    `json:"n"`
}

// registry has one workflow: a step, a wait for an event that carries a number, a step with that number.
func (f *effects) registry() (*workflow.Registry, error) {
	r := workflow.NewRegistry()
	err := errors.Join(
		r.AddWorkflowN(flowName, func(ctx *workflow.WorkflowContext) (any, error) {
			var in flowInput
			if err := ctx.GetInput(&in); err != nil {
				return nil, err
			}
			retries := workflow.WithActivityRetryPolicy(&workflow.RetryPolicy{MaxAttempts: 10, InitialRetryInterval: 200 * time.Millisecond,
				BackoffCoefficient: 2, MaxRetryInterval: 5 * time.Second})
			var n, add int
			if err := ctx.CallActivity(firstStep, workflow.WithActivityInput(in), retries).Await(&n); err != nil {
				return nil, err
			}
			if err := ctx.WaitForExternalEvent(flowEvent, -1).Await(&add); err != nil {
				return nil, err
			}
			var result int
			err := ctx.CallActivity(secondStep, workflow.WithActivityInput(flowInput{ID: in.ID, N: n + add}), retries).Await(&result)
			return result, err
		}),
		r.AddActivityN(firstStep, f.step(firstStep)),
		r.AddActivityN(secondStep, f.step(secondStep)),
	)
	return r, err
}

// flowEnd is how a workflow ended.
type flowEnd struct {
	id       string
	complete bool
	output   string
	want     string
}

// workflowCheck runs workflows and kills something in the middle of their first step, and again right after their
// events were raised, while they wait.
func workflowCheck(what string, kill func(Node) error, start func(context.Context, Node) error) func(context.Context, *Env) (Outcome, error) {
	return func(ctx context.Context, e *Env) (Outcome, error) {
		n := e.Times.n(20)
		out := Outcome{Did: fmt.Sprintf("%s (step, wait for an event, step); %s in the middle of the first steps, and again as soon as the events are raised",
			count(n, "workflow"), what)}
		f := newEffects(200 * time.Millisecond)
		registry, err := f.registry()
		if err != nil {
			return out, err
		}
		node, err := e.Bench.Node(ctx, NodeSpec{App: worker, Workflows: registry})
		if err != nil {
			return out, err
		}
		defer node.Close()
		ends := make([]flowEnd, n)
		for i := range ends {
			ends[i] = flowEnd{id: e.Run + "-" + strconv.Itoa(i), want: strconv.Itoa(100 + 2*i + 2)}
			if _, err := node.Engine().ScheduleWorkflow(ctx, flowName, workflow.WithInstanceID(ends[i].id),
				workflow.WithInput(flowInput{ID: ends[i].id, N: i})); err != nil {
				return out, fmt.Errorf("start a workflow: %w", err)
			}
		}
		if !until(ctx, e.Times.Patience, func() bool { return f.started(firstStep) > 0 }) {
			return out, errors.New("no step ever ran")
		}
		restarts := 0
		cycle := func() error {
			if err := kill(node); err != nil {
				return err
			}
			if err := pause(ctx, time.Second); err != nil {
				return err
			}
			return start(ctx, node)
		}
		if err := cycle(); err != nil {
			return out, err
		}
		e.Say("the first kill is over")
		raise := func(i int) error {
			once, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			return node.Engine().RaiseEvent(once, ends[i].id, flowEvent, workflow.WithEventPayload(100+i))
		}
		for i := range ends {
			var last error
			raised := false
			if err := e.tend(ctx, node, &restarts, func() bool { last = raise(i); raised = last == nil; return raised }); err != nil {
				return out, err
			}
			if !raised {
				return out, fmt.Errorf("raise an event: %w", last)
			}
		}
		if err := cycle(); err != nil {
			return out, err
		}
		begun := time.Now()
		if err := e.tend(ctx, node, &restarts, func() bool { return finished(ctx, node.Engine(), ends) }); err != nil {
			return out, err
		}
		took := time.Since(begun)
		f.mu.Lock()
		defer f.mu.Unlock()
		judgeWorkflows(&out, ends, f.done, took, restarts)
		return out, ctx.Err()
	}
}

// engineLost is how long an engine without a worker is given before it counts as stuck, as the order service does.
const engineLost = 8 * time.Second

// tend waits for ok, and does meanwhile what the order service does for its engine: a sidecar whose engine does not take
// the worker on is started again.
func (e *Env) tend(ctx context.Context, n Node, restarts *int, ok func() bool) error {
	served := time.Now()
	var failed error
	until(ctx, e.Times.Patience, func() bool {
		if ok() {
			return true
		}
		once, cancel := context.WithTimeout(ctx, 2*time.Second)
		workers, err := n.WorkflowWorkers(once)
		cancel()
		if err == nil && workers > 0 {
			served = time.Now()
		}
		if time.Since(served) < engineLost {
			return false
		}
		e.Say("the workflow engine does not take its worker on; its sidecar is started again")
		*restarts++
		_ = n.KillSidecar() // it may be gone by itself
		failed = n.StartSidecar(ctx)
		served = time.Now()
		return failed != nil
	})
	return failed
}

// finished looks at every workflow that has not ended yet.
func finished(ctx context.Context, engine Engine, ends []flowEnd) bool {
	all := true
	for i := range ends {
		if ends[i].complete {
			continue
		}
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		meta, err := engine.FetchWorkflowMetadata(once, ends[i].id, workflow.WithFetchPayloads(true))
		cancel()
		if err == nil && workflow.WorkflowMetadataIsComplete(meta) {
			ends[i].complete, ends[i].output = true, meta.Output.GetValue()
			continue
		}
		all = false
	}
	return all
}

func judgeWorkflows(out *Outcome, ends []flowEnd, done map[string]int, took time.Duration, restarts int) {
	var f finding
	stuck, repeated := 0, 0
	for _, end := range ends {
		switch {
		case !end.complete:
			stuck++
			f.add("%s never ended", end.id)
		case end.output != end.want:
			f.add("%s ended with %q instead of %s", end.id, end.output, end.want)
		default:
			for _, step := range []string{firstStep, secondStep} {
				n := done[end.id+"/"+step]
				if n == 0 {
					f.add("%s ended without the effect of %s", end.id, step)
				}
				repeated += max(0, n-1)
			}
		}
	}
	out.Figures = map[string]float64{"workflows": float64(len(ends)), "stuck": float64(stuck), "repeated_steps": float64(repeated), "seconds": took.Seconds()}
	f.judge(out, "%d of %d right, %d steps done twice; all ended %.1f s after the last start", len(ends)-f.n, len(ends), repeated, took.Seconds())
	out.Figures["engine_restarts"] = float64(restarts)
	if out.Verdict == Kept && restarts > 0 {
		out.Verdict = KeptOnTop
		out.Reason = fmt.Sprintf("Dapr's engine does not take a worker on that comes back; the order service has its sidecar started again (%s here)", times(restarts))
	}
}

func checkWorkflowSidecarKilled() func(context.Context, *Env) (Outcome, error) {
	return workflowCheck("the sidecar is killed (-9)", Node.KillSidecar,
		func(ctx context.Context, n Node) error { return n.StartSidecar(ctx) })
}

func checkWorkflowAppKilled() func(context.Context, *Env) (Outcome, error) {
	return workflowCheck("the app is cut off", Node.KillApp,
		func(ctx context.Context, n Node) error { return n.StartApp(ctx) })
}
