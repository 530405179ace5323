package sidecar

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"
)

// bulkhead bounds the calls that are under way to one dependency, so that a slow one takes some of the caller's
// capacity and never all of it. Who finds it full waits a while, in order.
type bulkhead struct {
	slots    *semaphore.Weighted
	wait     time.Duration
	inFlight atomic.Int64
}

func newBulkhead(size int, wait time.Duration) *bulkhead {
	return &bulkhead{slots: semaphore.NewWeighted(int64(size)), wait: wait}
}

// tryEnter takes a slot if one is free.
func (b *bulkhead) tryEnter() bool {
	ok := b.slots.TryAcquire(1)
	if ok {
		b.inFlight.Add(1)
	}
	return ok
}

// enter takes a slot, waiting for one if it must. The error is that of ctx, or context.DeadlineExceeded when the wait
// was too long.
func (b *bulkhead) enter(ctx context.Context) error {
	waiting, cancel := context.WithTimeout(ctx, b.wait)
	defer cancel()
	if err := b.slots.Acquire(waiting, 1); err != nil {
		return err
	}
	b.inFlight.Add(1)
	return nil
}

func (b *bulkhead) leave() {
	b.inFlight.Add(-1)
	b.slots.Release(1)
}
