package outbox_test

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// Replicas hold a ring each, and one that lives does what one that died left.
func TestReplicas(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		a, b := start(t, w, "a").ready(t), start(t, w, "b").ready(t)
		w.setAway(true)
		for i := range 5 {
			if err := a.Commit(t.Context(), "a", []outbox.Effect{publish(t, "a", i)}); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Commit(t.Context(), "b", []outbox.Effect{publish(t, "b", 0)}); err != nil {
			t.Fatal(err)
		}
		a.dead.Store(true)
		a.stop()
		w.setAway(false)
		killed := time.Now()
		eventually(t, "the slots are free", func() bool { return len(w.slots()) == 0 })
		if took := time.Since(killed); took > 2*lease {
			t.Errorf("taken over after %v, want at most %v", took, 2*lease)
		}
		want := []string{"topic:b/0", "topic:a/0", "topic:a/1", "topic:a/2", "topic:a/3", "topic:a/4"}
		if diff := cmp.Diff(want, w.effects()); diff != "" {
			t.Errorf("effects (-want +got):\n%s", diff)
		}
		if !b.Ready() {
			t.Error("the survivor is not ready")
		}
		b.stop()
	})
}

// However many replicas came and went, the next one has a ring at once: what is left of them is kept by nobody, neither
// by themselves nor by the replica that lived on and did what they had left.
func TestManyReplicas(t *testing.T) {
	for name, end := range map[string]func(p *process){
		"given back": func(*process) {},
		"killed":     func(p *process) { p.dead.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld()
				survivor := start(t, w, "survivor").ready(t)
				for i := range 40 {
					before := time.Now()
					p := start(t, w, fmt.Sprint("replica", i)).ready(t)
					if took := time.Since(before); took > time.Second {
						t.Fatalf("replica %d had to wait %v for a ring", i, took)
					}
					end(p)
					p.stop()
					time.Sleep(2 * lease) // the survivor does what was left
				}
				survivor.stop()
			})
		})
	}
}

// A replica is frozen in the middle of a commit, which reaches the store after another has done what was in the ring, and
// dies then. The effects are done all the same, whether its ring is free by then or a third replica's.
func TestFrozenInACommit(t *testing.T) {
	for _, taken := range []bool{false, true} {
		t.Run(fmt.Sprintf("ring taken %t", taken), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld()
				b := start(t, w, "b").ready(t)
				var frozen atomic.Bool
				w.store.Fail = func(ops []sidecar.Op) error {
					if frozen.Load() && strings.Contains(string(ops[0].Value), `"holder":"a","epoch":1,`) {
						return errors.New("frozen")
					}
					return nil
				}
				var a *process
				a = start(t, w, "a", func(o *outbox.Options, _ *mortal) {
					o.Crash = func(point string) {
						switch point {
						case outbox.BeforeCommit:
							frozen.Store(true)
							time.Sleep(3 * lease)
						case outbox.AfterCommit:
							a.dead.Store(true)
							runtime.Goexit()
						}
					}
				}).ready(t)
				go a.Commit(t.Context(), "k", []outbox.Effect{note(t, "late")}, set("state")) //nolint:errcheck // it ends in Goexit
				time.Sleep(2 * lease)
				if taken {
					c := start(t, w, "c").ready(t)
					defer c.stop()
				}
				time.Sleep(lease - time.Second)
				if w.has("state") || a.Ready() {
					t.Fatalf("the commit came too early (state written: %t), or the lease did not run out (ready: %t)", w.has("state"), a.Ready())
				}
				eventually(t, "the late commit is written", func() bool { return w.has("state") })
				if slot := w.slots()[0]; !strings.HasPrefix(slot, "outbox/1/") {
					t.Errorf("it is written to %s, which is not in the ring of the replica that was frozen", slot)
				}
				eventually(t, "its effect is done", func() bool { return slices.Contains(w.effects(), "note:late") })
				eventually(t, "the slots are free", func() bool { return len(w.slots()) == 0 })
				if !a.dead.Load() {
					t.Error("the replica that committed late lives, and may have done it")
				}
				a.stop()
				b.stop()
			})
		})
	}
}

// While the broker is away for long, what a replica that is gone has left is handed over once, not at every look at its
// ring.
func TestRedoneOnce(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		a, b := start(t, w, "a").ready(t), start(t, w, "b").ready(t)
		w.setAway(true)
		for i := range 5 {
			if err := a.Commit(t.Context(), "a", []outbox.Effect{publish(t, "a", i)}); err != nil {
				t.Fatal(err)
			}
		}
		a.dead.Store(true)
		a.stop()
		time.Sleep(30 * time.Minute)
		if got := b.metric(t, "outbox_redone_total"); got != 5 {
			t.Errorf("handed over %v slots, want 5", got)
		}
		w.setAway(false)
		eventually(t, "the slots are free", func() bool { return len(w.slots()) == 0 })
		if diff := cmp.Diff([]string{"topic:a/0", "topic:a/1", "topic:a/2", "topic:a/3", "topic:a/4"}, w.effects()); diff != "" {
			t.Errorf("effects (-want +got):\n%s", diff)
		}
		b.stop()
	})
}

// A replica that has taken over more than it can hold in its queues stays what it is, and does all in the end.
func TestMoreThanAQueue(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.setAway(true)
		a, b := start(t, w, "a", slots(4)).ready(t), start(t, w, "b", slots(4)).ready(t)
		for i := range 4 { // all of one key, which has one queue
			for _, p := range []*process{a, b} {
				if err := p.Commit(t.Context(), "k", []outbox.Effect{note(t, fmt.Sprint(i))}); err != nil {
					t.Fatal(err)
				}
			}
		}
		a.dead.Store(true)
		a.stop()
		time.Sleep(10 * time.Minute)
		if !b.Ready() {
			t.Error("the survivor has lost its ring")
		}
		w.setAway(false)
		eventually(t, "the slots are free", func() bool { return len(w.slots()) == 0 })
		// One that is done just as its ring is read again may be done twice.
		for i := range 4 {
			done := 0
			for _, e := range w.effects() {
				if e == fmt.Sprint("note:", i) {
					done++
				}
			}
			if done < 2 {
				t.Errorf("effect %d was done %d times, want it of both replicas: %v", i, done, w.effects())
			}
		}
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	})
}

// A replica that was frozen for longer than its lease, and whose ring was taken, gives up instead of writing into it.
func TestRingLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		// The store refuses a's renewals, as if a was frozen when they were due.
		var mu sync.Mutex
		frozen := true
		w.store.Fail = func(ops []sidecar.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if frozen && ops[0].Key == "outbox/0/lease" && strings.Contains(string(ops[0].Value), `"holder":"a"`) && !ops[0].Create {
				return errors.New("frozen")
			}
			return nil
		}
		a := start(t, w, "a").ready(t)
		time.Sleep(lease + time.Second) // at the lease's very end its ring is not to be had yet
		if a.Ready() {
			t.Error("ready though the lease has run out")
		}
		if err := a.Commit(t.Context(), "k", []outbox.Effect{note(t, "never")}, set("state")); err == nil || w.has("state") {
			t.Errorf("commit without a lease: %v", err)
		}
		b := start(t, w, "b").ready(t) // takes ring 0
		mu.Lock()
		frozen = false
		mu.Unlock()
		time.Sleep(lease)
		if err := a.stop(); err == nil || !strings.Contains(err.Error(), "taken by another replica") {
			t.Errorf("the frozen replica ended with %v, want that its ring was taken", err)
		}
		if !b.Ready() {
			t.Error("the other replica is not ready")
		}
		if err := b.stop(); err != nil {
			t.Error(err)
		}
	})
}

// The store's answer to a commit is lost. The slot tells what happened: the effects are done if and only if the
// state was written, even if it is written late.
func TestUnknownOutcome(t *testing.T) {
	lost := errors.New("the connection broke")
	isCommit := func(ops []sidecar.Op) bool {
		return slices.ContainsFunc(ops, func(op sidecar.Op) bool { return op.Key == "state" })
	}
	for name, answer := range map[string]error{
		"written": lost,
		"written, and then in the way of its own repetition": sidecar.ErrConflict,
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld()
				p := start(t, w, "a", slots(1), func(_ *outbox.Options, m *mortal) {
					m.after = func(ops []sidecar.Op) error {
						if isCommit(ops) {
							return answer
						}
						return nil
					}
				}).ready(t)
				if err := p.Commit(t.Context(), "k", []outbox.Effect{note(t, "done")}, set("state")); !errors.Is(err, answer) {
					t.Fatal(err)
				}
				time.Sleep(time.Second) // of the bubble; long before free slots are looked at again
				if diff := cmp.Diff([]string{"note:done"}, w.effects()); diff != "" || len(w.slots()) > 0 {
					t.Errorf("effects (-want +got):\n%s\nslots: %v", diff, w.slots())
				}
				p.stop()
			})
		})
	}
	t.Run("not written", func(t *testing.T) {
		bubble(t, func(t *testing.T) {
			w := newWorld()
			w.store.Fail = func(ops []sidecar.Op) error {
				if isCommit(ops) {
					return lost
				}
				return nil
			}
			p := start(t, w, "a", slots(1)).ready(t)
			if err := p.Commit(t.Context(), "k", []outbox.Effect{note(t, "never")}, set("state")); !errors.Is(err, lost) {
				t.Fatal(err)
			}
			// The slot comes back, if only after a while.
			time.Sleep(2 * time.Minute)
			if err := p.Commit(t.Context(), "k", []outbox.Effect{note(t, "next")}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the slot is free", func() bool { return len(w.slots()) == 0 })
			if diff := cmp.Diff([]string{"note:next"}, w.effects()); diff != "" {
				t.Errorf("effects (-want +got):\n%s", diff)
			}
			p.stop()
		})
	})
	for _, late := range []time.Duration{10 * time.Millisecond, 3 * time.Second, 30 * time.Second} {
		t.Run(fmt.Sprint("written after ", late), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld()
				landed := make(chan error, 1)
				first := true
				w.store.Fail = func(ops []sidecar.Op) error {
					if !isCommit(ops) || !first {
						return nil
					}
					first = false
					copied := slices.Clone(ops)
					time.AfterFunc(late, func() { landed <- w.store.Transact(t.Context(), copied...) })
					return lost
				}
				p := start(t, w, "a", slots(1)).ready(t)
				if err := p.Commit(t.Context(), "k", []outbox.Effect{note(t, "done")}, set("state")); !errors.Is(err, lost) {
					t.Fatal(err)
				}
				err := <-landed
				time.Sleep(2 * time.Minute)
				if got := slices.Contains(w.effects(), "note:done"); got != w.has("state") || got != (err == nil) {
					t.Errorf("effects done: %t, state written: %t (%v)", got, w.has("state"), err)
				}
				if len(w.slots()) != 0 {
					t.Errorf("slots: %v", w.slots())
				}
				p.stop()
			})
		})
	}
}

// A store that is away at the start is waited for.
func TestStoreAwayAtStart(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		var mu sync.Mutex
		away := true
		w.store.Fail = func([]sidecar.Op) error {
			mu.Lock()
			defer mu.Unlock()
			if away {
				return errors.New("the store is away")
			}
			return nil
		}
		p := start(t, w, "a")
		time.Sleep(10 * time.Second)
		if p.Ready() {
			t.Error("ready without a store")
		}
		mu.Lock()
		away = false
		mu.Unlock()
		p.ready(t)
		p.stop()
	})
}

// A slot can't be deleted for a while: it is neither done again nor used before it is empty.
func TestSlotNotDeleted(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld()
		w.setAway(true)
		p := start(t, w, "a", slots(1)).ready(t)
		if err := p.Commit(t.Context(), "k", []outbox.Effect{note(t, "1")}); err != nil {
			t.Fatal(err)
		}
		p.dead.Store(true)
		p.stop()
		w.setAway(false)
		failures := 3
		w.store.Fail = func(ops []sidecar.Op) error {
			if ops[0].Delete && failures > 0 {
				failures--
				return errors.New("the store is away")
			}
			return nil
		}
		next := start(t, w, "a", slots(1)).ready(t)
		if err := next.Commit(t.Context(), "k", []outbox.Effect{note(t, "2")}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the slot is free", func() bool { return len(w.slots()) == 0 })
		if diff := cmp.Diff([]string{"note:1", "note:2"}, w.effects()); diff != "" {
			t.Errorf("effects (-want +got):\n%s", diff)
		}
		next.stop()
	})
}
