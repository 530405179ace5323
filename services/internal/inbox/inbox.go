// Package inbox is the counterpart of the outbox: a consumer keeps, for each stream that it hears of, the sequence of
// the last event that it took in and those that went to the dead letters, in its own store and in the same transaction
// as the effect. So an event takes effect once, however often it is delivered, and a gap is seen.
//
// The receipt of an event travels in the context of its handler. The store that New makes adds it to the first
// transaction that is written under that context; a handler that writes more than one thing lets it go with the last
// (Detach for those before), because what follows it would be lost in a crash. Writers that gather several events
// take the receipts along themselves (Receipt.Op). An event whose handler writes nothing is recorded by the adapter.
package inbox

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// ErrTaken says that the event, or another one of its stream, was taken in by somebody else since its inbox was read.
// Nothing of the transaction was written; whoever handles the event looks again. It is a sidecar.ErrConflict, but
// trying the same again does not help.
var ErrTaken = fmt.Errorf("inbox: the stream moved on meanwhile: %w", sidecar.ErrConflict)

// State is what is kept of a stream.
type State struct {
	Last   int    `json:"last"`             // highest sequence that was taken in or parked
	Parked []int  `json:"parked,omitempty"` // sequences that went to the dead letters and wait there, ascending
	Hash   string `json:"hash,omitempty"`   // of the event with the last sequence
}

// Key is where the inbox of a stream is in the consumer's store.
func Key(stream, id string) string { return "inbox/" + stream + "/" + id }

// Entry is an inbox as it was read, or as it is assumed to be.
type Entry struct {
	State
	key  string
	etag string
}

// Assume is the inbox of a stream of which nothing was taken in yet, unread: a receipt on it fails with ErrTaken if
// that is wrong.
func Assume(key string) Entry { return Entry{key: key} }

// ReadMany reads several inboxes at once, in the order of keys.
func ReadMany(ctx context.Context, store sidecar.Store, keys []string) ([]Entry, error) {
	var items []sidecar.Item
	var err error
	if len(keys) == 1 {
		items = make([]sidecar.Item, 1)
		items[0], err = store.Get(ctx, keys[0])
	} else {
		items, err = store.GetBulk(ctx, keys)
	}
	if err != nil {
		return nil, err
	}
	entries := make([]Entry, len(keys))
	for i, item := range items {
		entries[i] = Entry{key: keys[i], etag: item.ETag}
		if !item.Exists() {
			continue
		}
		if err := json.Unmarshal(item.Value, &entries[i].State); err != nil {
			return nil, fmt.Errorf("%s: %w", keys[i], err)
		}
	}
	return entries, nil
}

// IsParked reports whether a sequence is with the dead letters.
func (e Entry) IsParked(sequence int) bool { return slices.Contains(e.Parked, sequence) }

// Take is the receipt for an event that takes effect. The mark of a parked one goes.
func (e Entry) Take(sequence int, hash string) *Receipt {
	next := e.next(sequence, hash)
	next.Parked = slices.DeleteFunc(slices.Clone(e.Parked), func(p int) bool { return p == sequence })
	return &Receipt{entry: e, next: next}
}

// Park is the receipt for an event that went to the dead letters.
func (e Entry) Park(sequence int, hash string) *Receipt {
	next := e.next(sequence, hash)
	if at, found := slices.BinarySearch(e.Parked, sequence); !found {
		next.Parked = slices.Insert(slices.Clone(e.Parked), at, sequence)
	}
	return &Receipt{entry: e, next: next}
}

func (e Entry) next(sequence int, hash string) State {
	next := e.State
	if sequence > next.Last {
		next.Last, next.Hash = sequence, hash
	}
	return next
}
