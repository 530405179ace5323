package conformance

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// ledger is what a check published, and what the broker said to it.
type ledger struct {
	run, topic string
	pub        sidecar.Publisher
	pad        int

	mu      sync.Mutex
	acked   []message
	refused int
	begun   map[string]int // the last event of each key, acknowledged or not
}

// publish sends one event once.
func (l *ledger) publish(ctx context.Context, m message) error {
	l.mu.Lock()
	if l.begun == nil {
		l.begun = map[string]int{}
	}
	l.begun[m.key] = max(l.begun[m.key], m.n)
	l.mu.Unlock()
	err := l.pub.Publish(ctx, l.topic, event(l.run, l.topic, m.key, m.n, l.pad))
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.refused++
		return err
	}
	l.acked = append(l.acked, m)
	return nil
}

// insist sends one event until it is acknowledged, as the outbox does.
func (l *ledger) insist(ctx context.Context, m message) error {
	for {
		once, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := l.publish(once, m)
		cancel()
		if err == nil {
			return nil
		}
		if pause(ctx, 200*time.Millisecond) != nil {
			return fmt.Errorf("%s was never acknowledged: %w", m, err)
		}
	}
}

// acknowledged is every event that the broker has taken.
func (l *ledger) acknowledged() []message {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]message(nil), l.acked...)
}

func (l *ledger) ackedCount() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.acked)
}

// refusals counts the requests that were not acknowledged.
func (l *ledger) refusals() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refused
}

// keys names n partition keys.
func keys(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("key-%02d", i+1)
	}
	return out
}

// sendEach publishes per events of every key: those of a key one after the other, as many keys at once as there are
// publishers. A refused event is sent again, as the outbox does; one that is refused for two minutes ends it.
func (l *ledger) sendEach(ctx context.Context, keys []string, per, publishers int) error {
	work := make(chan string)
	failed := make(chan error, publishers)
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for range publishers {
		wg.Go(func() {
			for key := range work {
				for n := 1; n <= per; n++ {
					if err := l.insist(ctx, message{key, n}); err != nil {
						failed <- fmt.Errorf("publish to %s: %w", l.topic, err)
						cancel()
						return
					}
				}
			}
		})
	}
	for _, k := range keys {
		select {
		case work <- k:
		case <-ctx.Done():
		}
	}
	close(work)
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return ctx.Err()
	}
}

// stream publishes at a steady pace until stop is closed, one goroutine a key, and insists on every event. It returns
// when all that was begun is acknowledged.
func (l *ledger) stream(ctx context.Context, keys []string, every time.Duration, stop <-chan struct{}) error {
	failed := make(chan error, len(keys))
	var wg sync.WaitGroup
	for _, key := range keys {
		wg.Go(func() {
			tick := time.NewTicker(every)
			defer tick.Stop()
			for n := 1; ; n++ {
				if err := l.insist(ctx, message{key, n}); err != nil {
					failed <- err
					return
				}
				select {
				case <-tick.C:
				case <-stop:
					return
				case <-ctx.Done():
					failed <- ctx.Err()
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// tally compares what was acknowledged with what arrived.
type tally struct {
	Acked, Lost, Repeated int
	// Reordered counts events that came after a later one of their key, SideBySide those of which the handling began
	// before that of another of their key had ended.
	Reordered, SideBySide int
	Damaged               int
	// LostOnes and OutOfOrder have the first few.
	LostOnes, OutOfOrder []string
}

// few bounds the examples of a tally.
const few = 3

func compare(acked []message, seen []delivery) tally {
	t := tally{Acked: len(acked)}
	handledTimes := map[message]int{}
	for _, d := range seen {
		if d.handled {
			handledTimes[d.message]++
		}
		if !d.whole {
			t.Damaged++
		}
	}
	for _, m := range acked {
		if handledTimes[m] == 0 {
			t.Lost++
			if len(t.LostOnes) < few {
				t.LostOnes = append(t.LostOnes, m.String())
			}
		}
	}
	for _, n := range handledTimes {
		t.Repeated += n - 1
	}
	latest := map[string]int{}
	came := map[message]bool{}
	busy := map[string]time.Time{}
	for _, d := range seen {
		if came[d.message] {
			continue
		}
		came[d.message] = true
		if d.n < latest[d.key] {
			t.Reordered++
			if len(t.OutOfOrder) < few {
				t.OutOfOrder = append(t.OutOfOrder, fmt.Sprintf("%s after %d", d.message, latest[d.key]))
			}
		}
		latest[d.key] = max(latest[d.key], d.n)
		if !d.end.IsZero() {
			if d.at.Before(busy[d.key]) {
				t.SideBySide++
			}
			if d.end.After(busy[d.key]) {
				busy[d.key] = d.end
			}
		}
	}
	return t
}

// InOrder tells whether the events of every key came one after the other.
func (t tally) InOrder() bool { return t.Reordered == 0 && t.SideBySide == 0 }

func (t tally) figures() map[string]float64 {
	return map[string]float64{
		"acknowledged": float64(t.Acked), "lost": float64(t.Lost), "repeated": float64(t.Repeated),
		"reordered": float64(t.Reordered), "side_by_side": float64(t.SideBySide), "damaged": float64(t.Damaged),
	}
}
