package inbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// Receipt says that an event was taken in. It is written once.
type Receipt struct {
	entry Entry
	next  State

	mu      sync.Mutex
	written bool
	taken   bool
}

// Op is what records the receipt, to be part of the transaction of the effect; false if it was written before, or
// there is none (nil).
func (r *Receipt) Op() (sidecar.Op, bool, error) {
	if r == nil || forgets {
		return sidecar.Op{}, false, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.taken {
		return sidecar.Op{}, false, ErrTaken
	}
	if r.written {
		return sidecar.Op{}, false, nil
	}
	value, err := json.Marshal(r.next)
	if err != nil {
		return sidecar.Op{}, false, fmt.Errorf("%s: %w", r.entry.key, err)
	}
	return sidecar.Op{Key: r.entry.key, Value: value, ETag: r.entry.etag, Create: r.entry.etag == ""}, true, nil
}

// Written notes that the transaction with the receipt's op was committed.
func (r *Receipt) Written() {
	if r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.written = true
	}
}

// Done reports whether the receipt was written.
func (r *Receipt) Done() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.written
}

// Check finds out, after a transaction with the receipts' ops was refused, which of them can't be written any more;
// their Op fails with ErrTaken from then on. It reports whether there are any.
func Check(ctx context.Context, store sidecar.Store, receipts ...*Receipt) (bool, error) {
	receipts = slices.DeleteFunc(slices.Clone(receipts), func(r *Receipt) bool { return r == nil })
	keys := make([]string, len(receipts))
	for i, r := range receipts {
		keys[i] = r.entry.key
	}
	if len(keys) == 0 {
		return false, nil
	}
	items, err := store.GetBulk(ctx, keys)
	if err != nil {
		return false, err
	}
	found := false
	for i, r := range receipts {
		if items[i].ETag != r.entry.etag {
			r.mu.Lock()
			r.taken = !r.written
			found = found || r.taken
			r.mu.Unlock()
		}
	}
	return found, nil
}

type contextKey struct{}

// With gives a context under which r is written with the first transaction.
func With(ctx context.Context, r *Receipt) context.Context {
	return context.WithValue(ctx, contextKey{}, r)
}

// From gives the receipt that travels in a context, nil if there is none.
func From(ctx context.Context) *Receipt {
	r, _ := ctx.Value(contextKey{}).(*Receipt)
	return r
}

// Detach gives a context without a receipt, for what a handler writes before its last transaction. All that must be
// harmless when it is written again.
func Detach(ctx context.Context) context.Context { return With(ctx, nil) }

// New gives a store that adds the receipt of a context to the first transaction under it.
func New(store sidecar.Store) sidecar.Store { return receiving{store} }

type receiving struct{ sidecar.Store }

// Transact implements sidecar.Store.
func (s receiving) Transact(ctx context.Context, ops ...sidecar.Op) error {
	r := From(ctx)
	op, pending, err := r.Op()
	if err != nil {
		return err
	}
	if !pending {
		return s.Store.Transact(ctx, ops...)
	}
	err = s.Store.Transact(ctx, append(slices.Clip(ops), op)...)
	switch {
	case err == nil:
		r.Written()
	case errors.Is(err, sidecar.ErrConflict):
		taken, checkErr := Check(ctx, s.Store, r)
		if checkErr == nil && taken {
			return ErrTaken
		}
	}
	return err
}
