package probe

import (
	"context"
	"math"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Plan is many calls.
type Plan struct {
	// Requests take turns.
	Requests []Request
	// Count is how many calls are made; 0: as many as there is time for, until the context ends.
	Count int
	// AtOnce is how many are under way at most; default 1.
	AtOnce int
	// Rate is calls per second that are begun at most; 0: as fast as they come back.
	Rate float64
	// Tally names a header of the answers whose values are counted.
	Tally string
	// Fine says which answers are as they should be; nil: those below 400.
	Fine func(Answer) bool
}

// Latency has quantiles in milliseconds, exact ones.
type Latency struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Summary is what came of many calls.
type Summary struct {
	Calls    int            `json:"calls"`
	Seconds  float64        `json:"seconds"`
	Statuses map[string]int `json:"statuses"` // answers by status
	Failures map[string]int `json:"failures"` // calls without an answer, by kind
	Tally    map[string]int `json:"tally"`    // answers by value of the header that was asked for, "" where it lacks
	Latency  Latency        `json:"latency_ms"`
	// Bad is how many were not as they should be, and Problems the first of them.
	Bad      int       `json:"bad"`
	Problems []Problem `json:"problems"`
}

// Problem is an answer that is not as it should be, and when it came.
type Problem struct {
	At time.Time `json:"at"`
	Answer
}

// problemsKept is how many problems a summary shows.
const problemsKept = 20

// Many makes the calls of a plan and sums up. It ends early, with what there is, when ctx ends.
func (c *Caller) Many(ctx context.Context, p Plan) Summary {
	if p.Fine == nil {
		p.Fine = func(a Answer) bool { return a.Failure == "" && a.Status < 400 }
	}
	s := Summary{Statuses: map[string]int{}, Failures: map[string]int{}, Tally: map[string]int{}}
	var mu sync.Mutex
	var took []float64
	slots := make(chan struct{}, max(1, p.AtOnce))
	start := time.Now()
	var running sync.WaitGroup
	for i := 0; p.Count == 0 || i < p.Count; i++ {
		if p.Rate > 0 && !until(ctx, start.Add(time.Duration(float64(i)/p.Rate*float64(time.Second)))) {
			break
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		running.Go(func() {
			defer func() { <-slots }()
			a := c.Do(context.WithoutCancel(ctx), p.Requests[i%len(p.Requests)]) // what has begun is seen to its end
			mu.Lock()
			defer mu.Unlock()
			s.add(p, a)
			took = append(took, a.Millis)
		})
	}
	running.Wait()
	s.Seconds = time.Since(start).Seconds()
	s.Latency = Quantiles(took)
	return s
}

func (s *Summary) add(p Plan, a Answer) {
	s.Calls++
	switch {
	case a.Failure != "":
		s.Failures[a.Failure]++
	case a.Status > 0:
		s.Statuses[strconv.Itoa(a.Status)]++
		if p.Tally != "" {
			s.Tally[a.Header[p.Tally]]++
		}
	}
	if !p.Fine(a) {
		s.Bad++
		if len(s.Problems) < problemsKept {
			s.Problems = append(s.Problems, Problem{time.Now(), a})
		}
	}
}

// until waits for an instant and reports whether ctx is still alive then.
func until(ctx context.Context, at time.Time) bool {
	t := time.NewTimer(time.Until(at))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// Quantiles gives the quantiles of some times in milliseconds: the smallest that so large a share does not exceed.
func Quantiles(ms []float64) Latency {
	if len(ms) == 0 {
		return Latency{}
	}
	sorted := slices.Sorted(slices.Values(ms))
	at := func(q float64) float64 { return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)] }
	return Latency{P50: at(0.5), P90: at(0.9), P99: at(0.99), Max: sorted[len(sorted)-1]}
}
