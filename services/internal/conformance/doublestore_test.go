package conformance_test

import (
	"context"
	"maps"
	"strconv"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// store is a double of a state store.
type store struct {
	faults
	mu    sync.Mutex
	items map[string]stored
	// before has what items were a few transactions ago.
	before []map[string]stored
	n      int
	last   []sidecar.Op
}

type stored struct {
	value, old []byte
	etag       int
	until      time.Time
}

func newStore(f faults) *store { return &store{faults: f, items: map[string]stored{}} }

// killed is told of the kill of a sidecar or of the database.
func (s *store) killed(half, forget bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if half && len(s.last) > 1 {
		first := s.items[s.last[0].Key]
		first.value = []byte("0")
		s.items[s.last[0].Key] = first
	}
	if forget && len(s.before) > 0 {
		s.items = s.before[0]
	}
}

func (s *store) get(key string) stored {
	it, ok := s.items[key]
	if ok && !it.until.IsZero() && time.Now().After(it.until) && !s.noTTL {
		return stored{}
	}
	return it
}

// view is a store by way of a sidecar.
type view struct {
	*store
	node *node
}

func (v view) away() error {
	v.node.b.mu.Lock()
	defer v.node.b.mu.Unlock()
	if !v.node.sidecarUp || v.node.b.storeDown {
		return errAway
	}
	return nil
}

func (v view) Get(_ context.Context, key string) (sidecar.Item, error) {
	if err := v.away(); err != nil {
		return sidecar.Item{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	it := v.get(key)
	if it.etag == 0 {
		return sidecar.Item{}, nil
	}
	value := it.value
	if v.staleReads && v.node.spec.Instance == 1 {
		value = it.old
	}
	if v.cutValues && len(value) > 500_000 {
		value = value[:500_000]
	}
	return sidecar.Item{Value: value, ETag: strconv.Itoa(it.etag)}, nil
}

func (v view) GetBulk(ctx context.Context, keys []string) ([]sidecar.Item, error) {
	out := make([]sidecar.Item, len(keys))
	for i, k := range keys {
		var err error
		if out[i], err = v.Get(ctx, k); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (v view) Transact(_ context.Context, ops ...sidecar.Op) error {
	if err := v.away(); err != nil {
		return err
	}
	v.node.b.sleep(time.Millisecond)
	if err := v.away(); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	was := maps.Clone(v.items)
	for _, op := range ops {
		have := v.get(op.Key)
		conflict := op.ETag != "" && op.ETag != strconv.Itoa(have.etag) && !v.ignoreETag || op.Create && have.etag != 0 && !v.ignoreCreate
		if conflict {
			if !v.half {
				v.items = was
			}
			return sidecar.ErrConflict
		}
		if op.Delete {
			delete(v.items, op.Key)
			continue
		}
		v.n++
		it := stored{value: op.Value, old: have.value, etag: v.n}
		if op.TTL > 0 || v.ttlForAll {
			it.until = time.Now().Add(max(op.TTL, time.Second))
		}
		v.items[op.Key] = it
	}
	v.before = append(v.before, was)
	if len(v.before) > 8 {
		v.before = v.before[1:]
	}
	v.last = ops
	return nil
}
