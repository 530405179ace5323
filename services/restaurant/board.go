package restaurant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// board is a restaurant's settings and its active tickets. It is one key, so that whether a ticket fits is decided
// and written in one transaction.
type board struct {
	RestaurantID string              `json:"restaurant_id"`
	Version      int                 `json:"version"`
	Hours        restaurantapi.Hours `json:"hours"`
	Capacity     int                 `json:"capacity"`
	Paused       bool                `json:"paused"`
	Tickets      []entry             `json:"tickets"` // the oldest first
}

type entry struct {
	OrderID  string               `json:"order_id"`
	Status   restaurantapi.Status `json:"status"`
	Deadline time.Time            `json:"deadline,omitzero"` // while open
	Since    time.Time            `json:"since"`             // of the status
}

func (e entry) late(now time.Time) bool {
	return e.Status == restaurantapi.Open && now.After(e.Deadline)
}

// maxReady bounds the ready tickets that a board keeps: they are shown, but nothing hangs on them any more.
const maxReady = 10

// active counts the tickets that are work: open or accepted.
func (b board) active() int {
	n := 0
	for _, e := range b.Tickets {
		if e.Status != restaurantapi.Ready {
			n++
		}
	}
	return n
}

// put replaces an order's entry, or adds it, and forgets ready tickets that are old or too many.
func (b *board) put(e entry, now time.Time, readyShown time.Duration) {
	list := make([]entry, 0, len(b.Tickets)+1)
	found := false
	for _, have := range b.Tickets {
		if have.OrderID == e.OrderID {
			have, found = e, true
		}
		list = append(list, have)
	}
	if !found {
		list = append(list, e)
	}
	ready := 0
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].Status != restaurantapi.Ready {
			continue
		}
		if ready++; ready > maxReady || now.Sub(list[i].Since) > readyShown {
			list = slices.Delete(list, i, i+1)
		}
	}
	b.Tickets = list
}

func (b *board) remove(order string) {
	b.Tickets = slices.DeleteFunc(slices.Clone(b.Tickets), func(e entry) bool { return e.OrderID == order })
}

func (b board) kitchen() restaurantapi.Kitchen {
	hours := b.Hours
	if hours.Openings == nil {
		hours.Openings = []restaurantapi.Opening{} // a list, be it empty: it never closes
	}
	return restaurantapi.Kitchen{RestaurantID: b.RestaurantID, Hours: hours,
		Capacity: restaurantapi.Capacity{Capacity: b.Capacity, Paused: b.Paused}, Active: b.active()}
}

// boardsKey lists the restaurants that have a board.
const boardsKey = "boards"

func boardKey(restaurant string) string { return "board/" + restaurant }

// readBoard reads a board, or makes the one that a restaurant starts with.
func (s *Service) readBoard(ctx context.Context, restaurant string) (board, sidecar.Item, error) {
	b := board{RestaurantID: restaurant, Capacity: s.cfg.Capacity, Hours: restaurantapi.Hours{Timezone: "UTC"}}
	item, err := s.state.Get(ctx, boardKey(restaurant))
	if err != nil || !item.Exists() {
		return b, item, err
	}
	if err := json.Unmarshal(item.Value, &b); err != nil {
		return b, item, fmt.Errorf("board %s: %w", restaurant, err)
	}
	return b, item, nil
}

// writeBoard gives the operations that write a board over the item it was read as. b's version moves on.
func (s *Service) writeBoard(ctx context.Context, b *board, old sidecar.Item) ([]sidecar.Op, error) {
	b.Version++
	value, err := json.Marshal(b)
	if err != nil {
		return nil, fmt.Errorf("board %s: %w", b.RestaurantID, err)
	}
	ops := []sidecar.Op{{Key: boardKey(b.RestaurantID), Value: value, ETag: old.ETag, Create: !old.Exists()}}
	if old.Exists() {
		return ops, nil
	}
	names, index, err := s.boardNames(ctx)
	if err != nil || slices.Contains(names, b.RestaurantID) {
		return ops, err
	}
	if value, err = json.Marshal(append(names, b.RestaurantID)); err != nil {
		return nil, err
	}
	return append(ops, sidecar.Op{Key: boardsKey, Value: value, ETag: index.ETag, Create: !index.Exists()}), nil
}

func (s *Service) boardNames(ctx context.Context) ([]string, sidecar.Item, error) {
	item, err := s.state.Get(ctx, boardsKey)
	if err != nil || !item.Exists() {
		return nil, item, err
	}
	var names []string
	if err := json.Unmarshal(item.Value, &names); err != nil {
		return nil, item, fmt.Errorf("list of boards: %w", err)
	}
	return names, item, nil
}

// refresh reads all boards, so that deadlines are known after a start and those of other replicas too.
func (s *Service) refresh(ctx context.Context) error {
	names, _, err := s.boardNames(ctx)
	if err != nil {
		return err
	}
	keys := make([]string, len(names))
	for i, n := range names {
		keys[i] = boardKey(n)
	}
	items, err := s.state.GetBulk(ctx, keys)
	if err != nil {
		return err
	}
	for i, item := range items {
		var b board
		if err := json.Unmarshal(item.Value, &b); err != nil {
			return fmt.Errorf("board %s: %w", names[i], err)
		}
		s.saw(b)
	}
	s.mu.Lock()
	s.loaded = true
	s.mu.Unlock()
	return nil
}

// saw keeps a board that was read or written.
func (s *Service) saw(b board) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if have, ok := s.boards[b.RestaurantID]; !ok || have.Version < b.Version {
		s.boards[b.RestaurantID] = b
	}
}

// set changes a restaurant's settings.
func (s *Service) set(ctx context.Context, restaurant string, change func(*board)) (board, error) {
	defer s.turns.take(restaurant)()
	for try := 1; ; try++ {
		b, old, err := s.readBoard(ctx, restaurant)
		if err != nil {
			return b, err
		}
		change(&b)
		ops, err := s.writeBoard(ctx, &b, old)
		if err != nil {
			return b, err
		}
		err = s.state.Transact(ctx, ops...)
		if err == nil {
			s.saw(b)
			return b, nil
		}
		if !errors.Is(err, sidecar.ErrConflict) {
			return b, err
		}
		if try == 8 {
			return b, problem.Wrap(err, problem.WriteConflict, "the settings of %s are being written by others", restaurant).After(time.Second)
		}
	}
}
