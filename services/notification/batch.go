package notification

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

const (
	// maxBatch bounds how many events are read or recorded together. What is published of them shares a slot of the
	// outbox.
	maxBatch = 16
	// batchTimeout bounds one read or transaction for a batch.
	batchTimeout = 4 * time.Second
)

// reading is what one event wants to know.
type reading struct {
	keys  []string
	items []sidecar.Item // in the order of keys
}

// readTogether reads what several events want to know at once.
func (s *Service) readTogether(all []*reading) []error {
	ctx, cancel := context.WithTimeout(context.Background(), batchTimeout)
	defer cancel()
	var keys []string
	index := map[string]int{}
	for _, r := range all {
		for _, k := range r.keys {
			if _, ok := index[k]; !ok {
				index[k] = len(keys)
				keys = append(keys, k)
			}
		}
	}
	errs := make([]error, len(all))
	items, err := s.deps.State.GetBulk(ctx, keys)
	for i, r := range all {
		if errs[i] = err; err != nil {
			continue
		}
		r.items = make([]sidecar.Item, len(r.keys))
		for j, k := range r.keys {
			r.items[j] = items[index[k]]
		}
	}
	return errs
}

// writing is what one event wants to record.
type writing struct {
	ctx     context.Context // of the event, for its trace
	key     string          // under which its effects keep their order
	alone   bool            // more effects may follow under key, so it must not go by another's
	effects []outbox.Effect
	ops     []sidecar.Op
	receipt *inbox.Receipt // of the event, if nothing more is owed by it
	more    []*writing     // whose effects and ops these are, if of several
}

// writeTogether records several events in one transaction. One whose keys another one writes, such as the list of the
// same person, is told that there is a conflict. When somebody else was faster at one of them, each is written for
// itself.
func (s *Service) writeTogether(all []*writing) []error {
	errs := make([]error, len(all))
	together := &writing{}
	var members []int
	taken := map[string]bool{}
	for i, w := range all {
		if w.alone {
			errs[i] = s.write(w)
			continue
		}
		if w.meets(taken) {
			errs[i] = sidecar.ErrConflict
			continue
		}
		for _, op := range w.ops {
			taken[op.Key] = true
		}
		if len(members) == 0 {
			together.ctx, together.key = w.ctx, w.key
		}
		together.effects = append(together.effects, w.effects...)
		together.ops = append(together.ops, w.ops...)
		together.more = append(together.more, w)
		members = append(members, i)
	}
	if len(members) == 0 {
		return errs
	}
	err := s.write(together)
	for _, i := range members {
		errs[i] = err
		if errors.Is(err, sidecar.ErrConflict) && len(members) > 1 {
			errs[i] = s.write(all[i])
		}
	}
	return errs
}

func (w *writing) meets(taken map[string]bool) bool {
	for _, op := range w.ops {
		if taken[op.Key] {
			return true
		}
	}
	return false
}

func (s *Service) write(w *writing) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), batchTimeout)
	defer cancel()
	ops := w.ops
	receipts := []*inbox.Receipt{w.receipt}
	for _, m := range w.more {
		receipts = append(receipts, m.receipt)
	}
	for _, r := range receipts {
		op, pending, err := r.Op()
		if err != nil {
			return err
		}
		if pending {
			ops = append(slices.Clip(ops), op)
		}
	}
	err := s.deps.Outbox.Commit(inbox.Detach(ctx), w.key, w.effects, ops...)
	switch {
	case err == nil:
		for _, r := range receipts {
			r.Written()
		}
	case errors.Is(err, sidecar.ErrConflict):
		if taken, checkErr := inbox.Check(ctx, s.deps.State, receipts...); checkErr == nil && taken {
			return inbox.ErrTaken
		}
	}
	return err
}
