package journal

import (
	"encoding/json"
	"sync"
)

// Ring keeps the latest values in memory, for a page that shows them.
type Ring[T any] struct {
	mu     sync.Mutex
	values []T
	next   int
	total  int
}

// NewRing makes a ring that keeps size values.
func NewRing[T any](size int) *Ring[T] {
	return &Ring[T]{values: make([]T, 0, size)}
}

// Add puts v in, in the place of the oldest value when the ring is full.
func (r *Ring[T]) Add(v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total++
	if len(r.values) < cap(r.values) {
		r.values = append(r.values, v)
		return
	}
	r.values[r.next] = v
	r.next = (r.next + 1) % len(r.values)
}

// Latest gives up to n values, newest first, and how many there ever were.
func (r *Ring[T]) Latest(n int) (values []T, total int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n = min(n, len(r.values))
	for i := 1; i <= n; i++ {
		values = append(values, r.values[(r.next+len(r.values)-i)%len(r.values)])
	}
	return values, r.total
}

// OpenInto opens a journal of values of one type and puts those that are in it into the ring.
func OpenInto[T any](path string, mode Sync, ring *Ring[T]) (j *Journal, torn int64, err error) {
	return Open(path, mode, func(line []byte) error {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return err
		}
		ring.Add(v)
		return nil
	})
}
