package audit_test

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// takeIn does what the consumers of an event do: keep their inbox, and tell the customer, who wants no SMS.
func (w *town) takeIn(stream string, e cloudevent.Event) {
	w.t.Helper()
	for _, s := range subscriptions {
		if s.Stream == stream && slices.Contains(s.Types, e.Name()) {
			w.put(s.App, inbox.Key(stream, e.Subject), inbox.State{Last: e.Seq()})
		}
	}
	var told []map[string]any
	for _, channel := range channels(e.Name()) {
		if channel != "sms" {
			told = append(told, map[string]any{"channel": channel, "status": "sent", "sent_at": e.Time})
			w.message(channel, ids.Derive("ntf", e.ID, channel), e.Time)
		}
	}
	if len(told) > 0 {
		w.put("notification", "told/"+e.ID, map[string]any{"cause": e.ID, "channels": told})
	}
}

// message arrives with the outside world.
func (w *town) message(channel, id string, at time.Time) {
	w.t.Helper()
	f, err := os.OpenFile(w.config().Notices.Journals[channel], os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	w.must(err)
	_, err = fmt.Fprintf(f, `{"notification_id":%q,"time":%q}`+"\n", id, at.Format(time.RFC3339Nano))
	w.must(err)
	w.must(f.Close())
}

// prefers has the customer's account say how they want to be told.
func (w *town) prefers(kind string, email, sms, push bool) {
	w.append(accounts, customer1, event{kind, map[string]any{"user_id": customer1, "email": "ada@example.org", "phone": "+491",
		"preferences": map[string]bool{"email": email, "sms": sms, "push": push}}})
}

// outbox leaves an event in a slot.
func (w *town) outbox(id string, at time.Time) {
	w.t.Helper()
	effect, err := outbox.Publish("fooddelivery.order", cloudevent.Event{ID: id, Data: json.RawMessage("{}")})
	w.must(err)
	w.put("order", "outbox/0/7", map[string]any{"key": "x", "at": at, "effects": []outbox.Effect{effect}})
	w.put("order", "outbox/0/lease", map[string]any{"holder": "test"})
}

// prefersFrom has the customer change their preferences at a time.
func (w *town) prefersFrom(at time.Time, email, sms, push bool) {
	w.clock = at
	w.prefers(userapi.EventPreferencesChanged, email, sms, push)
}

// What is on its way, was parked, is not wanted, or is older than the inboxes, is no violation.
func TestMessagesThatAreNoViolation(t *testing.T) {
	for name, tt := range map[string]struct {
		arrange func(*town)
		pending int
		note    string
	}{
		"young and not published": {func(w *town) { w.outbox("order/ord_new/1", noon.Add(-10*time.Second)) }, 1, ""},
		"just published":          {func(w *town) { w.outbox("order/ord_new/1", noon.Add(-time.Second)) }, 0, ""},
		"young and not taken in":  {func(w *town) { w.delete("notification", "inbox/order/ord_new") }, 1, ""},
		"dead-lettered": {func(w *town) {
			w.put("payment", "inbox/order/ord_delivered", inbox.State{Last: 2, Parked: []int{2}})
		}, 0, "payment: messages with the dead letters: 1"},
		"dead-lettered and not told": {func(w *town) {
			w.put("notification", "inbox/order/ord_rejected", inbox.State{Last: 1, Parked: []int{1}})
			w.delete("notification", "told/order/ord_rejected/1")
			for _, c := range []string{"email", "push"} {
				w.must(os.Remove(w.config().Notices.Journals[c]))
			}
			w.change("notification", "told/order/ord_delivered/1", func(v map[string]any) { v["channels"] = nil })
		}, 0, ""},
		"a copy from before the record": {func(w *town) {
			w.message("push", ids.Derive("ntf", "order/ord_delivered/1", "push"), noon.Add(-61*time.Minute))
		}, 0, "notifications of which a copy with the same id went out, as after a crash: 1"},
		"from before the trails": {func(w *town) {
			w.delete("payment", "inbox/order/ord_delivered")
			w.change("order", "order/ord_delivered", func(v map[string]any) { delete(v, "trail") })
		}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTown(t).settle()
			tt.arrange(w)
			r := w.audit()
			for _, v := range r.Invariants {
				if !v.OK && name != "dead-lettered and not told" {
					t.Errorf("%d %s: %v", v.ID, v.Name, v.Violations)
				}
				if strings.Contains(strings.Join(v.Violations, "\n"), "ord_rejected") && v.ID == 7 && strings.Contains(strings.Join(v.Violations, "\n"), "never told of order/ord_rejected/1") {
					t.Errorf("what waits with the dead letters counts as never told: %v", v.Violations)
				}
			}
			if r.Pending != tt.pending || !strings.Contains(strings.Join(r.Notes, "\n"), tt.note) {
				t.Errorf("%d pending, notes %q; want %d, %q", r.Pending, r.Notes, tt.pending, tt.note)
			}
		})
	}
}
