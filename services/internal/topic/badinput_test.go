package topic_test

import (
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
)

// Bad input ends with a cause that can be read, at once or, where it may get better, after the schedule; and never
// keeps the real event out.
func TestBadInput(t *testing.T) {
	far := func(e *cloudevent.Event) { e.ID, e.Sequence, e.Trail = "order/ord_1/90", "90", "" }
	for name, tt := range map[string]struct {
		change  func(*cloudevent.Event)
		cause   string
		retried bool
		parked  bool
	}{
		"without id":             {func(e *cloudevent.Event) { e.ID = "" }, "malformed: id is missing", false, false},
		"without sequence":       {func(e *cloudevent.Event) { e.Sequence = "" }, "malformed: sequence is missing", false, false},
		"sequence in words":      {func(e *cloudevent.Event) { e.Sequence = "two" }, `malformed: sequence "two" is not a number from 1`, false, false},
		"sequence 0":             {func(e *cloudevent.Event) { e.Sequence = "0" }, `malformed: sequence "0" is not a number from 1`, false, false},
		"sequence not the id's":  {func(e *cloudevent.Event) { e.Sequence = "3" }, `malformed: id "order/ord_1/2" is not <stream>/<aggregate>/3`, false, false},
		"another subject":        {func(e *cloudevent.Event) { e.Subject = "ord_2" }, `malformed: subject "ord_2" is not the aggregate of id "order/ord_1/2"`, false, false},
		"forged source":          {func(e *cloudevent.Event) { e.Source = "dishmesh/menu" }, `malformed: source "dishmesh/menu" does not own fooddelivery.order: only dishmesh/order does`, false, false},
		"foreign source":         {func(e *cloudevent.Event) { e.Source = "https://evil.example" }, `malformed: source "https://evil.example" does not own`, false, false},
		"another's stream":       {func(e *cloudevent.Event) { e.ID = "payment/ord_1/2" }, `malformed: dishmesh/order owns the stream order, not "payment"`, false, false},
		"another topic's type":   {func(e *cloudevent.Event) { e.Type = "fooddelivery.menu.published" }, `malformed: type "fooddelivery.menu.published" does not belong on fooddelivery.order`, false, false},
		"unknown type":           {func(e *cloudevent.Event) { e.Type = "fooddelivery.order.eaten" }, "invalid-request: unknown type order.eaten: this version of the service handles order.placed, order.accepted, order.delivered", false, true},
		"clock far ahead":        {func(e *cloudevent.Event) { e.Time = e.Time.Add(48 * time.Hour) }, "malformed: time 2000-01-03T00:00:00Z is 48h0m0s ahead of this clock, more than 24h0m0s", false, true},
		"2 MB":                   {func(e *cloudevent.Event) { e.Data = json.RawMessage(`"` + strings.Repeat("x", 2<<20) + `"`) }, "malformed: the event has 20", false, true},
		"data of another type":   {func(e *cloudevent.Event) { e.DataContentType = "text/xml" }, `malformed: data is "text/xml", not application/json`, false, true},
		"sequence far ahead":     {far, "unavailable: sequence 90 is ahead of its stream: dishmesh/order holds 3 events of ord_1", true, false},
		"far ahead, unknown too": {func(e *cloudevent.Event) { far(e); e.Type = "fooddelivery.order.eaten" }, "unavailable: sequence 90 is ahead of its stream", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newConsumer(t, 1)
				events := c.owner.happens("ord_1", "placed", "accepted", "delivered")
				c.deliver(0, events[0])
				bad := events[1]
				tt.change(&bad)
				start := time.Now()
				if got := c.deliver(0, bad); got != "SUCCESS" {
					t.Errorf("got %s", got)
				}
				if causes := c.causes(); len(causes) != 1 || !strings.HasPrefix(causes[0], tt.cause) {
					t.Errorf("dead letters: %.300q, want %q", causes, tt.cause)
				}
				if retried := time.Since(start) > 0; retried != tt.retried {
					t.Errorf("took %v", time.Since(start))
				}
				if box := c.inbox("ord_1"); (len(box.Parked) == 1) != tt.parked || box.Last > 2 {
					t.Errorf("inbox %+v", box)
				}
				want := "1 2 3"
				if tt.parked {
					want = "1 3"
				}
				c.deliver(0, events[2])
				if got := c.taken("ord_1"); got != want {
					t.Errorf("taken %q after it, want %q", got, want)
				}
			})
		})
	}
	for contentType, cause := range map[string]string{
		"text/plain": "malformed: content type is text/plain, not application/cloudevents+json",
		";;":         `malformed: content type ";;": mime: no media type`,
	} {
		c := newConsumer(t, 1)
		c.post(0, encode(t, event()), contentType)
		if causes := c.causes(); len(causes) != 1 || causes[0] != cause {
			t.Errorf("dead letters: %q, want %q", causes, cause)
		}
	}
}

// The clocks of two machines differ.
func TestClockSkew(t *testing.T) {
	c := newConsumer(t, 1)
	e := c.owner.happens("ord_1", "placed")[0]
	e.Time = e.Time.Add(3 * time.Hour)
	if c.deliver(0, e); c.taken("ord_1") != "1" {
		t.Errorf("dead letters: %q", c.causes())
	}
}

// A second event under an id that was taken in is not passed over in silence if it says something else. How its JSON is
// written does not matter.
func TestAnotherContent(t *testing.T) {
	c := newConsumer(t, 1)
	e := c.owner.happens("ord_1", "placed")[0]
	c.deliver(0, e)
	rewritten := e
	rewritten.Data = json.RawMessage(`{ "n" : 1.0, "order_id":"ord\u005f1"}`)
	if c.deliver(0, rewritten); len(c.causes()) != 0 {
		t.Errorf("rewritten: %q", c.causes())
	}
	forged := e
	forged.Data = json.RawMessage(`{"order_id":"ord_1","n":1,"total":0}`)
	c.deliver(0, forged)
	if causes := c.causes(); len(causes) != 1 || causes[0] != "invalid-request: event order/ord_1/1 was taken in with another content before" || c.taken("ord_1") != "1" {
		t.Errorf("dead letters %q, taken %q", causes, c.taken("ord_1"))
	}
	t.Run("told by the owner", func(t *testing.T) {
		c := newConsumer(t, 1)
		forged := c.owner.happens("ord_1", "placed", "accepted")[1]
		forged.Data = json.RawMessage(`{"order_id":"ord_1","total":0}`)
		c.deliver(0, forged)
		if causes := c.causes(); len(causes) != 1 || causes[0] != "invalid-request: event order/ord_1/2 is not what dishmesh/order holds under that id" || c.taken("ord_1") != "1" {
			t.Errorf("dead letters %q, taken %q", causes, c.taken("ord_1"))
		}
	})
}
