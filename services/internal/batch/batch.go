// Package batch gathers what many callers want done at about the same time and does it in one go: a read or a
// transaction costs about the same for one as for ten.
package batch

import (
	"context"
	"sync"
	"time"
)

// Behind is the age from which on an item counts as late. Callers that wait for each other, such as the partitions of
// a topic, then come at a rate that the window sets, so that a service that has fallen behind must not wait for it.
const Behind = time.Second

// share is how many times as long as a batch takes the next one waits, counted from the beginning of the one before: so
// batches take up a fifth of the time at most.
const share = 5

// Queue does items together. Batches begin apart by five times what one takes of late, and by the window at most: a
// quick store serves an item almost at once, on a busy one more items share a batch, which bounds what they cost however
// many come. A batch that is full or holds an item that is late begins without regard to the one before it, though never
// while that one is done.
type Queue[T any] struct {
	window time.Duration
	most   int
	do     func(items []T) []error

	mu      sync.Mutex
	waiting []*call[T]
	late    bool          // one of those that wait is late
	begun   time.Time     // the last batch
	takes   time.Duration // a batch, of late
	working bool
	hurry   chan struct{}
}

type call[T any] struct {
	item T
	at   time.Time // when it came
	done chan error
}

// New makes a queue of batches that need not begin further apart than window and hold at most that many items. do gets one batch at
// a time, on a goroutine of the queue, and answers with one error per item, in order. It must end by itself.
func New[T any](window time.Duration, most int, do func(items []T) []error) *Queue[T] {
	return &Queue[T]{window: window, most: max(1, most), do: do, hurry: make(chan struct{}, 1)}
}

// Do has item done with others and gives its error. since is when the item came into being; see Behind. When ctx ends
// first, Do returns its error and the item may be done all the same.
func (q *Queue[T]) Do(ctx context.Context, item T, since time.Time) error {
	c := &call[T]{item: item, at: time.Now(), done: make(chan error, 1)}
	late := c.at.Sub(since) > Behind
	q.mu.Lock()
	q.waiting = append(q.waiting, c)
	q.late = q.late || late
	start, full := !q.working, len(q.waiting) >= q.most
	q.working = true
	q.mu.Unlock()
	switch {
	case start:
		go q.work()
	case full || late:
		select {
		case q.hurry <- struct{}{}:
		default: // it hurries already
		}
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// work does batches until nothing waits.
func (q *Queue[T]) work() {
	for {
		batch, wait := q.next()
		if wait > 0 {
			timer := time.NewTimer(wait)
			select {
			case <-timer.C:
			case <-q.hurry:
				timer.Stop()
			}
			continue
		}
		if len(batch) == 0 {
			return
		}
		items := make([]T, len(batch))
		for i, c := range batch {
			items[i] = c.item
		}
		errs := q.do(items)
		q.took(time.Since(q.begun))
		for i, err := range errs {
			batch[i].done <- err
		}
	}
}

// next takes the batch that is due, or says how long to wait for it; neither when nothing waits.
func (q *Queue[T]) next() ([]*call[T], time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		q.working = false
		return nil, 0
	}
	now := time.Now()
	if len(q.waiting) < q.most {
		apart := min(q.window, share*q.takes)
		due := q.waiting[0].at.Add(apart / share) // what comes of the same cause comes within that time
		if next := q.begun.Add(apart); next.After(due) && !q.late {
			due = next
		}
		if wait := due.Sub(now); wait > 0 {
			return nil, wait
		}
	}
	q.begun, q.late = now, false
	n := min(len(q.waiting), q.most)
	batch := q.waiting[:n:n]
	q.waiting = append([]*call[T](nil), q.waiting[n:]...)
	return batch, 0
}

// took notes how long a batch took: half of what is known of late is the last one.
func (q *Queue[T]) took(d time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.takes == 0 {
		q.takes = d
	}
	q.takes = (q.takes + d) / 2
}
