package e2e

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// An order is polled cheaply: nothing is sent while nothing has changed, and the answer says when to ask again.
func TestConditionalGet(t *testing.T) {
	s := shared.use(t)
	eve := s.customer(t)
	placed := eve.order(t, s.meal(t, 2), "city:kitchen=ignore")
	path := "/v1/orders/" + placed.ID
	first := eve.get(t, path, nil)
	etag := first.header.Get("ETag")
	if etag == "" || first.header.Get("Retry-After") == "" {
		t.Errorf("an order under way: want ETag and Retry-After, got %v", first.header)
	}
	same := eve.must(t, http.StatusNotModified, request{method: "GET", path: path, header: map[string]string{"If-None-Match": etag}}, nil)
	if len(same.body) > 0 || same.header.Get("ETag") != etag || same.header.Get("Retry-After") == "" {
		t.Errorf("304: want no body, the same ETag and Retry-After, got %q and %v", same.body, same.header)
	}
	eve.must(t, http.StatusAccepted, request{method: "POST", path: path + "/cancel", body: orderapi.CancelRequest{Reason: "hungry no more"}}, nil)
	eve.ended(t, placed.ID, orderapi.Cancelled)
	var o orderapi.Order
	final := eve.must(t, http.StatusOK, request{method: "GET", path: path, header: map[string]string{"If-None-Match": etag}}, &o)
	if got := final.header.Get("ETag"); got == etag || got == "" {
		t.Errorf("ETag after the end: want another than %s, got %s", etag, got)
	}
	if got := final.header.Get("Retry-After"); got != "" {
		t.Errorf("Retry-After after the end: want none, got %s", got)
	}
	var past orderapi.Order
	s.operator(t).get(t, path+"?version=1", &past)
	if past.Status != orderapi.Placed || past.Version != 1 || o.Version <= 1 {
		t.Errorf("version 1: want placed, got %s in version %d of %d", past.Status, past.Version, o.Version)
	}
}

// event is a server-sent event.
type event struct {
	id, name string
	data     json.RawMessage
}

// stream is an open stream of server-sent events; events is closed at its end.
type stream struct {
	events <-chan event
	close  context.CancelFunc
}

// live opens the stream of an order after the event lastID.
func (p person) live(t *testing.T, order, lastID string) stream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), endsWithin)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", p.site.url+"/v1/orders/"+order+"/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+p.token)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() }) // it was only read
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || got != "text/event-stream" {
		t.Fatalf("want a stream, got status %d and %s", resp.StatusCode, got)
	}
	events := make(chan event)
	go func() {
		defer close(events)
		var e event
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			name, value, _ := strings.Cut(lines.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch name {
			case "event":
				e.name = value
			case "id":
				e.id = value
			case "data":
				e.data = json.RawMessage(value)
			case "":
				if lines.Text() != "" || e.data == nil {
					continue // a comment, or the end of nothing
				}
				select {
				case events <- e:
				case <-ctx.Done():
					return
				}
				e = event{}
			}
		}
	}()
	return stream{events: events, close: cancel}
}

// next gives the next event of the order itself.
func (s stream) next(t *testing.T) (event, bool) {
	t.Helper()
	deadline := time.After(endsWithin)
	for {
		select {
		case e, ok := <-s.events:
			if !ok || e.id != "" {
				return e, ok
			}
		case <-deadline:
			t.Fatalf("no event within %s", endsWithin)
		}
	}
}

// What a customer hears live, with a connection that breaks in between, is the order's history: each event once, in
// order, the same data, and the stream ends with the order.
func TestLiveStreamResumes(t *testing.T) {
	s := shared.use(t)
	eve := s.customer(t)
	placed := eve.order(t, s.meal(t, 3), "city:kitchen=ignore")

	before := eve.live(t, placed.ID, "")
	first, ok := before.next(t)
	if !ok || first.name != orderapi.EventPlaced || first.id != "1" {
		t.Fatalf("want %s with id 1 first, got %q with %q", orderapi.EventPlaced, first.name, first.id)
	}
	before.close()
	heard := []event{first}

	eve.must(t, http.StatusAccepted, request{method: "POST", path: "/v1/orders/" + placed.ID + "/cancel"}, nil)
	after := eve.live(t, placed.ID, first.id)
	for {
		e, ok := after.next(t)
		if !ok {
			break
		}
		heard = append(heard, e)
	}
	eve.ended(t, placed.ID, orderapi.Cancelled)

	var history orderapi.EventList
	eve.get(t, "/v1/orders/"+placed.ID+"/events", &history)
	type line struct {
		Name, ID, EventID string
		Data              any
	}
	var want, got []line
	for _, e := range history.Events {
		want = append(want, line{e.Type, strconv.Itoa(e.Sequence), e.ID, e.Data})
	}
	for _, e := range heard {
		var d struct {
			ID   string          `json:"id"`
			Data json.RawMessage `json:"data"`
		}
		if err := json.Unmarshal(e.data, &d); err != nil {
			t.Fatal(err)
		}
		got = append(got, line{e.name, e.id, d.ID, decoded(t, d.Data)})
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("heard live (-history +heard):\n%s", diff)
	}
	if len(want) < 3 {
		t.Errorf("the history has %d events, want at least placed, cancel-requested and cancelled", len(want))
	}

	// Whoever comes after the end gets what is missing, and the end.
	late := eve.live(t, placed.ID, strconv.Itoa(len(want)-1))
	if e, ok := late.next(t); !ok || e.id != strconv.Itoa(len(want)) {
		t.Errorf("after the last but one: got %q %q", e.id, e.name)
	}
	if e, ok := late.next(t); ok {
		t.Errorf("after the last: got %q %q", e.id, e.name)
	}
}

func decoded(t *testing.T, raw json.RawMessage) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}
