package batch_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/batch"
)

const window = 100 * time.Millisecond

// Where a batch takes 10 ms, batches begin 50 ms apart, unless one is full or holds a late item; items that come within
// 10 ms go together.
func TestWaiting(t *testing.T) {
	type arrival struct {
		at, age time.Duration
	}
	for name, tt := range map[string]struct {
		arrivals []arrival
		sizes    []int
		took     []time.Duration
	}{
		"alone":          {[]arrival{{0, 0}}, []int{1}, []time.Duration{20}},
		"together":       {[]arrival{{0, 0}, {5, 0}, {9, 0}}, []int{3}, []time.Duration{20, 15, 11}},
		"one after":      {[]arrival{{0, 0}, {200, 0}}, []int{1, 1}, []time.Duration{20, 20}},
		"under load":     {[]arrival{{0, 0}, {40, 0}, {55, 0}}, []int{1, 2}, []time.Duration{20, 30, 15}},
		"full":           {[]arrival{{0, 0}, {1, 0}, {2, 0}, {3, 0}}, []int{4}, []time.Duration{13, 12, 11, 10}},
		"during a batch": {[]arrival{{0, 0}, {15, 0}}, []int{1, 1}, []time.Duration{20, 55}},
		"late":           {[]arrival{{0, 1001}, {5, 0}}, []int{2}, []time.Duration{20, 15}},
		"one is late":    {[]arrival{{0, 0}, {25, 2000}}, []int{1, 1}, []time.Duration{20, 20}},
		"the clock ran":  {[]arrival{{0, -5000}}, []int{1}, []time.Duration{20}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var sizes []int
				q := batch.New(window, 4, func(items []int) []error {
					sizes = append(sizes, len(items))
					time.Sleep(10 * time.Millisecond) // the write; in a bubble it takes no time
					return make([]error, len(items))
				})
				if err := q.Do(t.Context(), 0, time.Now()); err != nil { // so that it is known what a batch takes
					t.Error(err)
				}
				sizes = nil
				time.Sleep(window)
				took := make([]time.Duration, len(tt.arrivals))
				var all sync.WaitGroup
				for i, a := range tt.arrivals {
					all.Go(func() {
						time.Sleep(a.at * time.Millisecond)
						start := time.Now()
						if err := q.Do(t.Context(), i, start.Add(-a.age*time.Millisecond)); err != nil {
							t.Error(err)
						}
						took[i] = time.Since(start) / time.Millisecond
					})
				}
				all.Wait()
				if diff := cmp.Diff(tt.sizes, sizes); diff != "" {
					t.Errorf("batches (-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(tt.took, took); diff != "" {
					t.Errorf("ms (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// However slow the store, batches need not begin further apart than the window.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var begun []time.Time
		q := batch.New(window, 4, func(items []int) []error {
			begun = append(begun, time.Now())
			time.Sleep(40 * time.Millisecond)
			return make([]error, len(items))
		})
		for range 3 {
			if err := q.Do(t.Context(), 0, time.Now()); err != nil {
				t.Error(err)
			}
		}
		if got := begun[2].Sub(begun[1]); got != window {
			t.Errorf("two batches began %v apart, want %v", got, window)
		}
	})
}

// Every item gets its own error, and more than a batch are done one batch after the other.
func TestErrors(t *testing.T) {
	odd := errors.New("odd")
	working := false
	q := batch.New(time.Millisecond, 8, func(items []int) []error {
		if working || len(items) > 8 {
			t.Errorf("%d items, another batch under way: %t", len(items), working)
		}
		working = true
		errs := make([]error, len(items))
		for i, item := range items {
			if item%2 == 1 {
				errs[i] = odd
			}
		}
		working = false
		return errs
	})
	var all sync.WaitGroup
	for i := range 100 {
		all.Go(func() {
			if err := q.Do(t.Context(), i, time.Now()); (err != nil) != (i%2 == 1) {
				t.Errorf("%d: %v", i, err)
			}
		})
	}
	all.Wait()
}

func TestContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := batch.New(window, 8, func(items []int) []error {
			time.Sleep(window)
			return make([]error, len(items))
		})
		ctx, cancel := context.WithTimeout(t.Context(), window/2)
		defer cancel()
		if err := q.Do(ctx, 1, time.Now()); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v, want that the time is over", err)
		}
		time.Sleep(window) // the item is done all the same
	})
}
