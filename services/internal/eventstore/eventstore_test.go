package eventstore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// account is a little aggregate: a balance, and the names of what happened.
type account struct {
	Balance int            `json:"balance"`
	Seen    []string       `json:"seen,omitempty"`
	By      map[string]int `json:"by,omitempty"`
}

// events is the contract of the accounts. Any message will do: here it is an object of amount and who.
var events = contract.Must(contract.One[*structpb.Struct]("account.moved"), contract.One[*structpb.Struct]("account.broken"))

func apply(a account, e cloudevent.Event) (account, error) {
	if e.Name() == "account.broken" {
		return a, errors.New("broken")
	}
	var m structpb.Struct
	if err := events.Into(e, &m); err != nil {
		return a, err
	}
	amount, who := int(m.Fields["amount"].GetNumberValue()), m.Fields["who"].GetStringValue()
	a.Balance += amount
	a.Seen = append(slices.Clone(a.Seen), e.Sequence)
	by := map[string]int{}
	for who, n := range a.By {
		by[who] = n
	}
	by[who] += amount
	a.By = by
	return a, nil
}

type fixture struct {
	*eventstore.Store[account]
	fakes *runtest.Fakes
}

func newStore(t testing.TB) fixture {
	t.Helper()
	d, f := runtest.New(t, "bank")
	s := eventstore.New(d.State, d.UseOutbox(), options())
	runtest.Start(t, d)
	return fixture{s, f}
}

func options() eventstore.Options[account] {
	return eventstore.Options[account]{Name: "account", Source: "dishmesh/bank", Topic: cloudevent.Topic("account"), Events: events, Apply: apply}
}

func move(amount int, who string) eventstore.Event {
	return eventstore.Event{Type: "account.moved", Data: &structpb.Struct{Fields: map[string]*structpb.Value{
		"amount": structpb.NewNumberValue(float64(amount)), "who": structpb.NewStringValue(who)}}}
}

func add(events ...eventstore.Event) func(account, int) (eventstore.Change, error) {
	return func(account, int) (eventstore.Change, error) { return eventstore.Change{Events: events}, nil }
}

func TestUpdate(t *testing.T) {
	s := newStore(t)
	traceParent := correlation.NewTraceParent()
	ctx := correlation.With(t.Context(), correlation.IDs{RequestID: "req_1", TraceParent: traceParent})
	state, version, err := s.Update(ctx, "acc_1", add(move(5, "ada"), move(-2, "bob")))
	want := account{Balance: 3, Seen: []string{"1", "2"}, By: map[string]int{"ada": 5, "bob": -2}}
	if diff := cmp.Diff(want, state); err != nil || version != 2 || diff != "" {
		t.Fatalf("version %d, %v (-want +got):\n%s", version, err, diff)
	}
	state, version, err = s.Load(t.Context(), "acc_1")
	if diff := cmp.Diff(want, state); err != nil || version != 2 || diff != "" {
		t.Errorf("loaded: version %d, %v (-want +got):\n%s", version, err, diff)
	}
	runtest.Eventually(t, "both events are published", func() bool { return len(s.fakes.Publisher.Sent()) == 2 })
	got := s.fakes.Publisher.Sent()[1]
	wantEvent := cloudevent.Event{
		SpecVersion: "1.0", ID: "account/acc_1/2", Source: "dishmesh/bank", Type: "fooddelivery.account.moved", Subject: "acc_1",
		DataContentType: "application/json", DataSchema: "proto:google.protobuf.Struct", Sequence: "2", Trail: "moved", CorrelationID: "acc_1", TraceParent: traceParent, Data: json.RawMessage(`{"amount":-2,"who":"bob"}`),
	}
	if diff := cmp.Diff(wantEvent, got.Event, cmpopts.IgnoreFields(cloudevent.Event{}, "Time")); diff != "" || got.Topic != "fooddelivery.account" {
		t.Errorf("published on %s (-want +got):\n%s", got.Topic, diff)
	}
	if err := got.Event.Validate(); err != nil {
		t.Errorf("the event is not valid: %v", err)
	}
}

func TestUpdateOptions(t *testing.T) {
	s := newStore(t)
	_, _, err := s.Update(t.Context(), "acc_1", func(account, int) (eventstore.Change, error) {
		quiet := move(1, "ada")
		quiet.Topic = "elsewhere"
		return eventstore.Change{Events: []eventstore.Event{quiet}, Correlation: "ord_1", Ops: []sidecar.Op{{Key: "index/1", Value: []byte("x")}}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	runtest.Eventually(t, "the event is published", func() bool { return len(s.fakes.Publisher.Sent()) == 1 })
	if got := s.fakes.Publisher.Sent()[0]; got.Topic != "elsewhere" || got.Event.CorrelationID != "ord_1" {
		t.Errorf("published %s on %s, correlation %s", got.Event.ID, got.Topic, got.Event.CorrelationID)
	}
	if !slices.Contains(s.fakes.Store.Keys(), "index/1") {
		t.Error("the further write is missing")
	}
}

// Whatever keeps a change from being made leaves nothing behind.
func TestUpdateRefused(t *testing.T) {
	s := newStore(t)
	if _, _, err := s.Update(t.Context(), "acc_1", add(move(5, "ada"))); err != nil {
		t.Fatal(err)
	}
	refusal := problem.New(problem.IllegalState, "no")
	tests := []struct {
		name   string
		decide func(account, int) (eventstore.Change, error)
		want   string
	}{
		{"nothing to do", add(), ""},
		{"refused", func(account, int) (eventstore.Change, error) { return eventstore.Change{}, refusal }, "illegal-state-change: no"},
		{"can't be applied", add(move(1, "ada"), eventstore.Event{Type: "account.broken", Data: &structpb.Struct{}}), "account acc_1: apply account.broken: broken"},
		{"another payload", add(eventstore.Event{Type: "account.moved", Data: &structpb.ListValue{}}), "event account.moved takes a google.protobuf.Struct"},
		{"in no contract", add(eventstore.Event{Type: "account.closed", Data: &structpb.Struct{}}), "event account.closed is in no contract"},
		{"an op's condition fails", func(account, int) (eventstore.Change, error) {
			return eventstore.Change{Events: []eventstore.Event{move(1, "x")}, Ops: []sidecar.Op{{Key: "account/acc_1", Create: true}}}, nil
		}, "write-conflict"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			state, version, err := s.Update(t.Context(), "acc_1", tt.decide)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if (tt.want == "") != (got == "") || !strings.Contains(got, tt.want) {
				t.Errorf("error %q, want %q", got, tt.want)
			}
			if state.Balance != 5 || version != 1 {
				t.Errorf("state %+v at version %d", state, version)
			}
			if state, version, err := s.Load(t.Context(), "acc_1"); err != nil || state.Balance != 5 || version != 1 {
				t.Errorf("loaded %+v at version %d, %v", state, version, err)
			}
		})
	}
}

// Writers in one process take turns, those in several start over: nobody's change is lost.
func TestConcurrentWriters(t *testing.T) {
	first := newStore(t)
	d, _ := runtest.New(t, "bank")
	ob := outbox.New(first.fakes.Store, first.fakes.Publisher, outbox.Options{Instance: "second"})
	d.Outbox = ob
	second := eventstore.New(first.fakes.Store, ob, options())
	runtest.Start(t, d)
	const writers, each = 4, 10
	var all sync.WaitGroup
	for i := range writers {
		store := []*eventstore.Store[account]{first.Store, second}[i%2]
		all.Go(func() {
			for range each {
				for {
					_, _, err := store.Update(t.Context(), "acc_1", add(move(1, fmt.Sprint(i))))
					if err == nil {
						break
					}
					if problem.Of(err) != problem.WriteConflict {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	all.Wait()
	state, version, err := first.Load(t.Context(), "acc_1")
	if err != nil || state.Balance != writers*each || version != writers*each {
		t.Errorf("balance %d at version %d, %v; want %d", state.Balance, version, err, writers*each)
	}
	runtest.Eventually(t, "all events are published", func() bool { return len(first.fakes.Publisher.Sent()) == writers*each })
}

// A writer that always loses gives up after a number of tries, and says when to come again.
func TestConflictWithoutEnd(t *testing.T) {
	s := newStore(t)
	tries := 0
	_, _, err := s.Update(t.Context(), "acc_1", func(account, int) (eventstore.Change, error) {
		tries++
		return eventstore.Change{Events: []eventstore.Event{move(1, "x")}, Ops: []sidecar.Op{{Key: "k", ETag: "another"}}}, nil
	})
	var e *problem.Error
	if !errors.As(err, &e) || e.Type != problem.WriteConflict || e.RetryAfter == 0 || !errors.Is(err, sidecar.ErrConflict) || tries != 8 {
		t.Errorf("%v after %d tries, want a write conflict after 8", err, tries)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = s.Update(ctx, "acc_1", func(account, int) (eventstore.Change, error) {
		return eventstore.Change{Events: []eventstore.Event{move(1, "x")}, Ops: []sidecar.Op{{Key: "k", ETag: "another"}}}, nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that ended: %v", err)
	}
}

// A change of other keys alone holds only if the aggregate is still what the decision was made on.
func TestOpsOnlyChecksTheHead(t *testing.T) {
	s := newStore(t)
	if _, _, err := s.Update(t.Context(), "acc_1", add(move(5, "ada"))); err != nil {
		t.Fatal(err)
	}
	interfered := false
	_, version, err := s.Update(t.Context(), "acc_1", func(a account, _ int) (eventstore.Change, error) {
		if !interfered {
			interfered = true
			snap, err := s.Snapshot(t.Context(), "acc_1")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Append(t.Context(), snap, eventstore.Change{Events: []eventstore.Event{move(1, "bob")}}); err != nil {
				t.Fatal(err)
			}
		}
		return eventstore.Change{Ops: []sidecar.Op{{Key: "seen", Value: []byte(fmt.Sprint(a.Balance))}}}, nil
	})
	item, _ := s.fakes.Store.Get(t.Context(), "seen")
	if err != nil || version != 2 || string(item.Value) != "6" {
		t.Errorf("wrote %q at version %d, %v; want 6 at version 2", item.Value, version, err)
	}
}

func TestSnapshot(t *testing.T) {
	s := newStore(t)
	snap, err := s.Snapshot(t.Context(), "acc_1")
	if err != nil || snap.Version() != 0 || snap.State().Balance != 0 {
		t.Fatalf("%+v, %v", snap, err)
	}
	after, err := s.Append(t.Context(), snap, eventstore.Change{Events: []eventstore.Event{move(5, "ada")}})
	if err != nil || after.Version() != 1 || after.State().Balance != 5 {
		t.Fatalf("%+v, %v", after, err)
	}
	if _, err := s.Append(t.Context(), snap, eventstore.Change{Events: []eventstore.Event{move(7, "bob")}}); !errors.Is(err, sidecar.ErrConflict) {
		t.Errorf("on top of an old snapshot: %v, want a conflict", err)
	}
	states, err := s.LoadMany(t.Context(), []string{"acc_2", "acc_1"})
	if err != nil || len(states) != 2 || states[0].Balance != 0 || states[1].Balance != 5 {
		t.Errorf("LoadMany: %+v, %v", states, err)
	}
}

func TestHistory(t *testing.T) {
	s := newStore(t)
	for i := range 5 {
		if _, _, err := s.Update(t.Context(), "acc_1", add(move(i, "ada"))); err != nil {
			t.Fatal(err)
		}
	}
	for after, want := range map[int][]string{0: {"1", "2", "3", "4", "5"}, 3: {"4", "5"}, 5: nil, 9: nil} {
		events, err := s.History(t.Context(), "acc_1", after)
		var got []string
		for _, e := range events {
			got = append(got, e.Sequence)
		}
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("after %d: %v (-want +got):\n%s", after, err, diff)
		}
	}
	for _, version := range []int{0, 6, -1} {
		if _, err := s.At(t.Context(), "acc_1", version); problem.Of(err) != problem.NotFound {
			t.Errorf("At %d: %v, want not found", version, err)
		}
	}
	// A hole in the audit trail is told, not passed over.
	if err := s.fakes.Store.Transact(t.Context(), sidecar.Op{Key: "account/acc_1/000003", Delete: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.History(t.Context(), "acc_1", 0); err == nil || !strings.Contains(err.Error(), "event 3 is missing") {
		t.Errorf("with a hole: %v", err)
	}
}

// The head is nothing but the events applied: at every version, replay gives the state that an update returned.
func TestReplayIsTheHead(t *testing.T) {
	s := newStore(t)
	n := 0
	rapid.Check(t, func(rt *rapid.T) {
		n++
		id := fmt.Sprint("acc_", n)
		states := map[int]account{}
		for range rapid.IntRange(1, 8).Draw(rt, "updates") {
			var events []eventstore.Event
			for range rapid.IntRange(0, 3).Draw(rt, "events") {
				events = append(events, move(rapid.IntRange(-100, 100).Draw(rt, "amount"), rapid.SampledFrom([]string{"ada", "bob"}).Draw(rt, "who")))
			}
			state, version, err := s.Update(context.Background(), id, add(events...))
			if err != nil {
				rt.Fatal(err)
			}
			states[version] = state
		}
		for version, want := range states {
			if version == 0 {
				continue
			}
			got, err := s.At(context.Background(), id, version)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				rt.Fatalf("at %d: %v (-head +replay):\n%s", version, err, diff)
			}
		}
	})
}

// The store's clock is that of the events: it never names a time zone but UTC.
func TestTimesAreUTC(t *testing.T) {
	s := newStore(t)
	if _, _, err := s.Update(t.Context(), "acc_1", add(move(1, "ada"))); err != nil {
		t.Fatal(err)
	}
	events, err := s.History(t.Context(), "acc_1", 0)
	if err != nil || events[0].Time.Location() != time.UTC || time.Since(events[0].Time) > time.Minute {
		t.Errorf("%v, %v", events, err)
	}
}
