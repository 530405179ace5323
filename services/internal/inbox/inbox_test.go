package inbox_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
)

const key = "inbox/order/ord_1"

func read(t *testing.T, store sidecar.Store) inbox.Entry {
	t.Helper()
	entries, err := inbox.ReadMany(t.Context(), store, []string{key})
	if err != nil {
		t.Fatal(err)
	}
	return entries[0]
}

func write(ctx context.Context, store sidecar.Store, k string) error {
	return store.Transact(ctx, sidecar.Op{Key: k, Value: []byte("1")})
}

func exists(t *testing.T, store sidecar.Store, k string) bool {
	t.Helper()
	item, err := store.Get(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return item.Exists()
}

// The receipt goes with the first transaction that is not detached, and with that alone.
func TestReceiptTravels(t *testing.T) {
	base := sidecartest.NewStore()
	store := inbox.New(base)
	r := read(t, store).Take(3, "h")
	ctx := inbox.With(t.Context(), r)
	if err := write(inbox.Detach(ctx), store, "a"); err != nil || r.Done() || exists(t, base, key) {
		t.Errorf("detached: %v, written %v", err, r.Done())
	}
	if err := write(ctx, store, "b"); err != nil || !r.Done() {
		t.Errorf("first: %v, written %v", err, r.Done())
	}
	if err := write(ctx, store, "c"); err != nil { // a second time it would be a conflict
		t.Errorf("second: %v", err)
	}
	if diff := cmp.Diff(inbox.State{Last: 3, Hash: "h"}, read(t, store).State); diff != "" {
		t.Errorf("inbox (-want +got):\n%s", diff)
	}
}

// Effect and receipt are written together or not at all.
func TestTaken(t *testing.T) {
	for name, assume := range map[string]bool{"read before": false, "assumed to be the first": true} {
		t.Run(name, func(t *testing.T) {
			store := inbox.New(sidecartest.NewStore())
			slow := read(t, store).Take(1, "h")
			if assume {
				slow = inbox.Assume(key).Take(1, "h")
			}
			if err := write(inbox.With(t.Context(), read(t, store).Take(1, "h")), store, "quick"); err != nil {
				t.Fatal(err)
			}
			ctx := inbox.With(t.Context(), slow)
			for range 2 {
				if err := write(ctx, store, "slow"); !errors.Is(err, inbox.ErrTaken) || !errors.Is(err, sidecar.ErrConflict) {
					t.Errorf("got %v, want ErrTaken", err)
				}
			}
			if exists(t, store, "slow") {
				t.Error("the effect was written without its receipt")
			}
		})
	}
}

// A conflict about something else leaves the receipt good for the next try.
func TestOtherConflict(t *testing.T) {
	store := inbox.New(sidecartest.NewStore())
	if err := write(t.Context(), store, "there"); err != nil {
		t.Fatal(err)
	}
	ctx := inbox.With(t.Context(), read(t, store).Take(1, "h"))
	err := store.Transact(ctx, sidecar.Op{Key: "there", Create: true})
	if !errors.Is(err, sidecar.ErrConflict) || errors.Is(err, inbox.ErrTaken) {
		t.Errorf("got %v", err)
	}
	if err := write(ctx, store, "there"); err != nil || read(t, store).Last != 1 {
		t.Errorf("then %v, inbox %+v", err, read(t, store).State)
	}
}

func TestMarks(t *testing.T) {
	store := inbox.New(sidecartest.NewStore())
	step := func(r *inbox.Receipt) {
		t.Helper()
		if err := write(inbox.With(t.Context(), r), store, "x"); err != nil {
			t.Fatal(err)
		}
	}
	step(read(t, store).Park(2, "b"))
	step(read(t, store).Take(5, "e"))
	step(read(t, store).Park(7, "g"))
	step(read(t, store).Park(7, "g"))
	if diff := cmp.Diff(inbox.State{Last: 7, Hash: "g", Parked: []int{2, 7}}, read(t, store).State); diff != "" {
		t.Errorf("parked (-want +got):\n%s", diff)
	}
	step(read(t, store).Take(2, "b"))
	if diff := cmp.Diff(inbox.State{Last: 7, Hash: "g", Parked: []int{7}}, read(t, store).State); diff != "" {
		t.Errorf("redelivered (-want +got):\n%s", diff)
	}
}
