package cluster

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/proof"
)

// T is a test that is written down: what it shows, what it saw, and why it failed.
type T struct {
	*testing.T
	start time.Time

	mu    sync.Mutex
	entry proof.Entry
}

var (
	runningMu sync.Mutex
	running   []*T
)

// shows begins a test. The claim is one sentence; files are those whose effect it shows. It skips where there is no
// cluster, waits until the cluster is well, and says how it is when the test has failed.
func shows(t *testing.T, subject, claim string, files ...string) *T {
	t.Helper()
	if here == nil {
		t.Skip(whyNot)
	}
	r := &T{T: t, start: time.Now(), entry: proof.Entry{Subject: subject, Test: t.Name(), Claim: claim, Files: files}}
	runningMu.Lock()
	running = append(running, r)
	runningMu.Unlock()
	if *apartFlag != "" {
		r.entry.Saw = append(r.entry.Saw, "somebody worked on "+*apartFlag+" meanwhile: nobody waited for it to be well")
	}
	t.Cleanup(r.end) // the first of the test's, so the last to run
	here.well(r)
	return r
}

// unfinished are the tests that have begun and not ended.
func unfinished() []*T {
	runningMu.Lock()
	defer runningMu.Unlock()
	return append([]*T{}, running...)
}

func (t *T) end() {
	if t.Failed() {
		t.Log(here.state(t.start))
	}
	runningMu.Lock()
	for i, r := range running {
		if r == t {
			running = append(running[:i], running[i+1:]...)
			break
		}
	}
	runningMu.Unlock()
	t.note("")
}

// note puts the test into the book. why is set if it has not ended by itself.
func (t *T) note(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entry
	e.Took = time.Since(t.start)
	switch {
	case why != "":
		e.Outcome, e.Why = proof.Failed, append(e.Why, why)
	case t.Failed():
		e.Outcome = proof.Failed
	case t.Skipped():
		e.Outcome = proof.Skipped
	default:
		e.Outcome = proof.Passed
	}
	e.Began, e.Commit = t.start, *commitFlag
	if err := book.Add(e); err != nil {
		t.Log(err)
	}
}

// Parallel has the rest of the test run beside others. How long it waits for them is not counted.
func (t *T) Parallel() {
	since := time.Now()
	t.T.Parallel()
	t.start = t.start.Add(time.Since(since))
}

func (t *T) because(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entry.Why = append(t.entry.Why, text)
}

// Saw notes something that people want to know.
func (t *T) Saw(format string, args ...any) {
	t.Helper()
	text := fmt.Sprintf(format, args...)
	t.Log(text)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entry.Saw = append(t.entry.Saw, text)
}

// Figure notes what was measured, and what it was held against, if anything.
func (t *T) Figure(what, value, bound string) {
	t.Helper()
	t.Log(strings.TrimSpace(what + ": " + value + " " + bound))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entry.Figures = append(t.entry.Figures, proof.Figure{What: what, Value: value, Bound: bound})
}

// Error, Errorf, Fatal, Fatalf and Skipf are testing's, and are written down.

func (t *T) Error(args ...any) { t.Helper(); t.Errorf("%s", strings.TrimSpace(fmt.Sprintln(args...))) }

func (t *T) Errorf(format string, args ...any) {
	t.Helper()
	t.because(fmt.Sprintf(format, args...))
	t.T.Errorf(format, args...)
}

func (t *T) Fatal(args ...any) { t.Helper(); t.Fatalf("%s", strings.TrimSpace(fmt.Sprintln(args...))) }

func (t *T) Fatalf(format string, args ...any) {
	t.Helper()
	t.because(fmt.Sprintf(format, args...))
	t.T.Fatalf(format, args...)
}

func (t *T) Skipf(format string, args ...any) {
	t.Helper()
	t.because(fmt.Sprintf(format, args...))
	t.T.Skipf(format, args...)
}

// Eventually polls until f gives no error.
func (t *T) Eventually(within time.Duration, what string, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for wait := 100 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s: %v", within, what, err)
		}
		select {
		case <-time.After(wait):
		case <-t.Context().Done():
			t.Fatalf("%s: %v", what, t.Context().Err())
		}
	}
}
