package analytics

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

const (
	// shards of the counters. A replica adds to one that follows from its name, so that replicas rarely meet; which
	// one an order is counted in does not matter, as they are only ever added up.
	shards = 16
	// maxRecent bounds the list of the newest orders of a shard.
	maxRecent     = 100
	flushTimeout  = 8 * time.Second
	writeAttempts = 8
)

func orderKey(id string) string   { return "order/" + id }
func accountKey(id string) string { return "account/" + id }
func statsKey(shard int) string   { return "stats/" + strconv.Itoa(shard) }
func recentKey(shard int) string  { return "recent/" + strconv.Itoa(shard) }

func shardOf(instance string) int {
	h := fnv.New32a()
	h.Write([]byte(instance))
	return int(h.Sum32() % shards)
}

// arrival is an event that waits to be counted.
type arrival struct {
	event   cloudevent.Event
	fact    fact
	receipt *inbox.Receipt // to be written with it
}

// key is that of the document that the event belongs to.
func (a *arrival) key() string {
	switch {
	case a.event.Name() == userapi.EventRegistered && a.fact.UserID != "":
		return accountKey(a.fact.UserID)
	case a.event.Name() != userapi.EventRegistered && a.fact.OrderID != "":
		return orderKey(a.fact.OrderID)
	}
	return ""
}

// recent is the list of the newest orders that a shard counts, newest first.
type recent struct {
	Orders []recentOrder `json:"orders"`
}

type recentOrder struct {
	ID string    `json:"id"`
	At time.Time `json:"at"`
}

func (r *recent) add(o recentOrder) {
	r.Orders = append(r.Orders, o)
	r.sort()
	r.Orders = r.Orders[:min(len(r.Orders), maxRecent)]
}

func (r *recent) sort() {
	slices.SortStableFunc(r.Orders, func(a, b recentOrder) int { return b.At.Compare(a.At) })
}

// flush counts a batch and gives what came of every event. Where the fault may lie in one document, the events are
// counted one by one, so that the others do not suffer from it; likewise where an event was taken in by another
// replica meanwhile. One read and one transaction for all events of a
// moment is what makes them cheap.
func (s *Service) flush(batch []*arrival) []error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	errs := make([]error, len(batch))
	err := s.count(ctx, batch)
	alone := err != nil && len(batch) > 1 && ctx.Err() == nil && (problem.Of(err) == problem.Internal || errors.Is(err, inbox.ErrTaken))
	for i, a := range batch {
		if alone {
			err = s.count(ctx, []*arrival{a})
		}
		errs[i] = err
	}
	return errs
}

func (s *Service) count(ctx context.Context, batch []*arrival) error {
	for try := 1; ; try++ {
		ops, err := s.decide(ctx, batch)
		if err != nil {
			return err
		}
		receipts := make([]*inbox.Receipt, len(batch))
		for i, a := range batch {
			receipts[i] = a.receipt
			op, pending, err := a.receipt.Op()
			if err != nil {
				return err
			}
			if pending {
				ops = append(ops, op)
			}
		}
		if len(ops) == 0 {
			return nil
		}
		err = s.deps.State.Transact(ctx, ops...)
		if err == nil {
			for _, r := range receipts {
				r.Written()
			}
			return nil
		}
		if !errors.Is(err, sidecar.ErrConflict) {
			return err
		}
		if _, err := inbox.Check(ctx, s.deps.State, receipts...); err != nil {
			return err
		}
		if try == writeAttempts {
			return problem.Wrap(err, problem.WriteConflict, "the counters of shard %d are being written by others", s.shard)
		}
	}
}

// decide reads the documents and the counters at once, merges the events into their documents and gives what is to
// be written: the documents that changed, and the counters with the differences.
func (s *Service) decide(ctx context.Context, batch []*arrival) ([]sidecar.Op, error) {
	keys := []string{statsKey(s.shard)}
	index := map[string]int{}
	first := len(keys) // of the documents
	if slices.ContainsFunc(batch, func(a *arrival) bool { return a.event.Name() == orderapi.EventPlaced }) {
		keys = append(keys, recentKey(s.shard)) // no other event lists an order
		first++
	}
	for _, a := range batch {
		if _, ok := index[a.key()]; !ok {
			index[a.key()] = len(keys)
			keys = append(keys, a.key())
		}
	}
	items, err := s.deps.State.GetBulk(ctx, keys)
	if err != nil {
		return nil, err
	}
	var total stats
	var newest recent
	docs := make([]doc, len(keys))
	for i, item := range items {
		var v any = &docs[i]
		switch {
		case i == 0:
			v = &total
		case i < first:
			v = &newest
		}
		if item.Exists() {
			if err := json.Unmarshal(item.Value, v); err != nil {
				return nil, fmt.Errorf("%s: %w", keys[i], err)
			}
		}
	}
	before := slices.Clone(docs)
	for _, a := range batch {
		i := index[a.key()]
		docs[i] = docs[i].merge(a.event, a.fact)
		if a.event.Time.After(total.AsOf) {
			total.AsOf = a.event.Time
		}
	}
	var ops []sidecar.Op
	listed := false
	for i := first; i < len(keys); i++ {
		op, err := upsert(keys[i], docs[i], items[i])
		if err != nil {
			return nil, err
		}
		if bytes.Equal(op.Value, items[i].Value) {
			continue // repetitions only
		}
		ops = append(ops, op)
		total.add(contribution(docs[i]), 1)
		total.add(contribution(before[i]), -1)
		if at := docs[i].at(placed); at != nil && before[i].at(placed) == nil {
			newest.add(recentOrder{ID: docs[i].OrderID, At: *at})
			listed = true
		}
	}
	if len(ops) == 0 {
		return nil, nil
	}
	op, err := upsert(keys[0], total, items[0])
	if err != nil {
		return nil, err
	}
	ops = append(ops, op)
	if listed {
		if op, err = upsert(keys[1], newest, items[1]); err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	return ops, nil
}

func upsert(key string, v any, old sidecar.Item) (sidecar.Op, error) {
	value, err := json.Marshal(v)
	if err != nil {
		return sidecar.Op{}, fmt.Errorf("%s: %w", key, err)
	}
	return sidecar.Op{Key: key, Value: value, ETag: old.ETag, Create: !old.Exists()}, nil
}
