package notification_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/notification"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// The process dies after the provider took the message and before that was recorded: it comes again, with the same
// id.
func TestCrashBetweenSendAndRecord(t *testing.T) {
	s := newService(t)
	s.deliverAll(registered(web.RoleKitchen, false, false, true))
	writes := 0
	s.setDeny(func(ops []sidecar.Op) error {
		if strings.HasPrefix(ops[0].Key, "told/") {
			writes++
			return errors.New("crash")
		}
		return nil
	})
	before := s.replica("before")
	done := make(chan string)
	go func() { done <- before.deliver(accepted) }()
	runtest.Eventually(t, "the outcome can't be written", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return writes > 0 })
	s.setDeny(nil)
	after := s.replica("before") // the same name, a new process
	if got := after.deliver(accepted); got != "SUCCESS" {
		t.Errorf("%s, want SUCCESS", got)
	}
	<-done
	if len(before.got) == 0 || len(after.got) > 1 {
		t.Fatalf("sent %d before and %d after the crash", len(before.got), len(after.got))
	}
	for _, m := range append(before.got, after.got...) {
		if m.ID != before.got[0].ID {
			t.Errorf("copies carry the ids %s and %s", before.got[0].ID, m.ID)
		}
	}
}

// What could not be recorded is recorded later, by the same process without being sent again.
func TestStoreAwayAfterSend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newService(t)
		s.deliverAll(registered(web.RoleKitchen, true, false, true))
		back := time.Now().Add(8 * time.Second)
		s.setDeny(func(ops []sidecar.Op) error {
			if strings.HasPrefix(ops[0].Key, "told/") && time.Now().Before(back) {
				return problem.New(problem.Unavailable, "the store does not answer")
			}
			return nil
		})
		now := placed
		now.Time = time.Now() // in this bubble's time
		s.deliverAll(now)
		want := []string{"mail ada@example.org: Your order GHJKMN at Da Rosa", "push usr_1: Order placed"}
		if diff := cmp.Diff(want, s.messages()); diff != "" {
			t.Errorf("messages (-want +got):\n%s", diff)
		}
		if got := s.outcomes(2); len(got) != 2 || len(s.list("usr_1")) != 2 {
			t.Errorf("outcomes %q, listed %+v; want 2 each", got, s.list("usr_1"))
		}
	})
}

// The answer to a write is lost: it counts as written, once.
func TestAnswerLost(t *testing.T) {
	d, f := runtest.New(t, notification.Name)
	store := &forgetful{Store: f.Store}
	d.State, d.Outbox = store, outbox.New(store, f.Publisher, outbox.Options{Instance: "test"})
	s := &service{t: t, fakes: f}
	d.Binding = sidecartest.Binding(s.invoke)
	n, err := notification.New(d, notification.Config{SendTimeout: time.Second, KeepFor: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s.router = runtest.Router(d, n)
	runtest.Start(t, d)
	s.deliverAll(registered(web.RoleKitchen, true, false, true), placed, placed)
	want := []string{"notification.sent order.placed email", "notification.sent order.placed push"}
	if diff := cmp.Diff(want, s.outcomes(2)); diff != "" || store.lost != 1 {
		t.Errorf("%d answers lost; outcomes (-want +got):\n%s", store.lost, diff)
	}
	if got := s.messages(); len(got) != 2 {
		t.Errorf("sent: %q", got)
	}
}

// forgetful writes the first outcome and answers that it does not know.
type forgetful struct {
	sidecar.Store
	lost int
}

func (f *forgetful) Transact(ctx context.Context, ops ...sidecar.Op) error {
	err := f.Store.Transact(ctx, ops...)
	if err == nil && f.lost == 0 && strings.HasPrefix(ops[0].Key, "told/") {
		f.lost++
		return problem.New(problem.Unavailable, "the store does not answer")
	}
	return err
}

// Two replicas record for the same persons, many causes together: each is recorded once, and a cause that somebody
// else was faster with takes no other along.
func TestReplicasTogether(t *testing.T) {
	s := newService(t)
	other := s.replica("other")
	const persons = 6
	for i := range persons {
		s.deliverAll(customer(fmt.Sprintf("usr_%d", i)))
	}
	var all sync.WaitGroup
	for i := range persons {
		for j, replica := range []*service{s, other, s, other} {
			id := fmt.Sprintf("ord_%d_%d", i, j)
			all.Go(func() {
				e := event(orderapi.EventAccepted, id, 1, &orderapi.AcceptedEvent{OrderId: id, CustomerId: fmt.Sprintf("usr_%d", i)})
				if got := replica.deliver(e); got != "SUCCESS" {
					t.Errorf("%s: %s", e.ID, got)
				}
			})
		}
	}
	all.Wait()
	if got := len(s.messages()) + len(other.messages()); got != 4*persons {
		t.Errorf("%d messages, want %d", got, 4*persons)
	}
	if got := s.outcomes(4 * persons); len(got) != 4*persons {
		t.Errorf("%d outcomes, want %d", len(got), 4*persons)
	}
	for i := range persons {
		if got := len(s.list(fmt.Sprintf("usr_%d", i))); got != 4 {
			t.Errorf("usr_%d: %d listed, want 4", i, got)
		}
	}
}
