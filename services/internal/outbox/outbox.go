// Package outbox holds the promise "no event without state, no state without event" under a kill at any instant.
//
// A state transaction that must be followed by effects (an event to publish, a saga to start) also writes them
// into a slot: one of a fixed ring of keys that this process holds by a lease. The effects are carried out after
// the commit and the slot is freed. After a crash the ring is read by key, by the same replica at once or by
// another when the lease has run out, and what it still holds is done again. Everything behind an effect must
// therefore be idempotent. (Dapr's own outbox publishes about one message a second and before the commit.)
package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// PublishEffect is the name of the effect that every outbox knows: publish an event.
const PublishEffect = "publish"

// Effect is something to do after a commit, at least once.
type Effect struct {
	Name string          `json:"name"`
	Data json.RawMessage `json:"data"`
}

// Publication is the data of a PublishEffect.
type Publication struct {
	Topic string           `json:"topic"`
	Event cloudevent.Event `json:"event"`
}

// Publish is the effect of publishing e on topic.
func Publish(topic string, e cloudevent.Event) (Effect, error) {
	return NewEffect(PublishEffect, Publication{topic, e})
}

// NewEffect is an effect by name with data as JSON.
func NewEffect(name string, data any) (Effect, error) {
	b, err := json.Marshal(data)
	if err != nil {
		return Effect{}, fmt.Errorf("outbox: effect %s: %w", name, err)
	}
	return Effect{Name: name, Data: b}, nil
}

// Options of an Outbox. Zero values mean the defaults.
type Options struct {
	Instance string        // stable name of this replica; it gets its own ring back at once after a crash
	Slots    int           // effects in flight at most, default 512
	Lease    time.Duration // default 15 s
	Workers  int           // default 32; effects of one key are done one after the other, in order
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	// Crash is called at the named points of a commit; tests end the process there. Nil: nothing.
	Crash func(point string)
}

// The points at which Options.Crash is called.
const (
	BeforeCommit = "before-commit" // nothing is written
	AfterCommit  = "after-commit"  // state and effects are written, nothing is done
	AfterEffect  = "after-effect"  // an effect is done, such as an event published; others of the commit may not be
	BeforeFree   = "before-free"   // all effects are done, and the slot still holds them
)

// Points lists them in their order.
func Points() []string { return []string{BeforeCommit, AfterCommit, AfterEffect, BeforeFree} }

// entry is what a slot holds.
type entry struct {
	Key         string    `json:"key"` // effects of a key keep their order
	RequestID   string    `json:"request_id,omitempty"`
	TraceParent string    `json:"traceparent,omitempty"`
	At          time.Time `json:"at"`
	Effects     []Effect  `json:"effects"`
}

type job struct {
	slot  string // key of the slot
	index int    // in our ring, -1 for a slot that is being recovered
	entry entry
	done  func()
}

// Outbox is a service's outbox. It is usable after Run has taken a ring.
type Outbox struct {
	store    sidecar.Store
	opt      Options
	handlers map[string]func(ctx context.Context, data []byte) error
	queues   []chan job
	free     chan int
	ring     atomic.Pointer[heldRing]
	mu       sync.Mutex
	freed    []int           // done, to be deleted by the sweeper
	redoing  map[string]bool // keys of slots that a recovery has handed over and that are not done

	told map[int]string // holders of rings that the scavenger has told of; its goroutine's own

	pending  prometheus.Gauge
	failures *prometheus.CounterVec
	redone   prometheus.Counter
}

// New makes an outbox on store. pub carries out PublishEffect.
func New(store sidecar.Store, pub sidecar.Publisher, opt Options) *Outbox {
	if opt.Slots == 0 {
		opt.Slots = 512
	}
	if opt.Lease == 0 {
		opt.Lease = 15 * time.Second
	}
	if opt.Workers == 0 {
		opt.Workers = 32
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Metrics == nil {
		opt.Metrics = prometheus.NewRegistry()
	}
	if opt.Crash == nil {
		opt.Crash = func(string) {}
	}
	o := &Outbox{
		store: store, opt: opt,
		handlers: map[string]func(context.Context, []byte) error{},
		free:     make(chan int, opt.Slots),
		told:     map[int]string{},
		redoing:  map[string]bool{},
		pending:  prometheus.NewGauge(prometheus.GaugeOpts{Name: "outbox_pending", Help: "Commits whose effects are not done."}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "outbox_failures_total", Help: "Failed attempts at an effect."}, []string{"effect"}),
		redone:   prometheus.NewCounter(prometheus.CounterOpts{Name: "outbox_redone_total", Help: "Slots whose effects were done again after a crash."}),
	}
	opt.Metrics.MustRegister(o.pending, o.failures, o.redone)
	o.Handle(PublishEffect, func(ctx context.Context, data []byte) error {
		var p Publication
		if err := json.Unmarshal(data, &p); err != nil {
			return fmt.Errorf("outbox: publication: %w", err)
		}
		return pub.Publish(ctx, p.Topic, p.Event)
	})
	for range opt.Workers {
		o.queues = append(o.queues, make(chan job, opt.Slots+1))
	}
	return o
}

// Handle registers what carries out the effect called name. It must be called before Run and be idempotent.
func (o *Outbox) Handle(name string, f func(ctx context.Context, data []byte) error) {
	o.handlers[name] = f
}

// Ready reports whether commits are possible: a ring is held and its lease is good.
func (o *Outbox) Ready() bool { return o.ring.Load().valid(time.Now()) }

// Commit writes ops and, in the same transaction, the effects; then it hands the effects over to be done.
// Effects with the same key are done in the order of their commits. ErrConflict of the store is passed on.
func (o *Outbox) Commit(ctx context.Context, key string, effects []Effect, ops ...sidecar.Op) error {
	if len(effects) == 0 {
		return o.store.Transact(ctx, ops...)
	}
	ring := o.ring.Load()
	if !ring.valid(time.Now()) {
		return problem.Wrap(sidecar.ErrAway, problem.Unavailable, "the outbox is not ready").After(time.Second)
	}
	index, err := o.slot(ctx)
	if err != nil {
		return err
	}
	if ring = o.ring.Load(); !ring.valid(time.Now()) { // it may have been lost while we waited
		o.free <- index
		return problem.Wrap(sidecar.ErrAway, problem.Unavailable, "the outbox is not ready").After(time.Second)
	}
	ids := correlation.From(ctx)
	j := job{slot: ring.slotKey(index), index: index, entry: entry{
		Key: key, RequestID: ids.RequestID, TraceParent: ids.TraceParent, At: time.Now().UTC(), Effects: effects,
	}}
	value, err := json.Marshal(j.entry)
	if err != nil {
		o.free <- index
		return fmt.Errorf("outbox: %w", err)
	}
	o.opt.Crash(BeforeCommit)
	// A slot that is free is empty. That the transaction insists on it lets unknown shut out a late commit.
	if err := o.store.Transact(ctx, append(ops, sidecar.Op{Key: j.slot, Value: value, Create: true})...); err != nil {
		if errors.Is(err, sidecar.ErrConflict) {
			go o.inTheWay(ring.number, index)
		} else {
			o.unknown(j) // it may have been written
		}
		return err
	}
	o.opt.Crash(AfterCommit)
	o.pending.Inc()
	o.enqueue(context.WithoutCancel(ctx), j) // it is written, whatever becomes of the request
	return nil
}

func (o *Outbox) slot(ctx context.Context) (int, error) {
	select {
	case i := <-o.free:
		return i, nil
	default:
	}
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	select {
	case i := <-o.free:
		return i, nil
	case <-timer.C:
		return 0, problem.Wrap(sidecar.ErrAway, problem.Unavailable, "%d effects are waiting for the broker", o.opt.Slots).After(2 * time.Second)
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// inTheWay frees the slot of a commit that lost against another writer. It may have lost against itself: a client of the
// store that repeats a command whose answer it missed, as that of Redis does, finds its own write. Then the slot holds
// what is still to be done.
func (o *Outbox) inTheWay(ring, index int) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := o.recover(ctx, ring, []int{index}, true); err != nil {
		o.free <- index // recoverFree looks again
	}
}

// quarantine is how long a slot stays shut against a commit that may still be on its way to the store. It is longer
// than any call to the sidecar lasts.
const quarantine = time.Minute

// unknown settles a commit that failed without saying whether it was written: the slot tells. If the slot is empty
// it is filled with an entry without effects, so that the commit can't be written any more without anybody knowing.
func (o *Outbox) unknown(j job) {
	o.pending.Inc()
	go func() {
		for delay := 100 * time.Millisecond; ; delay = min(2*delay, 5*time.Second) {
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			written, err := o.settle(ctx, j)
			cancel()
			if err == nil && written {
				o.enqueue(context.Background(), j)
				return
			}
			if err == nil {
				o.pending.Dec()
				time.AfterFunc(quarantine, func() { o.done(j.index) })
				return
			}
			time.Sleep(delay)
		}
	}()
}

// settle reports whether the entry of j is in its slot; if not, it never will be.
func (o *Outbox) settle(ctx context.Context, j job) (written bool, err error) {
	void, err := json.Marshal(entry{At: j.entry.At})
	if err != nil {
		return false, err
	}
	err = o.store.Transact(ctx, sidecar.Op{Key: j.slot, Value: void, Create: true})
	if !errors.Is(err, sidecar.ErrConflict) {
		return false, err
	}
	item, err := o.store.Get(ctx, j.slot)
	if err != nil {
		return false, err
	}
	var got entry
	if err := json.Unmarshal(item.Value, &got); err != nil {
		return false, err
	}
	return len(got.Effects) > 0 && got.At.Equal(j.entry.At) && got.Key == j.entry.Key, nil
}

// done hands a slot of our ring to the sweeper, which deletes it and makes it free.
func (o *Outbox) done(index int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.freed = append(o.freed, index)
}

func (o *Outbox) enqueue(ctx context.Context, j job) {
	h := fnv.New32a()
	h.Write([]byte(j.entry.Key))
	select {
	case o.queues[h.Sum32()%uint32(len(o.queues))] <- j:
	case <-ctx.Done():
	}
}

func (o *Outbox) work(ctx context.Context, queue <-chan job) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-queue:
			if !o.perform(ctx, j.entry) {
				return
			}
			o.opt.Crash(BeforeFree)
			o.pending.Dec()
			if j.done != nil {
				j.done()
				continue
			}
			o.done(j.index)
		}
	}
}

// perform does the effects one after the other, each until it succeeds; false if the context ended before.
func (o *Outbox) perform(ctx context.Context, e entry) bool {
	ctx = correlation.With(ctx, correlation.IDs{RequestID: e.RequestID, TraceParent: e.TraceParent})
	for _, effect := range e.Effects {
		if forgotten(effect) {
			continue
		}
		for delay := 50 * time.Millisecond; ; delay = min(2*delay, 5*time.Second) {
			err := o.attempt(ctx, effect)
			if err == nil {
				o.opt.Crash(AfterEffect)
				break
			}
			if ctx.Err() != nil {
				return false
			}
			o.failures.WithLabelValues(effect.Name).Inc()
			o.opt.Log.Warn("effect failed, will be tried again", "effect", effect.Name, "key", e.Key, "in", delay, "error", err)
			select {
			case <-ctx.Done():
				return false
			case <-time.After(delay):
			}
		}
	}
	return true
}

func (o *Outbox) attempt(ctx context.Context, e Effect) error {
	if err := stalled(e); err != nil {
		return err
	}
	handle, ok := o.handlers[e.Name]
	if !ok {
		return fmt.Errorf("outbox: no handler for effect %q: a newer version of the service wrote it", e.Name)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return handle(ctx, e.Data)
}
