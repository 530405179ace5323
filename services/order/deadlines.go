package order

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// deadlines is the list of orders by the minute in which they must have ended, a few pages a minute. A page is
// written in the transaction that places an order and read once, when its minute has come: no timer a workflow
// would have to keep.
type deadlines struct{ state sidecar.Store }

// stripes is how many pages a minute has, so that orders placed at the same time seldom write the same one.
const stripes = 8

// cursorKey holds the first minute whose pages may not have been read.
const cursorKey = "due/cursor"

func newDeadlines(state sidecar.Store) *deadlines { return &deadlines{state} }

// page is the key of the page that an order due at t is listed on.
func (*deadlines) page(t time.Time, order string) string {
	h := fnv.New32a()
	h.Write([]byte(order))
	return pageKey(t.Unix()/60, int(h.Sum32()%stripes))
}

func pageKey(minute int64, stripe int) string { return fmt.Sprintf("due/%d/%d", minute, stripe) }

// due calls f for each order whose minute is over and forgets its page when f has succeeded for all of it.
func (d *deadlines) due(ctx context.Context, now time.Time, f func(ctx context.Context, order string) error) error {
	cursor, err := d.state.Get(ctx, cursorKey)
	if err != nil {
		return err
	}
	current := now.Unix() / 60
	first := current - 1 // nothing was read before: nothing older can be there
	if cursor.Exists() {
		if err := json.Unmarshal(cursor.Value, &first); err != nil {
			return fmt.Errorf("%s: %w", cursorKey, err)
		}
	}
	for minute := first; minute < current; minute++ {
		for stripe := range stripes {
			if err := d.read(ctx, pageKey(minute, stripe), f); err != nil {
				return err
			}
		}
	}
	if cursor.Exists() && first >= current {
		return nil
	}
	b, err := json.Marshal(current)
	if err != nil {
		return err
	}
	err = d.state.Transact(ctx, sidecar.Op{Key: cursorKey, Value: b, ETag: cursor.ETag, Create: !cursor.Exists()})
	if errors.Is(err, sidecar.ErrConflict) {
		return nil // another replica read the same pages
	}
	return err
}

func (d *deadlines) read(ctx context.Context, key string, f func(context.Context, string) error) error {
	item, err := d.state.Get(ctx, key)
	if err != nil || !item.Exists() {
		return err
	}
	var orders []string
	if err := json.Unmarshal(item.Value, &orders); err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	for _, id := range orders {
		if err := f(ctx, id); err != nil {
			return err
		}
	}
	err = d.state.Transact(ctx, sidecar.Op{Key: key, ETag: item.ETag, Delete: true})
	if errors.Is(err, sidecar.ErrConflict) {
		return nil
	}
	return err
}

// patience is how long a saga that was told to end may take for it. Then another one undoes what it may have done.
const patience = 10 * time.Minute

// watchDeadlines rolls back what has not ended in time and reports what can't be rolled back.
func (s *Service) watchDeadlines(ctx context.Context) error {
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.escalateDue(ctx, time.Now()); err != nil && ctx.Err() == nil {
			s.log.Warn("deadlines not read, will be tried again", "error", err)
		}
	}
}

func (s *Service) escalateDue(ctx context.Context, now time.Time) error {
	return s.deadlines.due(ctx, now, func(ctx context.Context, id string) error { return s.escalate(ctx, now, id) })
}

// escalate tells the saga of an order that is overdue, and looks once more after a while: one that stands still hears nothing.
func (s *Service) escalate(ctx context.Context, now time.Time, id string) error {
	st, version, err := s.orders.Load(ctx, id)
	if err != nil || version == 0 || st.Order.Status.Terminal() {
		return err
	}
	told := now.Sub(st.Order.PlacedAt) >= s.cfg.OrderDeadline+patience
	s.log.Error("order is overdue", "order", id, "status", st.Order.Status, "placed_at", st.Order.PlacedAt, "told_before", told)
	switch {
	case st.Order.Status == orderapi.PickedUp:
		s.overdue.Inc()
		return nil
	case told:
		return s.replaceSaga(ctx, id)
	}
	s.overdue.Inc()
	effects, err := signalling(id, signal{Kind: overdue, Reason: overdueReason, Detail: overdueDetail})
	if err != nil {
		return err
	}
	_, _, err = s.orders.Update(ctx, id, func(st state, _ int) (eventstore.Change, error) {
		if st.Order.Status.Terminal() || st.Order.Status == orderapi.PickedUp {
			return eventstore.Change{}, nil
		}
		again := s.deadlines.page(now.Add(patience), id)
		item, err := s.state.Get(ctx, again)
		if err != nil {
			return eventstore.Change{}, err
		}
		op, err := prepend(again, item, id, 0)
		return eventstore.Change{Effects: effects, Ops: []sidecar.Op{op}}, err
	})
	return err
}

// replaceSaga puts one that only undoes in the place of an order's saga that stands still, which Dapr 1.18 can leave behind when
// its store fails between a step's beginning and its being written down (components/resiliency/workflow-store.yaml). Every
// compensation accepts that its step never happened. A saga that still runs is ended first, and replaced at the next look.
func (s *Service) replaceSaga(ctx context.Context, id string) error {
	if err := s.engine.PurgeWorkflowState(ctx, id); err != nil && !unknownSaga(err) {
		if endErr := s.engine.TerminateWorkflow(ctx, id); endErr != nil && !unknownSaga(endErr) {
			return fmt.Errorf("saga of %s: %w", id, errors.Join(err, endErr))
		}
		return fmt.Errorf("saga of %s stood still and was ended; it is replaced at the next look", id)
	}
	in := sagaInput{OrderID: id, Overdue: true}
	_, err := s.engine.ScheduleWorkflow(ctx, sagaName, workflow.WithInstanceID(id), workflow.WithInput(in))
	if err != nil && !strings.Contains(err.Error(), "already exists") {
		return err
	}
	s.log.Error("a saga stood still and was replaced by one that undoes what it may have done", "order", id)
	return nil
}

// unknownSaga tells whether the engine has never heard of a saga, or has forgotten it.
func unknownSaga(err error) bool { return strings.Contains(err.Error(), "no such instance exists") }
