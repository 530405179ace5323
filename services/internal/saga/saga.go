// Package saga lets a Dapr workflow read like the table of its steps (the saga pattern: Garcia-Molina and Salem,
// 1987, orchestrated). A compensation is registered before its step runs, because a step that timed out may have
// landed; it is idempotent and accepts that its step never happened.
package saga

import (
	"fmt"
	"time"

	"github.com/dapr/durabletask-go/workflow"
)

// Forward is how a step is retried: about two minutes in all, then the saga rolls back.
var Forward = workflow.RetryPolicy{MaxAttempts: 16, InitialRetryInterval: 500 * time.Millisecond, BackoffCoefficient: 2, MaxRetryInterval: 10 * time.Second}

// Backward is how a compensation is retried: for about an hour, then an operator must look.
var Backward = workflow.RetryPolicy{MaxAttempts: 250, InitialRetryInterval: 500 * time.Millisecond, BackoffCoefficient: 2, MaxRetryInterval: 15 * time.Second}

// Undone is what a compensation answers.
type Undone struct {
	// TooLate says that the pivot was passed: what follows can't be undone any more, so nothing must be.
	TooLate bool `json:"too_late,omitempty"`
}

// Saga is one run of a saga within a workflow. It must be used from the workflow function alone.
type Saga struct {
	ctx      *workflow.WorkflowContext
	forward  workflow.RetryPolicy
	backward workflow.RetryPolicy
	undo     []call
}

type call struct {
	activity string
	input    any
}

// Option changes a saga.
type Option func(*Saga)

// WithRetries sets other policies than Forward and Backward.
func WithRetries(forward, backward workflow.RetryPolicy) Option {
	return func(s *Saga) { s.forward, s.backward = forward, backward }
}

// New starts a saga in a workflow.
func New(ctx *workflow.WorkflowContext, options ...Option) *Saga {
	s := &Saga{ctx: ctx, forward: Forward, backward: Backward}
	for _, o := range options {
		o(s)
	}
	return s
}

// OnFailure registers the compensation of the step that comes next.
func (s *Saga) OnFailure(activity string, input any) { s.undo = append(s.undo, call{activity, input}) }

// Do runs a step with retries. A refusal is part of its result; an error means that it is not known to have
// happened.
func (s *Saga) Do(activity string, input, output any) error {
	return s.call(activity, input, output, s.forward)
}

// Finish runs a step that must succeed in the end, with the patience of a compensation.
func (s *Saga) Finish(activity string, input any) error {
	return s.call(activity, input, nil, s.backward)
}

// Wait waits for an external event, for as long as it takes: whoever owes the answer keeps its own deadline, so
// that the saga needs no timer (each costs as much as a step).
func (s *Saga) Wait(event string, output any) error {
	return s.ctx.WaitForExternalEvent(event, -1).Await(output)
}

// Undo runs the compensations, last first. It goes on after one that fails and returns their names; it stops
// where one says that it is too late.
func (s *Saga) Undo() (failed []string, tooLate bool) {
	for i := len(s.undo) - 1; i >= 0; i-- {
		var u Undone
		if err := s.call(s.undo[i].activity, s.undo[i].input, &u, s.backward); err != nil {
			failed = append(failed, s.undo[i].activity)
			continue
		}
		if u.TooLate {
			return failed, true
		}
	}
	s.undo = nil
	return failed, false
}

func (s *Saga) call(activity string, input, output any, policy workflow.RetryPolicy) error {
	task := s.ctx.CallActivity(activity, workflow.WithActivityInput(input), workflow.WithActivityRetryPolicy(&policy))
	if err := task.Await(output); err != nil {
		return fmt.Errorf("%s: %w", activity, err)
	}
	return nil
}
