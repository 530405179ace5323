package deadletter_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
)

// counting counts what is read and written of a store.
type counting struct {
	*sidecartest.Store
	reads, keys, ops atomic.Int64
	largest          atomic.Int64
}

func (c *counting) Get(ctx context.Context, key string) (sidecar.Item, error) {
	c.reads.Add(1)
	c.keys.Add(1)
	return c.Store.Get(ctx, key)
}

func (c *counting) GetBulk(ctx context.Context, keys []string) ([]sidecar.Item, error) {
	c.reads.Add(1)
	c.keys.Add(int64(len(keys)))
	return c.Store.GetBulk(ctx, keys)
}

func (c *counting) Transact(ctx context.Context, ops ...sidecar.Op) error {
	c.ops.Add(int64(len(ops)))
	for _, op := range ops {
		c.largest.Store(max(c.largest.Load(), int64(len(op.Value))))
	}
	return c.Store.Transact(ctx, ops...)
}

// The work of one letter does not grow with how many there are.
func TestBoundedWork(t *testing.T) {
	store := &counting{Store: sidecartest.NewStore()}
	f := newFixture(t, store)
	const n = 1000
	f.fill(n)
	if reads, ops := store.reads.Load(), store.ops.Load(); reads > n+n/50+1 || ops > 3*n {
		t.Errorf("%d letters took %d reads and %d writes", n, reads, ops)
	}
	if store.largest.Load() > 64<<10 {
		t.Errorf("the largest value has %d bytes", store.largest.Load())
	}
	store.reads.Store(0)
	if list := f.list("?subject=ord_17"); list.Matched != 1 || list.Total != n || store.reads.Load() > 1+n/50/40+1 {
		t.Errorf("a list: %d of %d with %d reads", list.Matched, list.Total, store.reads.Load())
	}
	store.reads.Store(0)
	store.ops.Store(0)
	if got, parts := f.inBulk("replay", deadletter.BulkRequest{All: true}); got.Done != n || store.reads.Load() > int64(8*parts) || store.ops.Load() > n+n/50+int64(4*parts) {
		t.Errorf("replayed %d in %d parts with %d reads and %d writes", got.Done, parts, store.reads.Load(), store.ops.Load())
	}
	if left := slices.DeleteFunc(store.Keys(), func(k string) bool {
		return strings.HasPrefix(k, "dead-letter/") || strings.HasPrefix(k, "dead-letters/trail/") || k == "dead-letters/head"
	}); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// Whatever is done in whatever order, the index has what is there, and a list pages through all of it.
func TestIndexAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	f := newFixture(t, sidecartest.NewStore())
	model := map[string]string{} // id to subject
	for step := range 300 {
		switch {
		case rng.IntN(3) > 0 || len(model) == 0:
			subject := fmt.Sprintf("ord_%d", step)
			f.deliver(orders, letter(t, orders, event(subject, 1), "no", f.start.Add(time.Duration(step)*time.Second)))
			model[f.list("?limit=1").Letters[0].ID] = subject
		case rng.IntN(20) == 0:
			subject := ""
			for _, s := range model {
				subject = s
				break
			}
			if got, _ := f.inBulk("drop", deadletter.BulkRequest{Filter: deadletter.Filter{Subject: subject}}); got.Done != 1 {
				t.Fatalf("step %d: dropped %d of %s", step, got.Done, subject)
			}
			for id, s := range model {
				if s == subject {
					delete(model, id)
				}
			}
		default:
			for id := range model {
				if err := f.ask("POST", "/"+id+"/drop", nil, nil); err != nil {
					t.Fatal(err)
				}
				delete(model, id)
				break
			}
		}
	}
	got := map[string]string{}
	last, next := 1<<30, 1
	for query := "?limit=7"; next > 0; query = fmt.Sprintf("?limit=7&before=%d", next) {
		list := f.list(query)
		if list.Total != len(model) || list.Matched != len(model) {
			t.Fatalf("%s: %d of %d, want %d", query, list.Matched, list.Total, len(model))
		}
		for _, e := range list.Letters {
			if e.Seq >= last {
				t.Errorf("letter %d after %d", e.Seq, last)
			}
			last, got[e.ID] = e.Seq, e.Subject
		}
		next = list.Next
	}
	if diff := cmp.Diff(model, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Two replicas take letters in and replay them on one store at the same time: none is lost, none listed twice.
func TestReplicas(t *testing.T) {
	store := sidecartest.NewStore()
	f := newFixture(t, store)
	boxes := []*fixture{f, replica(t, store, f.sub, f.sub, f.start)}
	const each = 150
	var working sync.WaitGroup
	for i, b := range boxes {
		working.Go(func() {
			for n := range each {
				raw := letter(t, orders, event(fmt.Sprintf("ord_%d_%d", i, n), 1), "no", f.start.Add(time.Duration(n)*time.Millisecond))
				for b.deliver(orders, raw) != "SUCCESS" {
				}
			}
		})
	}
	working.Go(func() {
		for range 20 {
			_ = f.ask("POST", "/replay", deadletter.BulkRequest{All: true, Limit: 10}, nil) // may meet too many others
		}
	})
	working.Wait()
	list := f.list("?limit=500")
	seen := map[int]bool{}
	for _, e := range list.Letters {
		if seen[e.Seq] {
			t.Errorf("number %d twice", e.Seq)
		}
		seen[e.Seq] = true
	}
	replayed := 0
	for _, r := range f.records() {
		replayed += r.Done
	}
	if list.Total+replayed != 2*each {
		t.Errorf("%d letters are listed and %d replayed, want %d in all", list.Total, replayed, 2*each)
	}
}

// Depth and age come from the store: another process says the same.
func TestMetrics(t *testing.T) { synctest.Test(t, testMetrics) }

func testMetrics(t *testing.T) {
	store := sidecartest.NewStore()
	f := newFixture(t, store)
	f.fill(3)
	f.deliver(payments, letter(t, payments, event("ord_x", 1), "no", time.Now().UTC().Add(-10*time.Minute)))
	want := map[string]float64{"dead_letters " + orders: 3, "dead_letters " + payments: 1}
	watch(t, f, want, time.Hour)

	after := replica(t, store, f.sub, f.sub, f.start)
	if got := after.gauges(); len(got) > 0 {
		t.Errorf("before the store was asked: %v", got)
	}
	watch(t, after, want, time.Hour)
	if err := after.ask("POST", "/drop", deadletter.BulkRequest{Filter: deadletter.Filter{Topic: orders}}, nil); err != nil {
		t.Fatal(err)
	}
	watch(t, after, map[string]float64{"dead_letters " + orders: 0, "dead_letters " + payments: 1}, 0)
}

// watch runs the box until its gauges are as wanted.
func watch(t *testing.T, f *fixture, want map[string]float64, oldest time.Duration) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); f.box.Run(ctx) }()
	defer func() { cancel(); <-done }()
	runtest.Eventually(t, fmt.Sprint("the metrics are ", want), func() bool {
		got := f.gauges()
		for name, v := range want {
			if n, ok := got[name]; !ok || n != v {
				return false
			}
		}
		age := time.Duration(got["dead_letter_oldest_seconds "+orders] * float64(time.Second))
		return age >= oldest && age < oldest+time.Minute
	})
}

// gauges reads the metrics of depth and age by name and topic.
func (f *fixture) gauges() map[string]float64 {
	f.t.Helper()
	families, err := f.reg.Gather()
	if err != nil {
		f.t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		if name := family.GetName(); name == "dead_letters" || name == "dead_letter_oldest_seconds" {
			for _, m := range family.GetMetric() {
				got[name+" "+m.GetLabel()[0].GetValue()] = m.GetGauge().GetValue()
			}
		}
	}
	return got
}
