package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// maxRings bounds how many replicas of a service can hold a ring at a time.
const maxRings = 16

// batchSize is how many slots are read or deleted in one request.
const batchSize = 64

// lease says who holds a ring until when. The clock margin between replicas must be well below its length.
type lease struct {
	Holder  string    `json:"holder"`
	Epoch   int       `json:"epoch"`
	Slots   int       `json:"slots"`
	Expires time.Time `json:"expires"`
	// Recovered is when another replica last did what it holds, zero if none has since Holder had it. It does not keep
	// the ring from a replica that needs one.
	Recovered time.Time `json:"recovered,omitzero"`
}

// heldRing is a ring that this process holds.
type heldRing struct {
	number int
	epoch  int
	until  time.Time
}

func (r *heldRing) valid(now time.Time) bool { return r != nil && now.Before(r.until) }

func (r *heldRing) slotKey(index int) string { return slotKey(r.number, index) }

func slotKey(ring, index int) string { return fmt.Sprintf("outbox/%d/%d", ring, index) }
func leaseKey(ring int) string       { return fmt.Sprintf("outbox/%d/lease", ring) }

// errLost says that another replica took our ring: this process was away for longer than its lease. What it still
// held is being done by the other, so it starts over as a new process.
var errLost = errors.New("outbox: the ring was taken by another replica")

// Run takes a ring, does again what a crash left in it, and carries out effects until the context ends. It
// retries while the store is away. On a clean end the lease is given back. It fails only if another replica took
// the ring.
func (o *Outbox) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var workers sync.WaitGroup
	for _, q := range o.queues {
		workers.Go(func() { o.work(ctx, q) })
	}
	defer func() { // the workers first, so that all that they have done is swept
		cancel()
		workers.Wait()
		o.release()
	}()

	for delay := 100 * time.Millisecond; ; delay = min(2*delay, 2*time.Second) {
		err := o.acquire(ctx)
		if err == nil {
			break
		}
		o.opt.Log.Warn("outbox: no ring yet", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
	workers.Go(func() { o.scavenge(ctx) })
	sweep := time.NewTicker(500 * time.Millisecond)
	defer sweep.Stop()
	renew := time.NewTicker(o.opt.Lease / 3)
	defer renew.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
			o.sweep(ctx)
		case <-renew.C:
			if err := o.renew(ctx); errors.Is(err, errLost) {
				return err
			} else if err != nil && ctx.Err() == nil {
				o.opt.Log.Error("outbox: lease not renewed", "error", err)
			}
		}
	}
}

// acquire takes the ring that this replica held before, else the first that nobody holds.
func (o *Outbox) acquire(ctx context.Context) error {
	now := time.Now()
	keys := make([]string, maxRings)
	for i := range keys {
		keys[i] = leaseKey(i)
	}
	items, err := o.store.GetBulk(ctx, keys)
	if err != nil {
		return err
	}
	best := -1
	leases := make([]lease, maxRings)
	for i, item := range items {
		if item.Exists() {
			if err := json.Unmarshal(item.Value, &leases[i]); err != nil {
				return fmt.Errorf("outbox: lease %d: %w", i, err)
			}
		}
		if leases[i].Holder == o.opt.Instance {
			best = i
			break
		}
		if best < 0 && now.After(leases[i].Expires) {
			best = i
		}
	}
	if best < 0 {
		return fmt.Errorf("outbox: all %d rings are held", maxRings)
	}
	ring := &heldRing{number: best, epoch: leases[best].Epoch + 1}
	// If we die in the recovery, what lies beyond our own slots must still be found.
	if err := o.writeLease(ctx, ring, items[best], max(o.opt.Slots, leases[best].Slots)); err != nil {
		return err
	}
	if err := o.recover(ctx, best, indexes(leases[best].Slots), true); err != nil {
		return err
	}
	for i := leases[best].Slots; i < o.opt.Slots; i++ { // nobody has used them
		o.free <- i
	}
	o.ring.Store(ring)
	return nil
}

func (o *Outbox) writeLease(ctx context.Context, ring *heldRing, old sidecar.Item, slots int) error {
	expires := time.Now().Add(o.opt.Lease)
	b, err := json.Marshal(lease{Holder: o.opt.Instance, Epoch: ring.epoch, Slots: slots, Expires: expires})
	if err != nil {
		return err
	}
	op := sidecar.Op{Key: leaseKey(ring.number), Value: b, ETag: old.ETag, Create: !old.Exists()}
	if err := o.store.Transact(ctx, op); err != nil {
		return err
	}
	ring.until = expires.Add(-o.opt.Lease / 5) // stop early: another clock may run ahead
	return nil
}

// renew extends the lease, unless somebody else has taken the ring.
func (o *Outbox) renew(ctx context.Context) error {
	held := o.ring.Load()
	item, err := o.store.Get(ctx, leaseKey(held.number))
	if err != nil {
		return err
	}
	var l lease
	if item.Exists() {
		if err := json.Unmarshal(item.Value, &l); err != nil {
			return err
		}
	}
	if l.Holder != o.opt.Instance || l.Epoch != held.epoch {
		o.ring.Store(nil)
		return fmt.Errorf("%w: ring %d is held by %q in epoch %d", errLost, held.number, l.Holder, l.Epoch)
	}
	next := &heldRing{number: held.number, epoch: held.epoch}
	if err := o.writeLease(ctx, next, item, l.Slots); err != nil {
		return err
	}
	o.ring.Store(next)
	return nil
}

// release gives the lease back after a clean end; the ring stays ours by name, so that slots are found again.
func (o *Outbox) release() {
	held := o.ring.Load()
	if !held.valid(time.Now()) {
		o.ring.Store(nil)
		return // not ours to give, perhaps
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	o.sweep(ctx)
	o.ring.Store(nil)
	if err := o.giveBack(ctx, held); err != nil {
		o.opt.Log.Warn("outbox: lease not given back", "error", err)
	}
}

func (o *Outbox) giveBack(ctx context.Context, held *heldRing) error {
	item, err := o.store.Get(ctx, leaseKey(held.number))
	if err != nil {
		return err
	}
	var l lease
	if err := json.Unmarshal(item.Value, &l); err != nil {
		return err
	}
	if l.Holder != o.opt.Instance || l.Epoch != held.epoch {
		return errLost
	}
	l.Expires = time.Now()
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return o.store.Transact(ctx, sidecar.Op{Key: leaseKey(held.number), Value: b, ETag: item.ETag})
}

// indexes lists the slots of a ring of n.
func indexes(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}

// recover does again what slots of a ring hold, but for what is being done again already. In our own ring the indexes
// that are empty become free at once and the others when they are done. Nothing is started, and none becomes free,
// unless all could be read.
func (o *Outbox) recover(ctx context.Context, ring int, slots []int, own bool) error {
	type found struct {
		index int
		item  sidecar.Item
		entry entry
	}
	var all []found
	for batch := range slices.Chunk(slots, batchSize) {
		keys := make([]string, len(batch))
		for i, index := range batch {
			keys[i] = slotKey(ring, index)
		}
		items, err := o.store.GetBulk(ctx, keys)
		if err != nil {
			return err
		}
		for i, item := range items {
			f := found{index: batch[i], item: item}
			if item.Exists() {
				if err := json.Unmarshal(item.Value, &f.entry); err != nil {
					return fmt.Errorf("outbox: slot %s: %w", keys[i], err)
				}
			}
			all = append(all, f)
		}
	}
	// As they were committed: the effects of a key keep their order.
	slices.SortStableFunc(all, func(a, b found) int { return a.entry.At.Compare(b.entry.At) })
	for _, f := range all {
		key := slotKey(ring, f.index)
		ours := own && f.index < o.opt.Slots
		if !f.item.Exists() {
			if ours {
				o.free <- f.index
			}
			continue
		}
		if !o.redo(key) {
			continue
		}
		o.redone.Inc()
		o.pending.Inc()
		o.enqueue(ctx, job{slot: key, index: -1, entry: f.entry, done: func() {
			err := o.store.Transact(ctx, sidecar.Op{Key: key, ETag: f.item.ETag, Delete: true})
			gone := err == nil || errors.Is(err, sidecar.ErrConflict)
			o.redid(key) // before it can be used again
			switch {
			case ours && gone:
				o.free <- f.index
			case ours:
				o.done(f.index) // the sweeper tries again
			case !gone:
				o.opt.Log.Warn("outbox: slot not deleted; it will be done again", "slot", key, "error", err)
			}
		}})
	}
	return nil
}

// redo notes that what a slot holds is being done again, and is false if that is known.
func (o *Outbox) redo(slot string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.redoing[slot] {
		return false
	}
	o.redoing[slot] = true
	return true
}

func (o *Outbox) redid(slot string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.redoing, slot)
}

// scavenge recovers, until the context ends, the rings of replicas that are gone, and what one that held our own ring
// before us has written into it since: it may have been frozen in the middle of a commit. It has its own goroutine,
// because much that can't be done would have it wait, and the lease must not run out meanwhile.
func (o *Outbox) scavenge(ctx context.Context) {
	rings := time.NewTicker(o.opt.Lease / 3)
	defer rings.Stop()
	own := time.NewTicker(4 * o.opt.Lease)
	defer own.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-rings.C:
			o.recoverOthers(ctx)
		case <-own.C:
			o.recoverFree(ctx)
		}
	}
}

// recoverFree does what slots of our ring hold that ought to be empty.
func (o *Outbox) recoverFree(ctx context.Context) {
	held := o.ring.Load()
	if held == nil {
		return
	}
	for n := len(o.free); n > 0; n -= batchSize { // a batch at a time, so that commits find the others
		var batch []int
		for range min(n, batchSize) {
			select {
			case i := <-o.free:
				batch = append(batch, i)
			default: // commits took them
			}
		}
		if err := o.recover(ctx, held.number, batch, true); err != nil {
			for _, i := range batch {
				o.free <- i
			}
			return // the next time, then
		}
	}
}

// recoverOthers does what the rings of replicas that are gone hold.
func (o *Outbox) recoverOthers(ctx context.Context) {
	held := o.ring.Load()
	if held == nil {
		return
	}
	for i := range maxRings {
		if i == held.number {
			continue
		}
		item, err := o.store.Get(ctx, leaseKey(i))
		if err != nil {
			return
		}
		if !item.Exists() {
			return // rings are taken in order: there is none beyond
		}
		var l lease
		if json.Unmarshal(item.Value, &l) != nil || l.Slots == 0 || time.Now().Before(l.Expires) {
			continue
		}
		// It is read again every four leases until somebody takes it: its holder may have been frozen in the middle of
		// a commit.
		if time.Since(l.Recovered) < 4*o.opt.Lease {
			continue
		}
		if err := o.claim(ctx, i, item, l); err != nil {
			continue // another replica has it
		}
		if o.told[i] != l.Holder { // once, although the ring is read again and again
			o.opt.Log.Info("outbox: recovering the ring of a replica that is gone", "ring", i, "holder", l.Holder)
			o.told[i] = l.Holder
		}
		if err := o.recover(ctx, i, indexes(l.Slots), false); err != nil {
			o.opt.Log.Warn("outbox: recovery failed, will be tried again", "ring", i, "error", err)
		}
	}
}

// claim makes the recovery of a ring this replica's, and shuts out a holder that comes back.
func (o *Outbox) claim(ctx context.Context, ring int, old sidecar.Item, l lease) error {
	l.Epoch++
	l.Recovered = time.Now()
	b, err := json.Marshal(l)
	if err != nil {
		return err
	}
	return o.store.Transact(ctx, sidecar.Op{Key: leaseKey(ring), Value: b, ETag: old.ETag})
}

// sweep deletes the slots whose effects are done, many in one transaction, and makes them free.
func (o *Outbox) sweep(ctx context.Context) {
	o.mu.Lock()
	done := o.freed
	o.freed = nil
	o.mu.Unlock()
	held := o.ring.Load()
	for len(done) > 0 {
		n := min(len(done), batchSize)
		ok := held.valid(time.Now()) // without a good lease the slots may be another replica's by now
		if ok {
			ops := make([]sidecar.Op, n)
			for i, index := range done[:n] {
				ops[i] = sidecar.Op{Key: held.slotKey(index), Delete: true}
			}
			ok = o.store.Transact(ctx, ops...) == nil
		}
		if !ok {
			o.mu.Lock()
			o.freed = append(o.freed, done...)
			o.mu.Unlock()
			return
		}
		for _, index := range done[:n] {
			o.free <- index
		}
		done = done[n:]
	}
}
