package outbox_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
)

const lease = 15 * time.Second // the default

// world is what outlives a process: the store, and what the effects have done.
type world struct {
	store *sidecartest.Store

	mu   sync.Mutex
	done []string // effects in the order in which they were done
	away bool     // the broker
}

func newWorld() *world { return &world{store: sidecartest.NewStore()} }

func (w *world) effects() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.done)
}

func (w *world) setAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
}

func (w *world) do(what string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.away {
		return errors.New("the broker is away")
	}
	w.done = append(w.done, what)
	return nil
}

// slots lists the slots that hold something.
func (w *world) slots() []string {
	return slices.DeleteFunc(w.store.Keys(), func(k string) bool { return !strings.HasPrefix(k, "outbox/") || strings.HasSuffix(k, "/lease") })
}

func (w *world) has(key string) bool { return slices.Contains(w.store.Keys(), key) }

// process is an outbox with its connections, all of which break when it is killed.
type process struct {
	*outbox.Outbox
	w       *world
	dead    atomic.Bool
	metrics *prometheus.Registry
	stop    func() error // ends it cleanly, or cleans up after a kill
}

var errDead = errors.New("the process is dead")

// mortal is a store as a process sees it. After, if set, spoils the answer to a transaction that was carried out.
type mortal struct {
	p     *process
	after func(ops []sidecar.Op) error
}

func (m mortal) Get(ctx context.Context, key string) (sidecar.Item, error) {
	if m.p.dead.Load() {
		return sidecar.Item{}, errDead
	}
	return m.p.w.store.Get(ctx, key)
}

func (m mortal) GetBulk(ctx context.Context, keys []string) ([]sidecar.Item, error) {
	if m.p.dead.Load() {
		return nil, errDead
	}
	return m.p.w.store.GetBulk(ctx, keys)
}

func (m mortal) Transact(ctx context.Context, ops ...sidecar.Op) error {
	if m.p.dead.Load() {
		return errDead
	}
	err := m.p.w.store.Transact(ctx, ops...)
	if err == nil && m.after != nil {
		return m.after(ops)
	}
	return err
}

// Publish implements sidecar.Publisher.
func (p *process) Publish(_ context.Context, topic string, e cloudevent.Event) error {
	if p.dead.Load() {
		return errDead
	}
	return p.w.do(topic + ":" + e.ID)
}

type option func(*outbox.Options, *mortal)

func crashAt(p **process, point string) option {
	return func(o *outbox.Options, _ *mortal) {
		o.Crash = func(at string) {
			if at == point {
				(*p).dead.Store(true)
				runtime.Goexit()
			}
		}
	}
}

func slots(n int) option { return func(o *outbox.Options, _ *mortal) { o.Slots = n } }

// start runs a process called instance until it has a ring. It must be called in a bubble of synctest.
func start(t *testing.T, w *world, instance string, options ...option) *process {
	t.Helper()
	p := &process{w: w, metrics: prometheus.NewRegistry()}
	opt := outbox.Options{Instance: instance, Metrics: p.metrics}
	store := mortal{p: p}
	for _, set := range options {
		set(&opt, &store)
	}
	p.Outbox = outbox.New(store, p, opt)
	p.Handle("note", func(_ context.Context, data []byte) error {
		if p.dead.Load() {
			return errDead
		}
		return w.do("note:" + strings.Trim(string(data), `"`))
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	p.stop = func() error {
		cancel()
		return <-ended
	}
	return p
}

func (p *process) metric(t *testing.T, name string) float64 {
	t.Helper()
	families, err := p.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue() + f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}

// ready waits until the process holds a ring.
func (p *process) ready(t *testing.T) *process {
	t.Helper()
	eventually(t, "the outbox is ready", p.Ready)
	return p
}

// eventually polls; in a bubble the waiting takes no time.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 2 minutes: %s", what)
		}
	}
}

func publish(t *testing.T, subject string, seq int) outbox.Effect {
	t.Helper()
	e, err := outbox.Publish("topic", cloudevent.Event{ID: fmt.Sprintf("%s/%d", subject, seq), Subject: subject})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func note(t *testing.T, text string) outbox.Effect {
	t.Helper()
	e, err := outbox.NewEffect("note", text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func set(key string) sidecar.Op { return sidecar.Op{Key: key, Value: []byte("1"), Create: true} }

// bubble runs f with fake time.
func bubble(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

func TestCommit(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		p := start(t, w, "a").ready(t)
		if err := p.Commit(t.Context(), "k", []outbox.Effect{publish(t, "k", 1), note(t, "saga")}, set("state")); err != nil {
			t.Fatal(err)
		}
		if err := p.Commit(t.Context(), "k", nil, set("quiet")); err != nil {
			t.Errorf("without effects: %v", err)
		}
		eventually(t, "the slot is free", func() bool { return len(w.slots()) == 0 })
		if diff := cmp.Diff([]string{"topic:k/1", "note:saga"}, w.effects()); diff != "" {
			t.Errorf("effects (-want +got):\n%s", diff)
		}
		if !w.has("state") || !w.has("quiet") {
			t.Errorf("stored: %v", w.store.Keys())
		}
		if err := p.stop(); err != nil {
			t.Error(err)
		}
	})
}

// At whatever point the process is killed, afterwards there is state with its effects, or neither: found by the same
// replica at once, by another when the lease is over.
func TestCrash(t *testing.T) {
	for _, point := range []string{outbox.BeforeCommit, outbox.AfterCommit, outbox.AfterEffect, outbox.BeforeFree} {
		for _, successor := range []string{"a", "b"} {
			t.Run(point+"/"+successor, func(t *testing.T) {
				bubble(t, func(t *testing.T) {
					w := newWorld()
					var p *process
					p = start(t, w, "a", crashAt(&p, point)).ready(t)
					effects := []outbox.Effect{publish(t, "k", 1), note(t, "saga")}
					returned := make(chan struct{})
					go func() {
						defer close(returned)
						p.Commit(t.Context(), "k", effects, set("state")) // Goexit, or nil
					}()
					<-returned
					eventually(t, "the process dies", p.dead.Load)
					p.stop()

					killed := time.Now()
					next := start(t, w, successor).ready(t)
					want := []string{"topic:k/1", "note:saga"}
					if point == outbox.BeforeCommit {
						want = nil
					}
					eventually(t, "the slots are free", func() bool { return len(w.slots()) == 0 })
					if took := time.Since(killed); successor == "a" && took > 5*time.Second || took > 2*lease {
						t.Errorf("recovered after %v", took)
					}
					if w.has("state") != (want != nil) {
						t.Errorf("state written: %t", w.has("state"))
					}
					got := w.effects()
					if len(got) > len(want)+2 || !slices.Equal(slices.Compact(slices.Sorted(slices.Values(got))), slices.Sorted(slices.Values(want))) {
						t.Errorf("effects: %v, want each of %v at least once", got, want)
					}
					if want != nil && !slices.Equal(got[len(got)-2:], want) {
						t.Errorf("effects: %v, want them to end in order", got)
					}
					if err := next.stop(); err != nil {
						t.Error(err)
					}
				})
			})
		}
	}
}

// Nothing is done twice over a clean end.
func TestCleanEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		p := start(t, w, "a").ready(t)
		for i := range 20 {
			if err := p.Commit(t.Context(), "k", []outbox.Effect{publish(t, "k", i)}, set(fmt.Sprint("state", i))); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all is done", func() bool { return len(w.effects()) == 20 })
		if err := p.stop(); err != nil {
			t.Fatal(err)
		}
		if p.Ready() {
			t.Error("ready after the end")
		}
		// The lease was given back: another takes the ring at once.
		before := time.Now()
		next := start(t, w, "b").ready(t)
		if took := time.Since(before); took > time.Second {
			t.Errorf("the next had to wait %v for the ring", took)
		}
		synctest.Wait()
		if got := w.effects(); len(got) != 20 || len(w.slots()) != 0 {
			t.Errorf("%d effects, slots %v; want 20 and none", len(got), w.slots())
		}
		next.stop()
	})
}

// Effects of a key are done in the order of their commits, also over a crash, whatever slots they are in.
func TestOrderOfAKey(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		const keys, commits = 8, 25
		w.setAway(true) // everything has to wait in the slots
		p := start(t, w, "a").ready(t)
		var writers sync.WaitGroup
		for k := range keys {
			writers.Go(func() {
				for i := range commits {
					time.Sleep(time.Duration((k*7+i*13)%10+1) * time.Millisecond)
					if err := p.Commit(t.Context(), fmt.Sprint(k), []outbox.Effect{publish(t, fmt.Sprint(k), i)}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		writers.Wait()
		p.dead.Store(true)
		p.stop()
		w.setAway(false)
		next := start(t, w, "a").ready(t)
		eventually(t, "the slots are free", func() bool { return len(w.slots()) == 0 })
		last := map[string]int{}
		for _, e := range w.effects() {
			var key string
			var i int
			if _, err := fmt.Sscanf(strings.ReplaceAll(e, "/", " "), "topic:%s %d", &key, &i); err != nil {
				t.Fatal(err)
			}
			if i != last[key] {
				t.Fatalf("key %s: %d where %d was due", key, i, last[key])
			}
			last[key]++
		}
		for k := range keys {
			if last[fmt.Sprint(k)] != commits {
				t.Errorf("key %d: %d of %d", k, last[fmt.Sprint(k)], commits)
			}
		}
		next.stop()
	})
}

// While the broker is away, commits go on until the slots are full; then they are refused, and nothing is lost.
func TestBrokerAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.setAway(true)
		p := start(t, w, "a", slots(4)).ready(t)
		for i := range 4 {
			if err := p.Commit(t.Context(), "k", []outbox.Effect{publish(t, "k", i)}, set(fmt.Sprint("state", i))); err != nil {
				t.Fatalf("commit %d: %v", i, err)
			}
		}
		err := p.Commit(t.Context(), "k", []outbox.Effect{publish(t, "k", 4)}, set("state4"))
		var e *problem.Error
		if !errors.As(err, &e) || e.Type != problem.Unavailable || e.RetryAfter == 0 || w.has("state4") {
			t.Errorf("with all slots taken: %v, want unavailable with a Retry-After and nothing written", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := p.Commit(ctx, "k", []outbox.Effect{publish(t, "k", 4)}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("with a context that ends: %v", err)
		}
		time.Sleep(time.Minute) // the lease is renewed meanwhile
		w.setAway(false)
		eventually(t, "the slots are free", func() bool { return len(w.slots()) == 0 })
		if diff := cmp.Diff([]string{"topic:k/0", "topic:k/1", "topic:k/2", "topic:k/3"}, w.effects()); diff != "" {
			t.Errorf("effects (-want +got):\n%s", diff)
		}
		if err := p.Commit(t.Context(), "k", []outbox.Effect{publish(t, "k", 4)}, set("state4")); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		p.stop()
	})
}

// A commit that loses against another writer writes nothing and keeps no slot.
func TestConflict(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		p := start(t, w, "a", slots(2)).ready(t)
		if err := p.Commit(t.Context(), "k", nil, set("state")); err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			if err := p.Commit(t.Context(), "k", []outbox.Effect{note(t, "never")}, set("other"), set("state")); !errors.Is(err, sidecar.ErrConflict) {
				t.Fatalf("commit %d: %v, want a conflict", i, err)
			}
		}
		time.Sleep(5 * time.Second)
		if got := w.effects(); len(got) != 0 || w.has("other") || len(w.slots()) != 0 {
			t.Errorf("effects %v, slots %v", got, w.slots())
		}
		p.stop()
	})
}

func TestNotReady(t *testing.T) {
	w := newWorld()
	p := &process{w: w}
	o := outbox.New(mortal{p: p}, p, outbox.Options{Instance: "a"})
	if err := o.Commit(t.Context(), "k", []outbox.Effect{note(t, "x")}, set("state")); problem.Of(err) != problem.Unavailable || !errors.Is(err, sidecar.ErrAway) || w.has("state") {
		t.Errorf("before it runs: %v, want unavailable", err)
	}
	if o.Ready() {
		t.Error("ready before it runs")
	}
}

// An effect that nobody can carry out holds up its key, not the others, and is done once somebody can.
func TestUnknownEffect(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		p := start(t, w, "a").ready(t)
		if err := p.Commit(t.Context(), "k", []outbox.Effect{{Name: "of-a-newer-version", Data: json.RawMessage(`1`)}}); err != nil {
			t.Fatal(err)
		}
		if err := p.Commit(t.Context(), "another key", []outbox.Effect{note(t, "other")}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the other is done", func() bool { return len(w.effects()) == 1 })
		p.stop()
		if len(w.slots()) != 1 {
			t.Fatalf("slots: %v, want the one that can't be done", w.slots())
		}
		done := make(chan struct{})
		next := start(t, w, "a", func(o *outbox.Options, _ *mortal) {})
		next.stop()
		newer := outbox.New(mortal{p: next}, next, outbox.Options{Instance: "a"})
		newer.Handle("of-a-newer-version", func(context.Context, []byte) error { close(done); return nil })
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- newer.Run(ctx) }()
		<-done
		cancel()
		<-ended
	})
}

func TestRedoneIsCounted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.setAway(true)
		p := start(t, w, "a").ready(t)
		for i := range 3 {
			if err := p.Commit(t.Context(), fmt.Sprint(i), []outbox.Effect{note(t, fmt.Sprint(i))}); err != nil {
				t.Fatal(err)
			}
		}
		p.dead.Store(true)
		p.stop()
		w.setAway(false)
		next := start(t, w, "a").ready(t)
		eventually(t, "the slots are free", func() bool { return len(w.slots()) == 0 })
		for name, want := range map[string]float64{"outbox_redone_total": 3, "outbox_pending": 0} {
			if got := next.metric(t, name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		next.stop()
	})
}
