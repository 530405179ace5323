package eventstore

import (
	"context"
	"encoding/json"
	"fmt"
)

// LoadMany gives the states of several aggregates in one read, in the order of ids; the zero state for one that
// there is not.
func (s *Store[S]) LoadMany(ctx context.Context, ids []string) ([]S, error) {
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = s.headKey(id)
	}
	items, err := s.state.GetBulk(ctx, keys)
	if err != nil {
		return nil, err
	}
	states := make([]S, len(ids))
	for i, item := range items {
		if !item.Exists() {
			continue
		}
		var h head[S]
		if err := json.Unmarshal(item.Value, &h); err != nil {
			return nil, fmt.Errorf("%s %s: head: %w", s.opt.Name, ids[i], err)
		}
		states[i] = h.State
	}
	return states, nil
}
