package sidecar

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	dapr "github.com/dapr/go-sdk/client"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// ErrConflict says that a transaction was refused because a key had changed or existed already. Nothing of it
// was written.
var ErrConflict = errors.New("state: written by somebody else")

// ErrAway says that what a service commits with, its store or its outbox, can't be had just now. Nothing is wrong with
// what was to be written.
var ErrAway = errors.New("away just now")

// Item is a stored value. An ETag of "" means that there is none.
type Item struct {
	Value []byte
	ETag  string
}

// Exists reports whether the key was there.
func (i Item) Exists() bool { return i.ETag != "" }

// Op is one part of a transaction: an upsert, or a deletion.
type Op struct {
	Key    string
	Value  []byte
	ETag   string        // if set, the key must still have it
	Create bool          // the key must not exist
	Delete bool          // delete instead of upsert
	TTL    time.Duration // after which the store forgets the key, 0: never; whole seconds
}

// Store is the state store of a service: strongly consistent reads and transactions by key.
type Store interface {
	Get(ctx context.Context, key string) (Item, error)
	// GetBulk returns one item per key, in the order of keys; a missing key gives an empty item.
	GetBulk(ctx context.Context, keys []string) ([]Item, error)
	// Transact does all or nothing. It returns ErrConflict if an ETag or Create condition does not hold.
	Transact(ctx context.Context, ops ...Op) error
}

// State gives the store component called name.
func (s *Sidecar) State(name string) Store { return &store{s.client, name} }

type store struct {
	client dapr.Client
	name   string
}

func (s *store) Get(ctx context.Context, key string) (Item, error) {
	item, err := s.client.GetState(ctx, s.name, key, nil)
	if err != nil {
		return Item{}, stateError("get", key, err)
	}
	return Item{Value: item.Value, ETag: item.Etag}, nil
}

func (s *store) GetBulk(ctx context.Context, keys []string) ([]Item, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	got, err := s.client.GetBulkState(ctx, s.name, keys, nil, 8)
	if err != nil {
		return nil, stateError("get", keys[0]+" …", err)
	}
	byKey := make(map[string]Item, len(got))
	for _, g := range got {
		if g.Error != "" {
			return nil, stateError("get", g.Key, errors.New(g.Error))
		}
		byKey[g.Key] = Item{Value: g.Value, ETag: g.Etag}
	}
	items := make([]Item, len(keys))
	for i, k := range keys {
		items[i] = byKey[k]
	}
	return items, nil
}

func (s *store) Transact(ctx context.Context, ops ...Op) error {
	list := make([]*dapr.StateOperation, len(ops))
	for i, op := range ops {
		item := &dapr.SetStateItem{Key: op.Key, Value: op.Value, Options: &dapr.StateOptions{
			Concurrency: dapr.StateConcurrencyLastWrite, Consistency: dapr.StateConsistencyStrong,
		}}
		if op.ETag != "" {
			item.Etag = &dapr.ETag{Value: op.ETag}
		}
		if op.ETag != "" || op.Create {
			item.Options.Concurrency = dapr.StateConcurrencyFirstWrite
		}
		if op.TTL > 0 {
			item.Metadata = map[string]string{"ttlInSeconds": strconv.Itoa(int(op.TTL / time.Second))}
		}
		kind := dapr.StateOperationTypeUpsert
		if op.Delete {
			kind = dapr.StateOperationTypeDelete
		}
		list[i] = &dapr.StateOperation{Type: kind, Item: item}
	}
	err := s.client.ExecuteStateTransaction(ctx, s.name, nil, list)
	if err == nil {
		return nil
	}
	if isConflict(err.Error()) {
		return ErrConflict
	}
	return stateError("write", ops[0].Key, err)
}

// isConflict recognizes a transaction that was rolled back because of what somebody else wrote. The runtime passes the
// text of the store on as an internal error, and each store has its own (components-contrib 1.18.0, state/…).
func isConflict(text string) bool {
	for _, known := range []string{
		"etag mismatch", "invalid etag", // what Dapr calls it: all stores, for a changed or vanished key
		"no item was updated",        // state.postgresql: a key to create was there
		"Duplicate entry",            // state.mysql (error 1062): another transaction created the key meanwhile
		"Deadlock found",             // state.mysql (1213): two transactions held each other up, this one was given up
		"deadlock detected",          // state.postgresql (40P01): the same
		"could not serialize access", // state.postgresql (40001)
	} {
		if strings.Contains(text, known) {
			return true
		}
	}
	return false
}

// isAway recognizes a store that did not answer, apart from one that answered with a refusal. This too is known by the
// text alone, that of Go's network errors in Dapr's client of the store.
func isAway(err error) bool {
	if status.Code(errors.Unwrap(err)) == codes.Unavailable { // nor did the sidecar
		return true
	}
	for _, known := range []string{"deadline exceeded", "timeout", "connection refused", "connection reset", "broken pipe", "EOF"} {
		if strings.Contains(err.Error(), known) {
			return true
		}
	}
	return false
}

func stateError(verb, key string, err error) error {
	if code := status.Code(errors.Unwrap(err)); code == codes.Canceled || code == codes.DeadlineExceeded {
		return fmt.Errorf("state: %s %s: %w", verb, key, errors.Join(err, context.DeadlineExceeded, ErrAway))
	}
	if isAway(err) {
		err = errors.Join(err, ErrAway)
	}
	return problem.Wrap(err, problem.Unavailable, "the store does not answer").After(time.Second)
}
