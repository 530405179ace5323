package order

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"time"

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
		if err := s.deadlines.due(ctx, time.Now(), s.escalate); err != nil && ctx.Err() == nil {
			s.log.Warn("deadlines not read, will be tried again", "error", err)
		}
	}
}

func (s *Service) escalate(ctx context.Context, id string) error {
	st, version, err := s.orders.Load(ctx, id)
	if err != nil || version == 0 || st.Order.Status.Terminal() {
		return err
	}
	s.overdue.Inc()
	s.log.Error("order is overdue", "order", id, "status", st.Order.Status, "placed_at", st.Order.PlacedAt)
	if st.Order.Status == orderapi.PickedUp {
		return nil
	}
	return s.tell(ctx, id, signal{Kind: overdue, Reason: "overdue", Detail: "it did not end in time"})
}
