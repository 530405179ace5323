package e2e

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dishmesh/dishmesh/services/analytics/analyticsapi"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/tail"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// letters is how many dead letters TestReplayRate replays: few by default, 10000 for a measurement.
var letters = flag.Int("dead-letters", 500, "dead letters that TestReplayRate replays")

const (
	orderTopic      = "fooddelivery.order"
	paymentTopic    = "fooddelivery.payment"
	restaurantTopic = "fooddelivery.restaurant"
)

// cutDeadLetters takes the name of a dead-letter topic apart.
func cutDeadLetters(name string) (of, app string, ok bool) { return strings.Cut(name, ".dlq.") }

// dlq runs a dlq command that prints JSON into out.
func (s *site) dlq(t *testing.T, want int, out any, args ...string) {
	t.Helper()
	o := s.command(t, want, append(append([]string{"dlq"}, args...), "--json")...)
	if err := json.Unmarshal([]byte(o.stdout), out); err != nil {
		t.Fatalf("dlq %v --json: %v: %s", args, err, o)
	}
}

// letter waits for the one dead letter of a subject.
func (s *site) letter(t *testing.T, app, subject string) deadletter.Letter {
	t.Helper()
	var l deadletter.Letter
	eventually(t, time.Minute, "a dead letter of "+subject, func() error {
		var o deadletter.Overview
		if s.dlq(t, 0, &o, "list", "--subject", subject); !o.Complete || len(o.Letters) != 1 || o.Letters[0].App != app {
			return fmt.Errorf("got %+v", o.Letters)
		}
		s.dlq(t, 0, &l, "show", o.Letters[0].ID)
		return nil
	})
	return l
}

// poison is an event of a stream that the platform does not have.
func poison(kind, subject, data string) cloudevent.Event {
	entity, _, _ := strings.Cut(kind, ".")
	stream := strings.Replace(entity, "restaurant", "ticket", 1)
	return cloudevent.Event{SpecVersion: "1.0", ID: stream + "/" + subject + "/1", Source: "dishmesh/" + entity, Type: cloudevent.Prefix + kind, Subject: subject, Sequence: "1",
		Time: time.Now().UTC().Truncate(time.Millisecond), DataContentType: "application/json", TraceParent: correlation.NewTraceParent(), Data: json.RawMessage(data)}
}

// Events that can't be taken in are tried on their schedule (1, 2, 4 s, and 8 s where money is moved), become dead
// letters with all that is known of them, and are listed, shown, edited, replayed and dropped. Nothing else suffers.
func TestPoison(t *testing.T) {
	s := shared.use(t)
	b := s.stranger(t)
	eve := s.customer(t)
	unknown, broken := ids.New("ord"), ids.New("ord")
	// Of an order that nobody has heard of, nobody can be told; and no store takes a key with || in it.
	refund := poison(paymentapi.EventRefunded, unknown, `{"order_id":"`+unknown+`","amount":1250,"currency":"EUR"}`)
	accepted := poison(restaurantapi.TypeTicketAccepted, broken, `{"order_id":"x||`+broken+`","prep_minutes":5}`)
	b.publish(t, record(t, paymentTopic, 0, refund), record(t, restaurantTopic, 0, accepted),
		&kgo.Record{Topic: orderTopic + ".dlq.payment", Value: []byte("<no dead letter at all/>")})

	for _, tt := range []struct {
		app      string
		e        cloudevent.Event
		attempts int
		span     time.Duration
		cause    string
	}{
		{"notification", refund, 4, 7 * time.Second, "isn't known yet"},
		{"order", accepted, 5, 15 * time.Second, "store"},
	} {
		l := s.letter(t, tt.app, tt.e.Subject)
		if span := l.Last.Sub(l.First); l.Attempts != tt.attempts || float64(span) < float64(tt.span)*(1-topic.Jitter) || span > tt.span+5*time.Second {
			t.Errorf("%s: %d attempts in %s, want %d in %s", tt.e.Type, l.Attempts, span, tt.attempts, tt.span)
		}
		if l.Event != tt.e.ID || l.Type != tt.e.Type || l.TraceID != correlation.TraceID(tt.e.TraceParent) || !strings.Contains(l.Cause, tt.cause) || l.Replays != 0 {
			t.Errorf("%s: %+v", tt.e.Type, l)
		}
		var original cloudevent.Event
		if err := json.Unmarshal([]byte(l.Original), &original); err != nil || original.ID != tt.e.ID || string(original.Data) != string(tt.e.Data) {
			t.Errorf("%s: the original is %s: %v", tt.e.Type, l.Original, err)
		}
	}

	// As it is, a replay fails again, and the letter stays.
	l := s.letter(t, "notification", unknown)
	var r struct {
		Matched, Done int
		Failed        []deadletter.Failure
	}
	if s.dlq(t, 1, &r, "replay", l.ID); r.Done != 0 || len(r.Failed) != 1 {
		t.Errorf("replay as it is: %+v", r)
	}
	// With a customer in it there is somebody to be told.
	changed := refund
	changed.Data = json.RawMessage(`{"order_id":"` + unknown + `","amount":1250,"currency":"EUR","customer_id":"` + eve.user.ID + `"}`)
	file := filepath.Join(t.TempDir(), "event.json")
	for body, want := range map[string]int{`{"a":`: 2, strings.Replace(encode(t, changed), refund.ID, "payment/other/1", 1): 2, encode(t, changed): 0} {
		if err := os.WriteFile(file, []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		s.command(t, want, "dlq", "edit", l.ID, "--body", file)
	}
	if edited := s.letter(t, "notification", unknown); edited.Original != l.Original || edited.Edit == nil || edited.Attempts != 5 || edited.Replays != 1 {
		t.Errorf("after the edit: %+v", edited)
	}
	if s.command(t, 2, "dlq", "replay", "--subject", unknown); len(s.told(t, eve, refund.ID)) != 0 {
		t.Error("a bulk replay was not to be done without being confirmed")
	}
	if s.dlq(t, 0, &r, "replay", "--subject", unknown, "--dry-run"); r.Matched != 1 || r.Done != 0 {
		t.Errorf("dry run: %+v", r)
	}
	if s.dlq(t, 0, &r, "replay", "--subject", unknown, "--yes", "--reason", "e2e"); r.Done != 1 {
		t.Errorf("replay of what was edited: %+v", r)
	}
	eventually(t, time.Minute, "the customer was told", func() error {
		if told := s.told(t, eve, refund.ID); len(told) != 1 || told[0].Status != notificationapi.Sent {
			return fmt.Errorf("told %+v", told)
		}
		return nil
	})
	s.command(t, 1, "dlq", "show", l.ID) // it is gone
	s.dlq(t, 0, &r, "drop", s.letter(t, "order", broken).ID, "--reason", "a test's")

	// Who did what.
	var trail deadletter.TrailOverview
	s.dlq(t, 0, &trail, "audit")
	operator := s.operator(t).user.ID
	var got []string
	for _, rec := range trail.Records {
		if rec.By != operator {
			t.Errorf("record of %q, want %s", rec.By, operator)
		}
		if slices.ContainsFunc(rec.Letters, func(o deadletter.Outcome) bool { return o.ID == l.ID }) {
			got = append(got, fmt.Sprint(rec.Action, " ", rec.Phase, " ", rec.Done, " ", rec.Failed))
		}
	}
	if diff := cmp.Diff([]string{"replay done 1 0", "edit done 1 0", "replay done 0 1", "replay requested 0 0"}, got); diff != "" {
		t.Errorf("trail (-want +got):\n%s", diff)
	}

	// What was on a dead-letter topic and was no dead letter is one now.
	var junk deadletter.Overview
	if s.dlq(t, 0, &junk, "list", "--app", "payment", "--cause", "no dead letter"); len(junk.Letters) != 1 {
		t.Errorf("what is no dead letter: %+v", junk)
	}
	s.command(t, 0, "dlq", "drop", "--app", "payment", "--cause", "no dead letter", "--yes")
	eve.ended(t, eve.order(t, s.meal(t, 0), "").ID, orderapi.Delivered) // nothing is in the way of others
	refuses(t, eve, request{method: "GET", path: "/v1/dead-letters"}, problem.Forbidden)
	s.auditGreen(t)
}

// A record that is no JSON holds up nobody: it is a dead letter of every app that hears the topic, as it came.
func TestUnreadableRecord(t *testing.T) {
	s := shared.use(t)
	const junk = "<xml>no event</xml>"
	b := s.stranger(t)
	for partition := range int32(6) {
		b.publish(t, &kgo.Record{Topic: orderTopic, Partition: partition, Value: fmt.Appendf(nil, "%s%d", junk, partition)})
	}
	of := []string{"list", "--topic", orderTopic, "--cause", "no JSON object"}
	eventually(t, time.Minute, "the records are dead letters", func() error {
		var o deadletter.Overview
		got := map[string]int{}
		s.dlq(t, 0, &o, of...)
		for _, l := range o.Letters {
			got[l.App]++
		}
		if want := (map[string]int{"analytics": 6, "notification": 6, "payment": 6, "pricing": 6}); !cmp.Equal(want, got) {
			return fmt.Errorf("letters by app: %v, want %v", got, want)
		}
		var l deadletter.Letter
		if s.dlq(t, 0, &l, "show", o.Letters[0].ID); !strings.HasPrefix(l.Original, junk) || l.Attempts != 1 {
			return fmt.Errorf("got %+v", l)
		}
		return nil
	})
	of[0] = "drop"
	s.command(t, 0, append([]string{"dlq"}, append(of, "--yes")...)...)
	eve := s.customer(t)
	eve.ended(t, eve.order(t, s.meal(t, 0), "").ID, orderapi.Delivered) // nothing is in the way of others
	s.auditGreen(t)
}

// told gives the notifications of a cause that a person got.
func (s *site) told(t *testing.T, p person, cause string) []notificationapi.Notification {
	t.Helper()
	var list notificationapi.List
	p.get(t, "/v1/notifications", &list)
	return slices.DeleteFunc(list.Notifications, func(n notificationapi.Notification) bool { return cause != "" && n.Cause != cause })
}

// aftermath is all that an order has left behind.
type aftermath struct {
	Events        []string // on the broker, by id
	Order         orderapi.Order
	History       orderapi.EventList
	Payment       paymentapi.Payment
	Delivery      deliveryapi.Tracking
	Notifications []notificationapi.Notification
	Orders        analyticsapi.Orders
	Revenue       analyticsapi.Revenue
}

func (s *site) aftermath(t *testing.T, b *stranger, eve person, order string) aftermath {
	t.Helper()
	operator := s.operator(t)
	var a aftermath
	for _, r := range b.events(t, order) {
		a.Events = append(a.Events, r.Event.ID)
	}
	slices.Sort(a.Events)
	a.Events = slices.Compact(a.Events)
	operator.get(t, "/v1/orders/"+order, &a.Order)
	operator.get(t, "/v1/orders/"+order+"/events", &a.History)
	operator.get(t, "/v1/payments/"+order, &a.Payment)
	operator.get(t, "/v1/deliveries/"+order, &a.Delivery)
	a.Notifications = s.told(t, eve, "")
	var summary analyticsapi.Summary
	operator.get(t, "/v1/analytics/summary", &summary)
	a.Orders, a.Revenue = summary.Orders, summary.Revenue
	return a
}

// Every event of a finished order comes five times more, first from the broker, then from the dead letters of every
// app that is subscribed to it: not one more charge, notification or stage, and the audit is green.
func TestReplayedHistory(t *testing.T) {
	const times = 5
	s := shared.use(t)
	b := s.stranger(t)
	eve := s.customer(t)
	order := eve.order(t, s.meal(t, 1), "").ID
	checkMoney(t, s.operator(t), order, eve.ended(t, order, orderapi.Delivered).Total, taken)
	b.quiet(t)
	events := b.events(t, order)
	before := s.aftermath(t, b, eve, order)
	if i := slices.IndexFunc(events, func(r tail.Record) bool { return r.Event.Name() == orderapi.EventPlaced }); i < 0 || correlation.TraceID(events[i].Event.TraceParent) == "" {
		t.Errorf("the trace of the request is not in the event of it: %+v", events[max(0, i)].Event)
	}
	if len(events) < 12 || len(before.Notifications) < 4 {
		t.Fatalf("only %d events and %d notifications", len(events), len(before.Notifications))
	}
	unchanged := func(how string) {
		t.Helper()
		b.quiet(t)
		if diff := cmp.Diff(before, s.aftermath(t, b, eve, order), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("after every event came %d times more from %s (-before +after):\n%s", times, how, diff)
		}
		s.auditGreen(t)
	}

	start := time.Now()
	for range times {
		var again []*kgo.Record
		for _, r := range events {
			again = append(again, record(t, r.Topic, r.Partition, *r.Event))
		}
		b.publish(t, again...)
	}
	unchanged("the broker")
	t.Logf("%d events %d times from the broker: %.1f s", len(events), times, time.Since(start).Seconds())

	start = time.Now()
	replayed := 0
	for range times {
		var dead []*kgo.Record
		now := time.Now().UTC()
		for _, r := range events {
			for _, sub := range b.subs {
				if sub.Topic == r.Topic {
					dead = append(dead, deadLetter(t, r.Topic, sub.Apps[0], "replayed by a test", *r.Event, now))
				}
			}
		}
		b.publish(t, dead...)
		eventually(t, time.Minute, "the dead letters are there", func() error {
			var o deadletter.Overview
			if s.dlq(t, 0, &o, "list", "--limit", "1", "--cause", "replayed by a test"); o.Matched != len(dead) {
				return fmt.Errorf("%d of %d", o.Matched, len(dead))
			}
			return nil
		})
		var r struct {
			Done   int
			Failed []deadletter.Failure
		}
		s.dlq(t, 1, &r, "replay", "--cause", "replayed by a test", "--yes")
		for _, f := range r.Failed { // a subscription lets some types through only; nothing else may fail
			if !strings.Contains(f.Cause, "unknown type") {
				t.Errorf("%s: %s", f.Event, f.Cause)
			}
		}
		if r.Done < 15 || r.Done+len(r.Failed) != len(dead) { // 19 at the time of writing
			t.Errorf("replayed %d of %d, %d failed", r.Done, len(dead), len(r.Failed))
		}
		replayed += r.Done
		s.command(t, 0, "dlq", "drop", "--subject", order, "--yes")
	}
	unchanged("the dead letters")
	t.Logf("%d dead letters: %.1f s", replayed, time.Since(start).Seconds())
}

// A backlog of dead letters is replayed at a good rate, with progress. With -dead-letters 10000 it is the measurement
// that services/README.md tells of.
func TestReplayRate(t *testing.T) {
	s := shared.use(t)
	b := s.stranger(t)
	start := time.Now()
	var dead []*kgo.Record
	for range *letters {
		id := ids.New("ord")
		e := poison(restaurantapi.TypeTicketReady, id, `{"order_id":"`+id+`","restaurant_id":"rst_01"}`)
		dead = append(dead, deadLetter(t, restaurantTopic, "delivery", "unavailable: a backlog", e, start.UTC()))
	}
	b.publish(t, dead...)
	eventually(t, 5*time.Minute, "the dead letters are there", func() error {
		var o deadletter.Overview
		if s.dlq(t, 0, &o, "list", "--limit", "1", "--cause", "a backlog"); o.Matched != *letters {
			return fmt.Errorf("%d of %d", o.Matched, *letters)
		}
		return nil
	})
	t.Logf("%d taken in: %.0f per s", *letters, float64(*letters)/time.Since(start).Seconds())
	o := s.command(t, 0, "dlq", "replay", "--cause", "a backlog", "--yes", "--json")
	var r struct {
		Done      int
		Seconds   float64
		PerSecond float64 `json:"per_second"`
	}
	err := json.Unmarshal([]byte(o.stdout), &r)
	if r.Seconds > 3 && !strings.Contains(o.stderr, " of "+fmt.Sprint(*letters)) {
		err = errors.Join(err, errors.New("no progress is told"))
	}
	if err != nil || r.Done != *letters {
		t.Fatalf("replayed %d of %d: %v %s", r.Done, *letters, err, o)
	}
	t.Logf("%d replayed: %.0f per s", r.Done, r.PerSecond)
	if *letters >= 10_000 && r.PerSecond < 500 {
		t.Errorf("%.0f per s, want over 500", r.PerSecond)
	}
}
