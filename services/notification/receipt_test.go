package notification_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/notification"
)

// The receipt of an event goes with the transaction after which nothing is owed by it: not with what is learned before
// a message is sent, and not while another message is to be tried again.
func TestReceiptGoesWithTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{t: t}
		d, f := runtest.New(t, notification.Name)
		runtest.WithInbox(d, f)
		s.fakes, d.Binding = f, sidecartest.Binding(s.invoke)
		var mu sync.Mutex
		var written []string
		f.Store.Fail = func(ops []sidecar.Op) error {
			mu.Lock()
			defer mu.Unlock()
			var keys []string
			for _, op := range ops {
				if kind, _, _ := strings.Cut(op.Key, "/"); kind != "outbox" && (kind != "inbox" || strings.Count(op.Key, "/") == 2) {
					keys = append(keys, kind)
				}
			}
			if len(keys) > 0 {
				written = append(written, strings.Join(keys, " "))
			}
			return nil
		}
		n, err := notification.New(d, notification.Config{SendTimeout: time.Second, KeepFor: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		s.router = runtest.Router(d, n)
		runtest.Start(t, d)
		failed := false
		s.fail = func(binding string) (int, error) {
			if binding == "push" && !failed {
				failed = true
				return 503, nil
			}
			return 0, nil
		}
		for _, e := range []cloudevent.Event{registered(web.RoleCustomer, true, false, true), placed, placed} {
			e.Time = time.Now()
			s.deliverAll(e)
		}
		// The last is the repetition, which finds nothing to send and its receipt refused.
		want := []string{"contact", "told inbox", "told order", "told inbox", "inbox"}
		if diff := cmp.Diff(want, written); diff != "" {
			t.Errorf("transactions (-want +got):\n%s", diff)
		}
		if got := s.messages(); len(got) != 3 {
			t.Errorf("messages: %q", got)
		}
	})
}

// Another replica's having taken the event in is no reason to lose the record of what was sent.
func TestSentAlthoughTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &service{t: t}
		d, f := runtest.New(t, notification.Name)
		runtest.WithInbox(d, f)
		s.fakes, d.Binding = f, sidecartest.Binding(s.invoke)
		n, err := notification.New(d, notification.Config{SendTimeout: time.Second, KeepFor: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		s.router = runtest.Router(d, n)
		runtest.Start(t, d)
		known := registered(web.RoleKitchen, true, false, true)
		known.Time = time.Now()
		s.deliverAll(known)
		var once sync.Once
		s.enter = func() {
			once.Do(func() { // the other one is faster
				op := sidecar.Op{Key: inbox.Key("order", order), Value: []byte(`{"last":1}`), Create: true}
				if err := f.Store.Transact(t.Context(), op); err != nil && !errors.Is(err, sidecar.ErrConflict) {
					t.Error(err)
				}
			})
		}
		e := placed
		e.Time = time.Now()
		s.deliverAll(e)
		if got, list := s.messages(), s.list("usr_1"); len(got) != 2 || len(list) != 2 {
			t.Errorf("messages %q, listed %+v; want 2 each", got, list)
		}
	})
}
