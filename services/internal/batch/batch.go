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

// catchUp is what part of the window is left when an item is late: enough to gather the callers that wait already.
const catchUp = 10

// Queue does items together. An item waits for the window at most, or until the batch before it is done.
type Queue[T any] struct {
	window time.Duration
	most   int
	do     func(items []T) []error

	mu      sync.Mutex
	waiting []*call[T]
	working bool
	hurry   chan struct{}
}

type call[T any] struct {
	item T
	due  time.Time
	done chan error
}

// New makes a queue of batches that are gathered for window and hold at most that many items. do gets one batch at a
// time, on a goroutine of the queue, and answers with one error per item, in order. It must end by itself.
func New[T any](window time.Duration, most int, do func(items []T) []error) *Queue[T] {
	return &Queue[T]{window: window, most: max(1, most), do: do, hurry: make(chan struct{}, 1)}
}

// Do has item done with others and gives its error. since is when the item came into being; see Behind. When ctx ends
// first, Do returns its error and the item may be done all the same.
func (q *Queue[T]) Do(ctx context.Context, item T, since time.Time) error {
	now := time.Now()
	c := &call[T]{item: item, due: now.Add(q.window), done: make(chan error, 1)}
	late := now.Sub(since) > Behind
	if late {
		c.due = now.Add(q.window / catchUp)
	}
	q.mu.Lock()
	q.waiting = append(q.waiting, c)
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
		for i, err := range q.do(items) {
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
	if len(q.waiting) < q.most {
		due := q.waiting[0].due
		for _, c := range q.waiting[1:] {
			if c.due.Before(due) {
				due = c.due
			}
		}
		if wait := time.Until(due); wait > 0 {
			return nil, wait
		}
	}
	n := min(len(q.waiting), q.most)
	batch := q.waiting[:n:n]
	q.waiting = append([]*call[T](nil), q.waiting[n:]...)
	return batch, 0
}
