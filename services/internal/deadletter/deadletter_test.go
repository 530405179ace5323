package deadletter_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

const (
	orders   = "fooddelivery.order"
	payments = "fooddelivery.payment"
)

var (
	ann = web.Identity{Subject: "usr_ann", Role: web.RoleOperator}
	eve = web.Identity{Subject: "usr_eve", Role: web.RoleCustomer}
)

// subscriber plays the topic adapter: fail decides what becomes of an event.
type subscriber struct {
	mu   sync.Mutex
	fail func(body string) error
	got  []string
}

func (s *subscriber) Topics() []string { return []string{orders, payments} }

func (s *subscriber) Redeliver(_ context.Context, of string, body []byte) (topic.Result, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.got = append(s.got, of+" "+string(body))
	if s.fail == nil {
		return topic.Already, nil
	}
	return topic.Handled, s.fail(string(body))
}

// fixture is the box of the app payment, with its routes.
type fixture struct {
	t      *testing.T
	box    *deadletter.Box
	router *mux.Router
	reg    *prometheus.Registry
	sub    *subscriber
	state  sidecar.Store
	start  time.Time
}

func newFixture(t *testing.T, state sidecar.Store) *fixture {
	t.Helper()
	sub := &subscriber{}
	return replica(t, state, sub, sub, time.Now().UTC().Add(-time.Hour))
}

// replica builds a box on a store that others may use, too. It delivers to s; sub sees what is delivered.
func replica(t *testing.T, state sidecar.Store, s deadletter.Subscriber, sub *subscriber, start time.Time) *fixture {
	t.Helper()
	f := &fixture{t: t, router: web.Router(), reg: prometheus.NewRegistry(), sub: sub, state: state, start: start}
	f.box = deadletter.New("payment", state, s, slog.New(slog.DiscardHandler), f.reg)
	f.box.Routes(f.router)
	return f
}

// event is the n-th event of an order.
func event(order string, n int) cloudevent.Event {
	return cloudevent.Event{SpecVersion: "1.0", ID: fmt.Sprintf("order/%s/%d", order, n), Source: "dishmesh/order", Type: "fooddelivery.order.delivered", Subject: order,
		Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Sequence: fmt.Sprint(n), Data: json.RawMessage(`{"order_id":"` + order + `"}`)}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// letter is what the topic adapter publishes when it gives an event up.
func letter(t testing.TB, of string, e cloudevent.Event, cause string, last time.Time) []byte {
	t.Helper()
	d := topic.DeadLetter{Topic: of, App: "payment", Cause: cause, Attempts: 4, First: last.Add(-7 * time.Second), Last: last, Original: encode(t, e)}
	return encode(t, cloudevent.Event{SpecVersion: "1.0", ID: e.ID + "/dead/payment", Source: "dishmesh/payment", Type: "fooddelivery.dead-letter", Subject: e.Subject,
		Time: last, CorrelationID: e.Subject, TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Data: encode(t, d)})
}

// deliver brings what lies on the dead-letter topic of a topic in, as the sidecar does.
func (f *fixture) deliver(of string, raw []byte) (status string) {
	f.t.Helper()
	wrapped := encode(f.t, map[string]string{"specversion": "1.0", "type": "com.dapr.event.sent", "data_base64": base64.StdEncoding.EncodeToString(raw)})
	w := httptest.NewRecorder()
	f.router.ServeHTTP(w, httptest.NewRequest("POST", "/events/"+of+".dlq.payment", strings.NewReader(string(wrapped))))
	var answer struct{ Status string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
		f.t.Errorf("delivery: %d %s", w.Code, w.Body)
	}
	return answer.Status
}

// fill takes n letters in, of n orders.
func (f *fixture) fill(n int) {
	f.t.Helper()
	for i := range n {
		if got := f.deliver(orders, letter(f.t, orders, event(fmt.Sprintf("ord_%d", i), 1), "unavailable: no", f.start.Add(time.Duration(i)*time.Millisecond))); got != "SUCCESS" {
			f.t.Fatalf("letter %d: %s", i, got)
		}
	}
}

func (f *fixture) ask(method, path string, in, out any) error {
	return runtest.Do(f.router, ann, method, "/v1/dead-letters/payment"+path, in, out)
}

func (f *fixture) list(query string) deadletter.List {
	f.t.Helper()
	var list deadletter.List
	if err := f.ask("GET", query, nil, &list); err != nil {
		f.t.Fatal(err)
	}
	return list
}

func (f *fixture) only() deadletter.Letter {
	f.t.Helper()
	list := f.list("")
	if len(list.Letters) != 1 || list.Matched != 1 || list.Total != 1 {
		f.t.Fatalf("want one letter, got %+v", list)
	}
	return f.show(list.Letters[0].ID)
}

func (f *fixture) show(id string) deadletter.Letter {
	f.t.Helper()
	var l deadletter.Letter
	if err := f.ask("GET", "/"+id, nil, &l); err != nil {
		f.t.Fatal(err)
	}
	return l
}

func (f *fixture) records() []deadletter.Record {
	f.t.Helper()
	var trail deadletter.Trail
	if err := f.ask("GET", "/audit", nil, &trail); err != nil {
		f.t.Fatal(err)
	}
	return trail.Records
}

// A letter has all that the adapter knew, and a repetition of it changes nothing.
func TestTake(t *testing.T) {
	store := sidecartest.NewStore()
	f := newFixture(t, store)
	e := event("ord_1", 3)
	raw := letter(t, orders, e, "unavailable: the acquirer is away", f.start)
	for range 3 {
		if got := f.deliver(orders, raw); got != "SUCCESS" {
			t.Fatal(got)
		}
	}
	got := f.only()
	want := deadletter.Letter{Entry: deadletter.Entry{Seq: 1, ID: got.ID, App: "payment", Topic: orders, Event: "order/ord_1/3", Type: "fooddelivery.order.delivered", Subject: "ord_1",
		Cause: "unavailable: the acquirer is away", Attempts: 4, First: f.start.Add(-7 * time.Second), Last: f.start, Size: len(encode(t, e))},
		CorrelationID: "ord_1", TraceID: correlation.TraceID("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), Original: string(encode(t, e))}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	// The same event fails again: the same letter. Another body under its id: another letter.
	f.deliver(orders, letter(t, orders, e, "timeout", f.start.Add(time.Minute)))
	again := f.only()
	if again.ID != got.ID || again.Attempts != 8 || again.Cause != "timeout" || !again.First.Equal(got.First) || !again.Last.Equal(f.start.Add(time.Minute)) {
		t.Errorf("after another failure: %+v", again.Entry)
	}
	e.Data = json.RawMessage(`{"order_id":"ord_1","total":1}`)
	f.deliver(orders, letter(t, orders, e, "timeout", f.start))
	if list := f.list(""); list.Total != 2 || list.Letters[0].Event != list.Letters[1].Event {
		t.Errorf("with another body: %+v", list)
	}
}

// Nothing that lies on a dead-letter topic is delivered twice because of what it is.
func TestPoisonedDeadLetters(t *testing.T) {
	binary := []byte{0xff, 0xfe, 0, 1}
	huge := deadletterOf(t, []byte(strings.Repeat("x", 900<<10)))
	for _, tt := range []struct {
		name, cause, text string
		raw               []byte
		cut               int
	}{
		{"empty", "no dead letter, but something else on its topic: unexpected end of JSON input", "", nil, 0},
		{"no JSON", "no dead letter, but something else on its topic: invalid character '<'", "<xml/>", []byte("<xml/>"), 0},
		{"an array", "no dead letter, but something else on its topic: json: cannot unmarshal array", "[1]", []byte("[1]"), 0},
		{"no event", "no dead letter, but something else on its topic:", `{"a":1}`, []byte(`{"a":1}`), 0},
		{"an event that is no letter", "it has neither a cause nor an original", string(encode(t, event("ord_1", 1))), encode(t, event("ord_1", 1)), 0},
		{"no text", "no dead letter, but something else on its topic: invalid character", "", binary, 0},
		{"a letter of what is no event", "malformed", "nonsense", deadletterOf(t, []byte("nonsense")), 0},
		{"a huge original", "malformed", strings.Repeat("x", 640<<10), huge, 260 << 10},
		{"from the future", "late", string(encode(t, event("ord_1", 1))), letter(t, orders, event("ord_1", 1), "late", time.Now().Add(time.Hour)), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, sidecartest.NewStore())
			if got := f.deliver(orders, tt.raw); got != "SUCCESS" {
				t.Fatal(got)
			}
			l := f.only()
			if !strings.Contains(l.Cause, tt.cause) || l.Original != tt.text || l.Cut != tt.cut || l.Topic != orders {
				t.Errorf("got cause %q, %d bytes %.100q, cut %d", l.Cause, len(l.Original), l.Original, l.Cut)
			}
			if tt.name == "no text" && string(l.OriginalBase64) != string(binary) {
				t.Errorf("original %x", l.OriginalBase64)
			}
			if now := time.Now(); l.Last.After(now) || l.First.After(l.Last) || now.Sub(l.Last) > time.Minute {
				t.Errorf("failed %s to %s", l.First, l.Last)
			}
			f.sub.fail = func(string) error { return problem.New(problem.InvalidRequest, "malformed") }
			var r deadletter.Result
			if err := f.ask("POST", "/"+l.ID+"/replay", nil, &r); err != nil || len(r.Failed) != 1 || f.only().Replays != 1 {
				t.Errorf("a replay of it: %v, %+v", err, r)
			}
		})
	}
}

func deadletterOf(t *testing.T, original []byte) []byte {
	t.Helper()
	d := topic.DeadLetter{Topic: orders, App: "payment", Cause: "malformed", Attempts: 1, First: time.Now(), Last: time.Now(), Original: original}
	return encode(t, cloudevent.Event{SpecVersion: "1.0", ID: "unknown/x/dead/payment", Source: "dishmesh/payment", Type: "fooddelivery.dead-letter", Subject: "unknown", Time: time.Now(), Data: encode(t, d)})
}

// Only a store that does not answer has the broker deliver again.
func TestStoreAway(t *testing.T) {
	store := sidecartest.NewStore()
	f := newFixture(t, store)
	away := true
	store.Fail = func([]sidecar.Op) error {
		if away {
			return problem.New(problem.Unavailable, "the store does not answer")
		}
		return nil
	}
	raw := letter(t, orders, event("ord_1", 1), "no", f.start)
	if got := f.deliver(orders, raw); got != "RETRY" {
		t.Errorf("store away: %s", got)
	}
	away = false
	if got := f.deliver(orders, raw); got != "SUCCESS" {
		t.Errorf("store back: %s", got)
	}
	f.only()
}

func TestFilters(t *testing.T) {
	f := newFixture(t, sidecartest.NewStore())
	add := func(of string, e cloudevent.Event, cause string, age time.Duration) {
		f.deliver(of, letter(t, of, e, cause, time.Now().UTC().Add(-age)))
	}
	refund := event("ord_2", 1)
	refund.Type, refund.ID = "fooddelivery.payment.refunded", "payment/ord_2/1"
	add(orders, event("ord_1", 1), "Timeout: acquirer", 3*time.Hour)
	add(payments, refund, "unavailable", 2*time.Hour)
	add(orders, event("ord_2", 1), "illegal-state-change", time.Hour)
	at := func(age time.Duration) string { return url.QueryEscape(time.Now().Add(-age).Format(time.RFC3339)) }
	for query, want := range map[string][]int{
		"":                              {3, 2, 1},
		"?topic=" + orders:              {3, 1},
		"?topic=order":                  nil,
		"?type=" + refund.Type:          {2},
		"?subject=ord_2":                {3, 2},
		"?cause=TIMEOUT":                {1},
		"?since=" + at(150*time.Minute): {3, 2},
		"?until=" + at(150*time.Minute): {1},
		"?since=" + at(150*time.Minute) + "&until=" + at(90*time.Minute): {2},
		"?topic=" + orders + "&subject=ord_2&limit=5":                    {3},
		"?limit=2":  {3, 2},
		"?before=3": {2, 1},
	} {
		list := f.list(query)
		var got []int
		for _, e := range list.Letters {
			got = append(got, e.Seq)
		}
		if diff := cmp.Diff(want, got); diff != "" || list.Total != 3 {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	if got := f.list("?limit=2"); got.Next != 2 || got.Matched != 3 {
		t.Errorf("first page: %+v", got)
	}
	if got := f.list("").Topics; len(got) != 2 || got[0].Count != 2 || got[1].Topic != payments {
		t.Errorf("topics: %+v", got)
	}
	for query, fields := range map[string]string{"?limit=0&before=x": "limit, before", "?since=today&until=1": "since, until", "?app=order": "app", "?limit=501": "limit"} {
		var p *problem.Error
		if err := f.ask("GET", query, nil, nil); !errors.As(err, &p) || p.Type != problem.InvalidRequest || len(p.Fields) != len(strings.Split(fields, ", ")) {
			t.Errorf("%s: want faults in %s, got %v", query, fields, err)
		}
	}
}

// Nobody but operators gets in, whatever the gateway lets through.
func TestOperatorsOnly(t *testing.T) {
	f := newFixture(t, sidecartest.NewStore())
	f.fill(1)
	id := f.only().ID
	for _, r := range [][2]string{{"GET", ""}, {"GET", "/audit"}, {"GET", "/" + id}, {"PUT", "/" + id}, {"POST", "/" + id + "/replay"}, {"POST", "/" + id + "/drop"}, {"POST", "/replay"}, {"POST", "/drop"}} {
		for _, who := range []web.Identity{eve, {}} {
			if err := runtest.Do(f.router, who, r[0], "/v1/dead-letters/payment"+r[1], nil, nil); problem.Of(err) != problem.Forbidden {
				t.Errorf("%s %s as %q: %v", r[0], r[1], who.Role, err)
			}
		}
	}
	if err := f.ask("GET", "/payment_"+strings.Repeat("0", 26), nil, nil); problem.Of(err) != problem.NotFound {
		t.Errorf("a letter that there is not: %v", err)
	}
	if !slices.Contains([]string{"SUCCESS"}, f.deliver(payments, []byte("x"))) || f.list("").Total != 2 {
		t.Error("the sidecar has no identity, and is let in")
	}
}
