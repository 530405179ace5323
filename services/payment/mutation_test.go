package payment_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/audit"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/payment"
)

// The answer to a capture gets lost. With idempotency keys the money is taken once and the audit finds book and
// ledger equal; without them (build tag acquirer_no_idempotency) the card is charged twice, and the audit says so.
func TestAuditOfALostCapture(t *testing.T) {
	b := newBench(t, patient)
	b.run("ord_lost", "authorize")
	b.line.next(dropAfter)
	if got := b.run("ord_lost", "capture"); got != "captured" {
		t.Fatalf("capture: %s", got)
	}
	report, err := audit.Run(t.Context(), audit.Config{
		Stores:  memory{"payment": b.store.Store},
		Book:    b.line.book,
		Journal: filepath.Join(t.TempDir(), "none.jsonl"),
		Streams: audit.Streams{
			Order: audit.Stream{App: "order", Name: "order"}, Payment: audit.Stream{App: "payment", Name: "payment", Replay: payment.Replay},
			Ticket: audit.Stream{App: "restaurant", Name: "ticket"}, Delivery: audit.Stream{App: "delivery", Name: "delivery"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	booked := report.Invariants[7]
	var want []string
	if !keysHold {
		want = []string{"ord_lost: the acquirer has 2 operations to capture"}
	}
	var got []string
	for _, v := range booked.Violations {
		if strings.Contains(v, "operations to") {
			got = append(got, v)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" || booked.OK != keysHold {
		t.Errorf("ok %v; violations (-want +got):\n%s", booked.OK, diff)
	}
}

// memory lets the audit read the stores of tests.
type memory map[string]*sidecartest.Store

func (m memory) Open(_ context.Context, app string) (audit.Snapshot, error) {
	store := m[app]
	if store == nil {
		store = sidecartest.NewStore()
	}
	return memorySnapshot{store}, nil
}

type memorySnapshot struct{ store *sidecartest.Store }

func (s memorySnapshot) Each(ctx context.Context, prefix string, visit func(string, []byte) error) error {
	keys := s.store.Keys()
	slices.Sort(keys)
	for _, key := range keys {
		if !strings.HasPrefix(key, prefix) {
			continue
		}
		item, err := s.store.Get(ctx, key)
		if err != nil {
			return err
		}
		if err := visit(key, item.Value); err != nil {
			return err
		}
	}
	return nil
}

func (memorySnapshot) Close() error { return nil }
