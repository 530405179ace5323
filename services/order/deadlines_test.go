package order

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi/orderv2"
)

// noting records which sagas were started and signalled.
type noting struct {
	engine
	mu        sync.Mutex
	started   []string
	signalled []string
	// standing are sagas that run and never end by themselves; ended counts how often one was.
	standing map[string]bool
	ended    int
}

func (n *noting) TerminateWorkflow(_ context.Context, id string, _ ...workflow.TerminateOptions) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.ended++
	delete(n.standing, id)
	return nil
}

func (n *noting) PurgeWorkflowState(_ context.Context, id string, _ ...workflow.PurgeOptions) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.standing[id] {
		return errors.New("it runs")
	}
	return errors.New("no such instance exists")
}

func (n *noting) ScheduleWorkflow(_ context.Context, name string, _ ...workflow.NewWorkflowOptions) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.started = append(n.started, name)
	return "", nil
}

func (n *noting) RaiseEvent(_ context.Context, id, _ string, _ ...workflow.RaiseEventOptions) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.signalled = append(n.signalled, id)
	return nil
}

func (n *noting) counts() (started, signalled int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.started), len(n.signalled)
}

// TestDeadlines places orders that end up in each state and lets their deadline pass: the saga of one that is under
// way is told, once; one that has ended or was picked up is left to itself.
func TestDeadlines(t *testing.T) {
	d, fakes := runtest.New(t, "order")
	engine := &noting{}
	s, err := newService(d, Config{OrderDeadline: 45 * time.Minute}, engine)
	if err != nil {
		t.Fatal(err)
	}
	runtest.Start(t, d)

	place := func(name string, events ...eventstore.Event) string {
		id := ids.Derive("ord", name)
		if _, _, err := s.place(t.Context(), &orderapi.PlacedEvent{OrderId: id, CustomerId: "usr_1", RestaurantId: "rst_01"}, "card_ok"); err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			return id
		}
		if _, _, err := s.orders.Update(t.Context(), id, func(state, int) (eventstore.Change, error) {
			return eventstore.Change{Events: events}, nil
		}); err != nil {
			t.Fatal(err)
		}
		return id
	}
	waiting := place("waiting")
	place("picked up", eventstore.Event{Type: orderapi.EventPickedUp, Data: &orderapi.PickedUpEvent{}})
	place("delivered", eventstore.Event{Type: orderapi.EventDelivered, Data: &orderv2.DeliveredEvent{}})
	runtest.Eventually(t, "every saga is started", func() bool { started, _ := engine.counts(); return started == 3 })

	read := func(now time.Time) {
		t.Helper()
		if err := s.escalateDue(t.Context(), now); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	read(start) // sets the cursor
	read(start.Add(40 * time.Minute))
	if _, signalled := engine.counts(); signalled != 0 {
		t.Fatalf("%d sagas were told before the deadline", signalled)
	}
	read(start.Add(47 * time.Minute))
	runtest.Eventually(t, "the waiting saga is told", func() bool { _, signalled := engine.counts(); return signalled > 0 })
	pages := func() (keys []string) {
		for _, key := range fakes.Store.Keys() {
			if strings.HasPrefix(key, "due/") && key != cursorKey {
				keys = append(keys, key)
			}
		}
		return keys
	}
	if got, want := pages(), []string{s.deadlines.page(start.Add(57*time.Minute), waiting)}; !cmp.Equal(got, want) {
		t.Errorf("pages %v, want %v: the told order is looked at once more", got, want)
	}
	read(start.Add(48 * time.Minute))
	if started, _ := engine.counts(); started != 3 || engine.ended != 0 {
		t.Errorf("%d sagas started, %d ended, before a told saga has had its time", started, engine.ended)
	}

	// It stands still: it is ended, and at the next look another one undoes what it may have done.
	engine.mu.Lock()
	engine.standing = map[string]bool{waiting: true}
	engine.mu.Unlock()
	late := start.Add(59 * time.Minute)
	if err := s.escalateDue(t.Context(), late); err == nil || !strings.Contains(err.Error(), "replaced at the next look") {
		t.Errorf("a saga that stands still: %v, want that its page is read again", err)
	}
	read(late)
	if started, _ := engine.counts(); started != 4 || engine.ended != 1 || len(pages()) != 0 {
		t.Errorf("%d sagas started, %d ended, pages %v, want 4, 1 and none", started, engine.ended, pages())
	}
	engine.mu.Lock()
	defer engine.mu.Unlock()
	if diff := cmp.Diff([]string{waiting}, engine.signalled); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

// TestPlaceIsOneTransaction lets the transaction of an order fail: nothing of it may be left, and the next try makes
// it whole, once.
func TestPlaceIsOneTransaction(t *testing.T) {
	d, fakes := runtest.New(t, "order")
	var full atomic.Bool
	fakes.Store.Fail = func(ops []sidecar.Op) error {
		if full.Load() && strings.HasPrefix(ops[0].Key, "order/") {
			return errors.New("the disk is full")
		}
		return nil
	}
	engine := &noting{}
	s, err := newService(d, Config{OrderDeadline: time.Minute}, engine)
	if err != nil {
		t.Fatal(err)
	}
	runtest.Start(t, d)
	p := &orderapi.PlacedEvent{OrderId: ids.New("ord"), CustomerId: "usr_1", RestaurantId: "rst_01"}
	full.Store(true)
	if _, _, err := s.place(t.Context(), p, "card_ok"); err == nil {
		t.Fatal("the order was placed without being written")
	}
	for _, key := range fakes.Store.Keys() {
		if !strings.HasPrefix(key, "outbox/") {
			t.Errorf("%s was left behind", key)
		}
	}
	full.Store(false)
	for range 2 { // a repeat changes nothing
		if _, version, err := s.place(t.Context(), p, "card_ok"); err != nil || version != 1 {
			t.Fatalf("version %d, %v", version, err)
		}
	}
	item, err := fakes.Store.Get(t.Context(), customerKey("usr_1"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`["`+p.OrderId+`"]`, string(item.Value)); diff != "" {
		t.Errorf("the customer's list (-want +got):\n%s", diff)
	}
	runtest.Eventually(t, "the saga is started", func() bool { started, _ := engine.counts(); return started == 1 })
}
