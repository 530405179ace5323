package topic_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

// owner is the order service as far as consumers ask it: it holds what happened.
type owner struct {
	mu     sync.Mutex
	events map[string][]cloudevent.Event
	asked  int
	away   bool
}

// happens appends events of these actions to an order.
func (o *owner) happens(order string, actions ...string) []cloudevent.Event {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, action := range actions {
		e := event()
		seq := strconv.Itoa(len(o.events[order]) + 1)
		e.ID, e.Subject, e.Sequence, e.Type = "order/"+order+"/"+seq, order, seq, "fooddelivery.order."+action
		e.Data = json.RawMessage(`{"order_id":"` + order + `","n":` + seq + `}`)
		if before := o.events[order]; len(before) > 0 {
			last := before[len(before)-1]
			e.Trail = cloudevent.ExtendTrail(last.Trail, cloudevent.Action(last.Name()))
		}
		o.events[order] = append(o.events[order], e)
	}
	return slices.Clone(o.events[order])
}

func (o *owner) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.asked++
	if o.away {
		problem.Write(w, problem.New(problem.Unavailable, "away"), "", "")
		return
	}
	events := o.events[r.URL.Path[strings.LastIndexByte(r.URL.Path, '/')+1:]]
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	page := events[min(after, len(events)):]
	_ = json.NewEncoder(w).Encode(map[string]any{"version": len(events), "events": page[:min(limit, len(page))]})
}

// consumer is a service that writes down what it takes in, one key an event, and what it did in between.
type consumer struct {
	t      *testing.T
	store  *sidecartest.Store
	away   atomic.Bool // the store answers nothing
	pub    *sidecartest.Publisher
	owner  *owner
	fail   func(e cloudevent.Event) error
	routes []http.Handler // one a replica
	subs   []*topic.Subscriber
}

var mine = []string{"order.placed", "order.accepted", "order.delivered"}

func newConsumer(t *testing.T, replicas int) *consumer {
	c := &consumer{t: t, store: sidecartest.NewStore(), pub: &sidecartest.Publisher{}, owner: &owner{events: map[string][]cloudevent.Event{}},
		fail: func(cloudevent.Event) error { return nil }}
	state := inbox.New(leaving{c.store, &c.away})
	handler := func(ctx context.Context, e cloudevent.Event) error {
		if err := c.fail(e); err != nil {
			return err
		}
		item, err := state.Get(ctx, "log/"+e.Subject)
		if err != nil {
			return err
		}
		value := append(bytes.Clone(item.Value), []byte(e.Sequence+" ")...)
		err = state.Transact(ctx, sidecar.Op{Key: "log/" + e.Subject, Value: value, ETag: item.ETag, Create: !item.Exists()})
		if errors.Is(err, sidecar.ErrConflict) && !errors.Is(err, inbox.ErrTaken) {
			return problem.Wrap(err, problem.WriteConflict, "log")
		}
		return err
	}
	for range replicas {
		s := topic.New(t.Context(), "payment", c.pub, slog.New(slog.DiscardHandler), prometheus.NewRegistry()).
			WithInbox(state, sidecartest.Mesh{"order": c.owner})
		r := mux.NewRouter()
		s.Handle(r, topic.Subscription{Topic: orders, Schedule: topic.Standard, Types: mine, Handler: handler})
		c.routes, c.subs = append(c.routes, r), append(c.subs, s)
	}
	return c
}

// leaving is a store that can be away.
type leaving struct {
	sidecar.Store
	away *atomic.Bool
}

func (s leaving) gone() error {
	if s.away.Load() {
		return problem.New(problem.Unavailable, "the store does not answer")
	}
	return nil
}

func (s leaving) Get(ctx context.Context, key string) (sidecar.Item, error) {
	if err := s.gone(); err != nil {
		return sidecar.Item{}, err
	}
	return s.Store.Get(ctx, key)
}

func (s leaving) GetBulk(ctx context.Context, keys []string) ([]sidecar.Item, error) {
	if err := s.gone(); err != nil {
		return nil, err
	}
	return s.Store.GetBulk(ctx, keys)
}

func (s leaving) Transact(ctx context.Context, ops ...sidecar.Op) error {
	if err := s.gone(); err != nil {
		return err
	}
	return s.Store.Transact(ctx, ops...)
}

func (c *consumer) deliver(replica int, e cloudevent.Event) string {
	c.t.Helper()
	return c.post(replica, encode(c.t, e), cloudevent.ContentType)
}

func (c *consumer) post(replica int, body, contentType string) string {
	r := httptest.NewRequest("POST", "/events/"+orders, strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	c.routes[replica].ServeHTTP(w, r)
	var answer struct{ Status string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		c.t.Errorf("answer %d %s", w.Code, w.Body)
	}
	return answer.Status
}

// taken are the sequences that took effect, in the order in which they did.
func (c *consumer) taken(order string) string {
	item, _ := c.store.Get(c.t.Context(), "log/"+order)
	return strings.TrimSpace(string(item.Value))
}

func (c *consumer) inbox(order string) inbox.State {
	c.t.Helper()
	item, _ := c.store.Get(c.t.Context(), inbox.Key("order", order))
	var s inbox.State
	if item.Exists() {
		if err := json.Unmarshal(item.Value, &s); err != nil {
			c.t.Fatal(err)
		}
	}
	return s
}

func (c *consumer) causes() []string {
	var all []string
	for _, p := range c.pub.Sent() {
		var d topic.DeadLetter
		if err := p.Event.Into(&d); err != nil {
			c.t.Fatal(err)
		}
		all = append(all, d.Cause)
	}
	return all
}

// Each event takes effect once and in order, whatever the broker does; what lies between two events and is of no
// interest is not asked for.
func TestInOrderOnce(t *testing.T) {
	story := []string{"placed", "payment-noted", "accepted", "picked-up", "delivered"}
	for name, tt := range map[string]struct {
		deliveries []int // sequences
		taken      string
		asked      int
	}{
		"as it should be":           {[]int{1, 3, 5}, "1 3 5", 0},
		"each twice":                {[]int{1, 1, 3, 3, 5, 5}, "1 3 5", 0},
		"all again":                 {[]int{1, 3, 5, 1, 3, 5}, "1 3 5", 0},
		"the first comes late":      {[]int{3, 1, 5}, "1 3 5", 1},
		"the last comes first":      {[]int{5, 3, 1}, "1 3 5", 1},
		"the middle is lost":        {[]int{1, 5}, "1 3 5", 1},
		"only the last comes":       {[]int{5}, "1 3 5", 1},
		"nothing after the first":   {[]int{1}, "1", 0},
		"the first is lost at last": {[]int{3}, "1 3", 1},
	} {
		t.Run(name, func(t *testing.T) {
			c := newConsumer(t, 1)
			events := c.owner.happens("ord_1", story...)
			for _, seq := range tt.deliveries {
				if got := c.deliver(0, events[seq-1]); got != "SUCCESS" {
					t.Errorf("%d: %s", seq, got)
				}
			}
			if got := c.taken("ord_1"); got != tt.taken || c.owner.asked != tt.asked || len(c.causes()) > 0 {
				t.Errorf("taken %q, asked %d times, dead letters %q; want %q and %d", got, c.owner.asked, c.causes(), tt.taken, tt.asked)
			}
		})
	}
}

// An event from before there were trails, or one whose trail is too short, has the owner asked.
func TestUnknownTrail(t *testing.T) {
	for name, change := range map[string]func(*cloudevent.Event){
		"none":      func(e *cloudevent.Event) { e.Trail = "" },
		"too short": func(e *cloudevent.Event) { e.Trail = "payment-noted" },
	} {
		t.Run(name, func(t *testing.T) {
			c := newConsumer(t, 1)
			e := c.owner.happens("ord_1", "placed", "payment-noted", "accepted")[2]
			change(&e)
			c.deliver(0, e)
			if got := c.taken("ord_1"); got != "1 3" || c.owner.asked != 1 {
				t.Errorf("taken %q, asked %d times", got, c.owner.asked)
			}
		})
	}
	t.Run("long stream", func(t *testing.T) {
		c := newConsumer(t, 1)
		c.owner.happens("ord_1", "placed")
		c.owner.happens("ord_1", slices.Repeat([]string{"payment-noted"}, 250)...)
		events := c.owner.happens("ord_1", "delivered")
		c.deliver(0, events[251])
		if got := c.taken("ord_1"); got != "1 252" || c.owner.asked != 3 {
			t.Errorf("taken %q, asked %d times", got, c.owner.asked)
		}
	})
}

// Nothing is taken in out of order because the owner is away, and nothing is buried for it: after its schedule the event
// goes back to the broker, and is taken in after what was missing as soon as the owner answers.
func TestOwnerAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsumer(t, 1)
		events := c.owner.happens("ord_1", "placed", "accepted", "delivered")
		c.owner.away = true
		if got := c.deliver(0, events[1]); got != "RETRY" || len(c.causes()) > 0 {
			t.Errorf("%s, dead letters: %q", got, c.causes())
		}
		if got, box := c.taken("ord_1"), c.inbox("ord_1"); got != "" || box.Last != 0 || c.owner.asked != 4 {
			t.Errorf("taken %q, inbox %+v, asked %d times", got, box, c.owner.asked)
		}
		c.owner.away = false
		if got := c.deliver(0, events[1]); got != "SUCCESS" || c.taken("ord_1") != "1 2" {
			t.Errorf("%s, taken %q", got, c.taken("ord_1"))
		}
	})
}

// An event is not to blame for a store that does not answer: after its schedule it goes back to the broker, without a
// letter, which could have no mark, and is taken in as soon as the store is there again.
func TestStoreAway(t *testing.T) {
	for name, tt := range map[string]struct {
		before int   // how many events of the stream were taken in before
		fail   error // of the handler, while the store is away
	}{
		"the first of its stream": {before: 0},
		"a later one":             {before: 1},
		"one that fails for good": {before: 1, fail: problem.New(problem.InvalidRequest, "no")},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newConsumer(t, 1)
				events := c.owner.happens("ord_1", "placed", "accepted")[:tt.before+1]
				for _, e := range events[:tt.before] {
					c.deliver(0, e)
				}
				// It goes when the handler is at work: the inbox was read before.
				c.fail = func(cloudevent.Event) error { c.away.Store(true); return tt.fail }
				start := time.Now()
				if got := c.deliver(0, events[tt.before]); got != "RETRY" || len(c.causes()) > 0 {
					t.Errorf("%s, dead letters: %q", got, c.causes())
				}
				if took := time.Since(start); tt.fail == nil && took < 6*time.Second {
					t.Errorf("sent back after %s, before the end of its schedule", took)
				}
				c.away.Store(false)
				c.fail = func(cloudevent.Event) error { return nil }
				if got, want := c.deliver(0, events[tt.before]), "1 2 "[:2*tt.before+1]; got != "SUCCESS" || c.taken("ord_1") != want {
					t.Errorf("%s, taken %q, want %q", got, c.taken("ord_1"), want)
				}
			})
		})
	}
}

// Nor is it to blame for a store that reads and does not write, or an outbox that has lost its ring.
func TestNothingCanBeCommitted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsumer(t, 1)
		events := c.owner.happens("ord_1", "placed", "accepted")
		c.deliver(0, events[0])
		c.fail = func(cloudevent.Event) error {
			return problem.Wrap(sidecar.ErrAway, problem.Unavailable, "the outbox is not ready")
		}
		for range 3 {
			if got := c.deliver(0, events[1]); got != "RETRY" || len(c.causes()) > 0 {
				t.Fatalf("%s, dead letters: %q", got, c.causes())
			}
		}
		c.fail = func(cloudevent.Event) error { return nil }
		if got := c.deliver(0, events[1]); got != "SUCCESS" || c.taken("ord_1") != "1 2" || len(c.causes()) > 0 {
			t.Errorf("%s, taken %q, dead letters: %q", got, c.taken("ord_1"), c.causes())
		}
	})
}

// What fails for good is parked, so that it holds up nobody but itself, and for no longer than its own retries.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsumer(t, 1)
		c.fail = func(e cloudevent.Event) error {
			if e.Seq() == 2 {
				return problem.New(problem.Unavailable, "no luck")
			}
			return nil
		}
		events := c.owner.happens("ord_1", "placed", "accepted", "delivered")
		start := time.Now()
		for _, e := range events { // a partition hands them over one by one
			if got := c.deliver(0, e); got != "SUCCESS" {
				t.Errorf("%s: %s", e.ID, got)
			}
		}
		if took := time.Since(start); !within(took, 7*time.Second) {
			t.Errorf("the partition was held up for %v", took)
		}
		want := inbox.State{Last: 3, Parked: []int{2}}
		got := c.inbox("ord_1")
		got.Hash = ""
		if diff := cmp.Diff(want, got); diff != "" || c.taken("ord_1") != "1 3" || c.owner.asked != 0 {
			t.Errorf("taken %q, asked %d times, inbox (-want +got):\n%s", c.taken("ord_1"), c.owner.asked, diff)
		}
		if c.deliver(0, events[1]) != "SUCCESS" || len(c.causes()) != 1 {
			t.Errorf("delivered again, a parked event has %d dead letters", len(c.causes()))
		}
		redeliver(t, c, events)
	})
}

// redeliver brings in what is parked, once.
func redeliver(t *testing.T, c *consumer, events []cloudevent.Event) {
	body := []byte(encode(t, events[1]))
	if _, err := c.subs[0].Redeliver(t.Context(), orders, body); problem.Of(err) != problem.Unavailable {
		t.Errorf("it still fails: got %v", err)
	}
	if got := c.inbox("ord_1").Parked; len(got) != 1 {
		t.Errorf("parked %v after a redelivery that failed", got)
	}
	c.fail = func(cloudevent.Event) error { return nil }
	for i, want := range []topic.Result{topic.Handled, topic.Already, topic.Already} {
		if got, err := c.subs[0].Redeliver(t.Context(), orders, body); got != want || err != nil {
			t.Errorf("time %d: %s, %v; want %s", i+1, got, err, want)
		}
	}
	if got, box := c.taken("ord_1"), c.inbox("ord_1"); got != "1 3 2" || len(box.Parked) != 0 || box.Last != 3 {
		t.Errorf("taken %q, inbox %+v", got, box)
	}
	if _, err := c.subs[0].Redeliver(t.Context(), "fooddelivery.menu", body); problem.Of(err) != problem.NotFound {
		t.Errorf("another topic: %v", err)
	}
	if _, err := c.subs[0].Redeliver(t.Context(), orders, []byte("{")); problem.Of(err) != problem.InvalidRequest {
		t.Errorf("malformed: %v", err)
	}
}

// A missing event that fails is parked by itself; the one that brought it to light goes on.
func TestPoisonInAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsumer(t, 1)
		c.fail = func(e cloudevent.Event) error {
			if e.Seq() == 1 {
				return errors.New("no luck")
			}
			return nil
		}
		events := c.owner.happens("ord_1", "placed", "accepted")
		if got := c.deliver(0, events[1]); got != "SUCCESS" || c.taken("ord_1") != "2" {
			t.Errorf("%s, taken %q", got, c.taken("ord_1"))
		}
		if box := c.inbox("ord_1"); box.Last != 2 || !slices.Equal(box.Parked, []int{1}) || !slices.Equal(c.causes(), []string{"no luck"}) {
			t.Errorf("inbox %+v, dead letters %q", box, c.causes())
		}
	})
}

// An event of a type that nobody knows is not taken for a repetition when those after it came first.
func TestUnknownTypeComesLate(t *testing.T) {
	c := newConsumer(t, 1)
	events := c.owner.happens("ord_1", "placed", "eaten", "accepted")
	for _, seq := range []int{1, 3, 2, 2} {
		if got := c.deliver(0, events[seq-1]); got != "SUCCESS" {
			t.Errorf("%d: %s", seq, got)
		}
	}
	sent := c.pub.Sent()
	if len(sent) != 2 || sent[0].Event.ID != sent[1].Event.ID || !strings.Contains(c.causes()[0], "unknown type order.eaten") {
		t.Errorf("dead letters: %q, want two of the same id", c.causes())
	}
	if box := c.inbox("ord_1"); c.taken("ord_1") != "1 3" || box.Last != 3 || len(box.Parked) != 0 {
		t.Errorf("taken %q, inbox %+v", c.taken("ord_1"), box)
	}
}

// A mark without a letter would be an event lost: without the letter the event goes back to the broker.
func TestNoMarkWithoutLetter(t *testing.T) {
	c := newConsumer(t, 1)
	c.fail = func(cloudevent.Event) error { return problem.New(problem.InvalidRequest, "no") }
	c.pub.Fail = func(string, cloudevent.Event) error { return errors.New("the broker is away") }
	if got := c.deliver(0, c.owner.happens("ord_1", "placed")[0]); got != "RETRY" || c.inbox("ord_1").Last != 0 {
		t.Errorf("%s, inbox %+v", got, c.inbox("ord_1"))
	}
	c.pub.Fail = nil
	c.store.Fail = func([]sidecar.Op) error { return errors.New("the store is away") }
	if got := c.deliver(0, c.owner.happens("ord_1")[0]); got != "RETRY" || len(c.pub.Sent()) != 1 {
		t.Errorf("%s with %d letters, want RETRY after the letter", got, len(c.pub.Sent()))
	}
}

// A handler that writes nothing leaves a record of the event all the same.
func TestHandlerThatWritesNothing(t *testing.T) {
	store, calls := inbox.New(sidecartest.NewStore()), 0
	s := topic.New(t.Context(), "pricing", &sidecartest.Publisher{}, slog.New(slog.DiscardHandler), prometheus.NewRegistry()).
		WithInbox(store, sidecartest.Mesh{})
	r := mux.NewRouter()
	s.Handle(r, topic.Subscription{Topic: orders, Types: mine, Handler: func(context.Context, cloudevent.Event) error { calls++; return nil }})
	o := &owner{events: map[string][]cloudevent.Event{}}
	events := o.happens("ord_1", "placed", "accepted")
	for _, e := range []cloudevent.Event{events[0], events[1], events[1]} {
		r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/events/"+orders, strings.NewReader(encode(t, e))))
	}
	if calls != 2 {
		t.Errorf("handled %d times, want 2", calls)
	}
	if item, err := store.Get(t.Context(), inbox.Key("order", "ord_1")); err != nil || !strings.HasPrefix(string(item.Value), `{"last":2`) {
		t.Errorf("inbox %s, %v", item.Value, err)
	}
}

// Deliveries of one stream that come at once take turns within a replica; others are not held up by them.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsumer(t, 1)
		c.fail = func(e cloudevent.Event) error {
			if e.Subject == "ord_1" {
				time.Sleep(time.Second) // in the bubble
			}
			return nil
		}
		slow, quick := c.owner.happens("ord_1", "placed", "accepted", "delivered"), c.owner.happens("ord_2", "placed")
		start := time.Now()
		var all sync.WaitGroup
		for _, e := range slow {
			all.Go(func() { c.deliver(0, e) })
			synctest.Wait()
		}
		c.deliver(0, quick[0])
		if took := time.Since(start); took != 0 {
			t.Errorf("another stream waited for %v", took)
		}
		all.Wait()
		if got := c.taken("ord_1"); got != "1 2 3" || time.Since(start) != 3*time.Second || c.owner.asked != 0 {
			t.Errorf("taken %q in %v, asked %d times", got, time.Since(start), c.owner.asked)
		}
	})
}

// Whoever waits for the turn too long goes on without it; the inbox keeps it right.
func TestTurnThatNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsumer(t, 1)
		c.fail = func(e cloudevent.Event) error {
			if e.Seq() == 1 {
				time.Sleep(time.Minute) // in the bubble; a handler that does not heed its context
			}
			return nil
		}
		events := c.owner.happens("ord_1", "placed", "accepted")
		var first sync.WaitGroup
		first.Go(func() { c.deliver(0, events[0]) })
		synctest.Wait()
		start := time.Now()
		c.fail = func(cloudevent.Event) error { return nil }
		c.deliver(0, events[1])
		if took := time.Since(start); took != 30*time.Second || c.taken("ord_1") != "1 2" {
			t.Errorf("took %v, taken %q", took, c.taken("ord_1"))
		}
		first.Wait()
		if got := c.taken("ord_1"); got != "1 2" {
			t.Errorf("taken %q", got)
		}
	})
}
