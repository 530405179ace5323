package topic_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// TestAnyDelivery: a broker that reorders, repeats and loses what it likes, over two replicas with several deliveries
// at a time and a store that fails now and then, comes to what the run in order comes to: every event once, in order.
// The last event of each stream is delivered at least once; what is lost before it is found by it.
func TestAnyDelivery(t *testing.T) {
	actions := []string{"placed", "accepted", "delivered", "picked-up", "payment-noted"}
	for seed := range uint64(60) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 4))
			c := newConsumer(t, 2)
			type delivery struct {
				replica int
				event   cloudevent.Event
			}
			var deliveries []delivery
			want := map[string]string{}
			for n := range 4 {
				order := fmt.Sprint("ord_", n)
				var story, taken []string
				for seq := range 4 + rnd.IntN(30) {
					story = append(story, actions[rnd.IntN(len(actions))])
					if slices.Contains(mine, "order."+story[seq]) {
						taken = append(taken, fmt.Sprint(seq+1))
					}
				}
				story, taken = append(story, "delivered"), append(taken, fmt.Sprint(len(story)+1))
				want[order] = strings.Join(taken, " ")
				events := c.owner.happens(order, story...)
				for _, e := range events {
					if !slices.Contains(mine, e.Name()) {
						continue // the sidecar drops them
					}
					copies := rnd.IntN(4) // 0: lost
					if e.Seq() == len(events) {
						copies = max(1, copies)
					}
					for range copies {
						deliveries = append(deliveries, delivery{rnd.IntN(2), e})
					}
				}
			}
			rnd.Shuffle(len(deliveries), func(i, j int) { deliveries[i], deliveries[j] = deliveries[j], deliveries[i] })
			var mu sync.Mutex
			c.store.Fail = func([]sidecar.Op) error {
				mu.Lock()
				defer mu.Unlock()
				if rnd.IntN(200) == 0 {
					return errors.New("the store is away for a moment")
				}
				return nil
			}
			queue := make(chan delivery)
			var workers sync.WaitGroup
			for range 6 {
				workers.Go(func() {
					for d := range queue {
						for c.deliver(d.replica, d.event) != "SUCCESS" {
							continue // the broker delivers it again
						}
					}
				})
			}
			for _, d := range deliveries {
				queue <- d
			}
			close(queue)
			workers.Wait()
			for order, taken := range want {
				if got := c.taken(order); got != taken {
					t.Errorf("%s: taken %q, want %q", order, got, taken)
				}
			}
			if causes := c.causes(); len(causes) != 0 {
				t.Errorf("dead letters: %q", causes)
			}
		})
	}
}
