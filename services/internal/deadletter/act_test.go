package deadletter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

// A letter whose event is taken in is gone, and a repetition by the broker does not bring it back; a new failure does.
func TestReplay(t *testing.T) {
	f := newFixture(t, sidecartest.NewStore())
	e := event("ord_1", 1)
	raw := letter(t, orders, e, "unavailable: no", f.start)
	f.deliver(orders, raw)
	id := f.only().ID

	f.sub.fail = func(string) error { return problem.New(problem.Timeout, "still not") }
	var r deadletter.Result
	if err := f.ask("POST", "/"+id+"/replay", nil, &r); err != nil || r.Done != 0 || len(r.Failed) != 1 || r.Failed[0] != (deadletter.Failure{ID: id, Event: e.ID, Cause: "timeout: still not"}) {
		t.Fatalf("a replay that fails: %v %+v", err, r)
	}
	if l := f.only(); l.Cause != "timeout: still not" || l.Attempts != 5 || l.Replays != 1 || !l.Last.After(f.start) || l.Original != string(encode(t, e)) {
		t.Errorf("after it: %+v", l)
	}
	f.sub.fail, f.sub.result = nil, topic.Already
	if err := f.ask("POST", "/"+id+"/replay", deadletter.ActionRequest{Reason: "try again"}, &r); err != nil || r.Done != 1 || len(r.Failed) != 0 {
		t.Fatalf("a replay of what had been taken in: %v %+v", err, r)
	}
	if diff := cmp.Diff([]string{orders + " " + string(encode(t, e)), orders + " " + string(encode(t, e))}, f.sub.got); diff != "" {
		t.Errorf("delivered (-want +got):\n%s", diff)
	}
	f.deliver(orders, raw)
	if list := f.list(""); list.Total != 0 {
		t.Errorf("after a repetition by the broker: %+v", list)
	}
	var p *problem.Error
	if err := f.ask("GET", "/"+id, nil, nil); !errors.As(err, &p) || p.Type != problem.NotFound || !strings.Contains(p.Detail, "replayed by usr_ann") {
		t.Errorf("a letter that is gone: %v", err)
	}
	f.deliver(orders, letter(t, orders, e, "no", time.Now().UTC()))
	if l := f.only(); l.ID != id || l.Attempts != 4 {
		t.Errorf("after a new failure: %+v", l)
	}

	var got []string
	for _, r := range f.records() {
		got = append(got, fmt.Sprintf("%d %s %s by %s (%s) %d %d %d", r.Seq, r.Action, r.Phase, r.By, r.Reason, len(r.Letters), r.Done, r.Failed))
	}
	if diff := cmp.Diff([]string{"4 replay done by usr_ann (try again) 1 1 0", "3 replay requested by usr_ann (try again) 1 0 0",
		"2 replay done by usr_ann () 1 0 1", "1 replay requested by usr_ann () 1 0 0"}, got); diff != "" {
		t.Errorf("trail (-want +got):\n%s", diff)
	}
}

// A changed body is kept beside the original, and is what a replay delivers.
func TestEdit(t *testing.T) {
	f := newFixture(t, sidecartest.NewStore())
	e := event("ord_1", 1)
	f.deliver(orders, letter(t, orders, e, "no", f.start))
	id := f.only().ID
	changed := e
	changed.Data = json.RawMessage(`{"order_id":"ord_2"}`)
	other := changed
	other.ID = "order/ord_2/1"
	for name, body := range map[string]string{"text": `"hello"`, "an object": `{"a":1}`, "null": "null", "another event": string(encode(t, other))} {
		var p *problem.Error
		if err := f.ask("PUT", "/"+id, deadletter.EditRequest{Body: json.RawMessage(body)}, nil); !errors.As(err, &p) || p.Type != problem.InvalidRequest || len(p.Fields) != 1 || p.Fields[0].Name != "body" {
			t.Errorf("%s: %v", name, err)
		}
	}
	var l deadletter.Letter
	if err := f.ask("PUT", "/"+id, deadletter.EditRequest{Body: encode(t, changed)}, &l); err != nil {
		t.Fatal(err)
	}
	if got := f.only(); got.Original != string(encode(t, e)) || got.Edit == nil || got.Edit.By != "usr_ann" || string(got.Edit.Body) != string(encode(t, changed)) || got.Edits != 1 || f.list("").Letters[0].Edits != 1 {
		t.Errorf("after the edit: %+v", got)
	}
	if err := f.ask("POST", "/"+id+"/replay", nil, nil); err != nil || !slices.Equal(f.sub.got, []string{orders + " " + string(encode(t, changed))}) {
		t.Errorf("replayed: %v %v", err, f.sub.got)
	}
	if err := f.ask("PUT", "/"+id, deadletter.EditRequest{Body: encode(t, changed)}, nil); problem.Of(err) != problem.NotFound {
		t.Errorf("an edit of what is gone: %v", err)
	}
	if r := f.records(); r[len(r)-1].Action != deadletter.ActionEdit || r[len(r)-1].By != "usr_ann" {
		t.Errorf("trail: %+v", r)
	}
}

// A letter of which a part is missing can't be replayed as it is.
func TestCutOriginal(t *testing.T) {
	f := newFixture(t, sidecartest.NewStore())
	f.deliver(orders, deadletterOf(t, []byte(strings.Repeat("x", 700<<10))))
	l := f.only()
	var r deadletter.Result
	if err := f.ask("POST", "/"+l.ID+"/replay", nil, &r); err != nil || len(r.Failed) != 1 || !strings.Contains(r.Failed[0].Cause, "edit the letter first") || len(f.sub.got) != 0 {
		t.Errorf("%v %+v", err, r)
	}
}

// inBulk goes through all parts, as the command does.
func (f *fixture) inBulk(action string, req deadletter.BulkRequest) (total deadletter.Result, parts int) {
	f.t.Helper()
	for {
		var r deadletter.Result
		if err := f.ask("POST", "/"+action, req, &r); err != nil {
			f.t.Fatal(err)
		}
		parts++
		total.Done += r.Done
		total.Failed = append(total.Failed, r.Failed...)
		total.Matched = max(total.Matched, r.Matched)
		if req.Cursor = r.Cursor; req.Cursor == "" {
			return total, parts
		}
		if parts > 1000 {
			f.t.Fatal("there is no end to it")
		}
	}
}

func TestBulk(t *testing.T) {
	f := newFixture(t, sidecartest.NewStore())
	f.fill(260)
	var dry deadletter.DryRun
	if err := f.ask("POST", "/replay", deadletter.BulkRequest{All: true, DryRun: true}, &dry); err != nil || dry.Matched != 260 || len(dry.Letters) != 20 || len(f.sub.got) != 0 || f.list("").Total != 260 || len(f.records()) != 0 {
		t.Errorf("dry run: %v %+v", err, dry)
	}
	for name, req := range map[string]deadletter.BulkRequest{"everything, not said": {}, "too large a part": {All: true, Limit: 501}, "no cursor": {All: true, Cursor: "x"}, "a forged cursor": {All: true, Cursor: "dlo_00000000000000000000000000-9-3"}} {
		if err := f.ask("POST", "/replay", req, nil); problem.Of(err) != problem.InvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A tenth fails and stays; what comes while the replay is under way is not of it.
	f.sub.fail = func(body string) error {
		if strings.Contains(body, `7/1"`) {
			return problem.New(problem.Unavailable, "not me")
		}
		if len(f.sub.got) == 100 {
			go f.deliver(orders, letter(t, orders, event("ord_late", 1), "no", f.start))
		}
		return nil
	}
	got, parts := f.inBulk("replay", deadletter.BulkRequest{All: true, Limit: 70, Reason: "bulk"})
	if got.Done != 234 || len(got.Failed) != 26 || got.Matched != 260 || parts != 4 || len(f.sub.got) != 260 {
		t.Errorf("replayed %d, %d failed, of %d in %d parts, %d deliveries", got.Done, len(got.Failed), got.Matched, parts, len(f.sub.got))
	}
	records := f.records()
	if n := len(records); n != parts+1 || records[n-1].Phase != deadletter.PhaseRequested || records[n-1].Matched != 260 || records[n-1].Filter == nil {
		t.Errorf("%d records, the first %+v", n, records[n-1])
	}
	for _, r := range records {
		if r.Operation != records[0].Operation || r.Reason != "bulk" {
			t.Errorf("record %+v", r)
		}
	}
	if list := f.list("?cause=not+me"); list.Matched != 26 || list.Letters[0].Replays != 1 || list.Letters[0].Attempts != 5 {
		t.Errorf("what stays: %+v", list)
	}
	if got, _ := f.inBulk("drop", deadletter.BulkRequest{Filter: deadletter.Filter{Cause: "not me"}}); got.Done != 26 {
		t.Errorf("dropped %+v", got)
	}
	if list := f.list(""); list.Total > 1 {
		t.Errorf("left: %+v", list)
	}
}

// Events of one aggregate are replayed one after the other, in the order in which they failed; others side by side.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, sidecartest.NewStore())
		for n := range 5 {
			for o := range 8 {
				f.deliver(orders, letter(t, orders, event(fmt.Sprintf("ord_%d", o), n+1), "no", f.start.Add(time.Duration(n)*time.Second)))
			}
		}
		var mu sync.Mutex
		var now, most int
		order := map[string][]string{}
		slow := slowly{f.sub, func(body string) {
			mu.Lock()
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(100 * time.Millisecond) // of the bubble: it takes no time
			var e struct{ Subject, Sequence string }
			if err := json.Unmarshal([]byte(body), &e); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			now--
			order[e.Subject] = append(order[e.Subject], e.Sequence)
		}}
		f.sub.fail = nil
		box := f.with(slow)
		var r deadletter.Result
		start := time.Now()
		if err := box.ask("POST", "/replay", deadletter.BulkRequest{All: true}, &r); err != nil || r.Done != 40 {
			t.Fatalf("%v %+v", err, r)
		}
		if most != 8 || time.Since(start) != 500*time.Millisecond {
			t.Errorf("%d side by side, in %s; want 8 in 500ms", most, time.Since(start))
		}
		for o, got := range order {
			if !slices.Equal(got, []string{"1", "2", "3", "4", "5"}) {
				t.Errorf("%s: %v", o, got)
			}
		}
	})
}

// slowly does something before each delivery.
type slowly struct {
	*subscriber
	before func(body string)
}

func (s slowly) Redeliver(ctx context.Context, t string, body []byte) (topic.Result, error) {
	s.before(string(body))
	return s.subscriber.Redeliver(ctx, t, body)
}

// A part ends before the request that asked for it is given up on, however slow the handler is; all comes to its end
// all the same, and a handler that hangs counts as one that failed.
func TestSlowHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, sidecartest.NewStore())
		f.fill(100)
		box := f.with(slowly{f.sub, func(string) { time.Sleep(900 * time.Millisecond) }})
		req := deadletter.BulkRequest{All: true}
		for done := 0; done < 100; {
			var r deadletter.Result
			start := time.Now()
			if err := box.ask("POST", "/replay", req, &r); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(start); took > 4*time.Second || r.Done == 0 {
				t.Fatalf("a part took %s and did %d", took, r.Done)
			}
			if done += r.Done; (r.Cursor == "") != (done == 100) {
				t.Fatalf("after %d the cursor is %q", done, r.Cursor)
			}
			req.Cursor = r.Cursor
		}
	})
}

// with gives another replica on the same store, with another subscriber.
func (f *fixture) with(s deadletter.Subscriber) *fixture {
	f.t.Helper()
	return replica(f.t, f.state, s, f.sub, f.start)
}

// What was replayed and could not be written is replayed again: nothing is lost, and nothing is done that is not told.
func TestOutcomeNotWritten(t *testing.T) {
	store := sidecartest.NewStore()
	f := newFixture(t, store)
	f.fill(3)
	writes := 0
	store.Fail = func([]sidecar.Op) error {
		if writes++; writes == 2 { // the first is the record of the request
			return problem.New(problem.Unavailable, "the store does not answer")
		}
		return nil
	}
	if err := f.ask("POST", "/replay", deadletter.BulkRequest{All: true}, nil); problem.Of(err) != problem.Unavailable {
		t.Fatalf("got %v", err)
	}
	if list := f.list(""); list.Total != 3 || len(f.records()) != 1 {
		t.Errorf("%d letters, %d records", list.Total, len(f.records()))
	}
	if got, _ := f.inBulk("replay", deadletter.BulkRequest{All: true}); got.Done != 3 || len(f.sub.got) != 6 || f.list("").Total != 0 {
		t.Errorf("again: %+v, %d deliveries", got, len(f.sub.got))
	}
	store.Fail = func([]sidecar.Op) error { return problem.New(problem.Unavailable, "the store does not answer") }
	f.sub.got = nil
	if err := f.ask("POST", "/replay", deadletter.BulkRequest{All: true}, nil); err == nil || len(f.sub.got) > 0 {
		t.Errorf("without a record of the request: %v, %d deliveries", err, len(f.sub.got))
	}
}
