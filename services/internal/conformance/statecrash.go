package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// groupKeys is how many keys a transaction of the crash checks writes.
const groupKeys = 5

// writers write transactions of groupKeys keys with the same rising number, each its own group, as fast as they can.
type writers struct {
	keys [][]string
	mu   sync.Mutex
	// acked and tried are the last numbers by group.
	acked, tried []int
	total        int
}

func newWriters(e *Env, groups int) *writers {
	w := &writers{acked: make([]int, groups), tried: make([]int, groups)}
	for g := range groups {
		var keys []string
		for k := range groupKeys {
			keys = append(keys, e.key("group-%d/%d", g, k))
		}
		w.keys = append(w.keys, keys)
	}
	return w
}

// run writes until stop is closed.
func (w *writers) run(ctx context.Context, s sidecar.Store, stop <-chan struct{}) {
	var wg sync.WaitGroup
	for g := range w.keys {
		wg.Go(func() {
			for ctx.Err() == nil {
				select {
				case <-stop:
					return
				default:
				}
				w.mu.Lock()
				w.tried[g]++
				n := w.tried[g]
				w.mu.Unlock()
				ops := make([]sidecar.Op, groupKeys)
				for i, k := range w.keys[g] {
					ops[i] = put(k, strconv.Itoa(n))
				}
				once, cancel := context.WithTimeout(ctx, 5*time.Second)
				err := s.Transact(once, ops...)
				cancel()
				if err == nil {
					w.mu.Lock()
					w.acked[g] = n
					w.total++
					w.mu.Unlock()
				} else if pause(ctx, 50*time.Millisecond) != nil {
					return
				}
			}
		})
	}
	wg.Wait()
}

func (w *writers) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.total
}

// inspect reads every group: all its keys must hold the same number, which is one that was acknowledged last or tried
// after.
func (w *writers) inspect(ctx context.Context, s sidecar.Store, f *finding) error {
	for g, keys := range w.keys {
		got, err := values(ctx, s, keys...)
		if err != nil {
			return err
		}
		w.mu.Lock()
		acked, tried := w.acked[g], w.tried[g]
		w.mu.Unlock()
		n, _ := strconv.Atoi(got[0])
		for _, v := range got[1:] {
			if v != got[0] {
				f.add("a transaction is half done: %q", got)
				break
			}
		}
		switch {
		case n < acked:
			f.add("number %d was acknowledged, %d is there", acked, n)
		case n > tried:
			f.add("number %d is there, which nobody wrote", n)
		}
	}
	return nil
}

// checkCrashInTransaction kills the sidecar while transactions run.
func checkCrashInTransaction(ctx context.Context, e *Env) (Outcome, error) {
	rounds := e.Times.n(6)
	out := Outcome{Did: fmt.Sprintf("4 writers of transactions of %d keys; their sidecar is killed (-9) meanwhile, %s", groupKeys, times(rounds))}
	node, err := e.Bench.Node(ctx, NodeSpec{App: keeper, Instance: 2})
	if err != nil {
		return out, err
	}
	defer node.Close()
	w := newWriters(e, 4)
	var f finding
	for range rounds {
		if err := w.round(ctx, e, node.State(), node.KillSidecar, node.StartSidecar); err != nil {
			return out, err
		}
		ss, err := e.stores(ctx, 1)
		if err != nil {
			return out, err
		}
		if err := w.inspect(ctx, ss[0], &f); err != nil {
			return out, err
		}
	}
	out.Figures = map[string]float64{"transactions": float64(w.count()), "kills": float64(rounds)}
	f.judge(&out, "%d transactions, %s, %d half done or lost", w.count(), count(rounds, "kill"), f.n)
	return out, nil
}

// round writes for a moment, kills, and starts again.
func (w *writers) round(ctx context.Context, e *Env, s sidecar.Store, kill func() error, start func(context.Context) error) error {
	stop := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() { w.run(ctx, s, stop) })
	begin := w.count()
	enough := until(ctx, e.Times.Patience, func() bool { return w.count() >= begin+20 })
	err := pause(ctx, time.Duration(rand.IntN(200))*time.Millisecond)
	if err == nil && enough {
		err = kill()
	}
	close(stop)
	writing.Wait()
	switch {
	case err != nil:
		return err
	case !enough:
		return fmt.Errorf("only %d transactions were done before the kill", w.count()-begin)
	}
	return start(ctx)
}

// checkStoreCrash kills the database under writes.
func checkStoreCrash(ctx context.Context, e *Env) (Outcome, error) {
	rounds := e.Times.n(3)
	out := Outcome{Did: fmt.Sprintf("4 writers of transactions of %d keys; the database is killed (-9) meanwhile and started again, %s", groupKeys, times(rounds))}
	server, err := e.Bench.Store()
	if errors.Is(err, ErrNoServer) {
		return notApplicable(out, "the store lives in the sidecar's process; see crash-in-transaction")
	}
	if err != nil {
		return out, err
	}
	ss, err := e.stores(ctx, 1)
	if err != nil {
		return out, err
	}
	w := newWriters(e, 4)
	var f finding
	var longest time.Duration
	for range rounds {
		if err := w.round(ctx, e, ss[0], server.Kill, server.Start); err != nil {
			return out, err
		}
		back := time.Now()
		var readErr error
		if !until(ctx, e.Times.Patience, func() bool {
			once, cancel := context.WithTimeout(ctx, 5*time.Second)
			defer cancel()
			_, readErr = ss[0].Get(once, w.keys[0][0])
			return readErr == nil
		}) {
			return out, fmt.Errorf("the sidecar does not find its database again: %w", readErr)
		}
		longest = max(longest, time.Since(back))
		if err := w.inspect(ctx, ss[0], &f); err != nil {
			return out, err
		}
	}
	out.Figures = map[string]float64{"transactions": float64(w.count()), "kills": float64(rounds), "back_seconds": longest.Seconds()}
	f.judge(&out, "%d transactions, %s, %d half done or lost; reading back after %.1f s", w.count(), count(rounds, "kill"), f.n, longest.Seconds())
	return out, nil
}
