package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// Schedule is what came of many runs. Its JSON keys are stable.
type Schedule struct {
	OK      bool     `json:"ok"`
	Profile string   `json:"profile"`
	Runs    []Result `json:"runs"`
	Red     int      `json:"red"`
	// Problems is what an audit of everything finds after the last run.
	Problems []string `json:"problems"`
	Orders   int      `json:"orders"`
	Seconds  float64  `json:"seconds"`
}

// Do makes the runs one after the other, each told to each as it ends, and audits everything after the last. An error
// of a run makes it red. A red one ends the schedule, unless keepGoing is set.
func (s Site) Do(ctx context.Context, runs []func(context.Context) (Result, error), keepGoing bool, each func(Result)) (Schedule, error) {
	done := Schedule{OK: true, Runs: []Result{}, Problems: []string{}}
	began := time.Now()
	for _, run := range runs {
		r, err := run(ctx)
		if ctx.Err() != nil {
			return done, ctx.Err()
		}
		if err != nil {
			r.OK = false
			r.fail("%v", err)
		}
		each(r)
		done.Runs = append(done.Runs, r)
		done.Orders += r.Orders
		done.Seconds = seconds(time.Since(began))
		if !r.OK {
			done.OK = false
			done.Red++
			if !keepGoing {
				return done, nil
			}
		}
	}
	all, err := s.Audit(ctx, auditWait, time.Time{})
	if err != nil {
		return done, fmt.Errorf("audit of everything: %w", err)
	}
	done.Problems = append(done.Problems, violations(all)...)
	done.OK = done.OK && len(done.Problems) == 0
	return done, nil
}

// Line is a run in one line.
func (r Result) Line() string {
	verdict := "green"
	if !r.OK {
		verdict = "RED"
	}
	lasted := ""
	if r.For > 0 {
		lasted = fmt.Sprintf(" for %.0f s", r.For)
	}
	return fmt.Sprintf("seed %-4d %-14s %-20s at %4.2f s%s  well again %4.1f s, settled %4.1f s, took %4.1f s  %d of %d orders ended (%s)  %s",
		r.Seed, r.Fault, r.Victim, r.At, lasted, r.Recovered, r.Settled, r.Took, r.Ended, r.Orders, counts(r.Outcomes), verdict)
}

func counts(n map[string]int) string {
	words := []string{}
	for _, k := range slices.Sorted(maps.Keys(n)) {
		words = append(words, fmt.Sprintf("%d %s", n[k], strings.ReplaceAll(k, "_", " ")))
	}
	return strings.Join(words, ", ")
}

// Print writes the summary for people.
func (s Schedule) Print(w io.Writer) error {
	var took, settled []float64
	victims := map[string]int{}
	for _, r := range s.Runs {
		took, settled = append(took, r.Took), append(settled, r.Settled)
		victims[r.Victim]++
	}
	verdict := "all green, and the audit of everything"
	switch {
	case s.Red > 0:
		verdict = fmt.Sprintf("%d RED", s.Red)
	case !s.OK:
		verdict = "green, but the audit of everything is RED"
	}
	_, err := fmt.Fprintf(w, "%d runs on %s, %d orders, %d different victims, %.0f s: %s\n", len(s.Runs), s.Profile, s.Orders, len(victims), s.Seconds, verdict)
	if len(took) > 0 {
		_, more := fmt.Fprintf(w, "seconds p50 / max: a run %.1f / %.1f, settled after the harm %.1f / %.1f\n",
			median(took), slices.Max(took), median(settled), slices.Max(settled))
		err = errors.Join(err, more)
	}
	for _, r := range s.Runs {
		for _, p := range r.Problems {
			_, more := fmt.Fprintf(w, "seed %d, %s %s: %s\n", r.Seed, r.Fault, r.Victim, p)
			err = errors.Join(err, more)
		}
	}
	for _, p := range s.Problems {
		_, more := fmt.Fprintf(w, "audit of everything: %s\n", p)
		err = errors.Join(err, more)
	}
	return err
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}
