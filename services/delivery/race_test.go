package delivery_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// TestNoCourierHasTwoOrders lets couriers grab whatever they can, through two replicas on one store, while orders
// come in and some are released.
func TestNoCourierHasTwoOrders(t *testing.T) {
	const couriers, orders = 6, 60
	cfg := config(t)
	cfg.OfferTTL = 300 * time.Millisecond
	cfg.Refresh = 50 * time.Millisecond
	a := start(t, cfg, nil)
	b := startReplica(t, cfg, a.fakes.Store)
	replicas := []*world{a, b}
	for n := range couriers {
		a.online(n, at(float64(n*200)))
	}
	limit := time.Now().Add(time.Minute)
	var ended atomic.Int32
	var delivered, released sync.Map
	var all sync.WaitGroup
	for n := range couriers {
		all.Go(func() {
			var carries atomic.Int32
			for ended.Load() < orders {
				if time.Now().After(limit) {
					t.Errorf("courier %d: %d orders of %d have ended after a minute", n, ended.Load(), orders)
					return
				}
				var grabbing sync.WaitGroup
				taken := make(chan string, 8)
				// What is offered, and something that most likely is not.
				for _, w := range replicas {
					wanted := []string{fmt.Sprintf("ord_%d", rand.IntN(orders))}
					for _, o := range w.view(n).Offers {
						wanted = append(wanted, o.OrderID)
					}
					for _, order := range wanted {
						grabbing.Go(func() {
							switch err := w.courierDoes(n, "accept", order); {
							case err == nil:
								taken <- order
							case problem.Of(err) != problem.OfferLost && problem.Of(err) != problem.CourierBusy &&
								problem.Of(err) != problem.NotFound && problem.Of(err) != problem.WriteConflict:
								t.Errorf("accept: %v", err)
							}
						})
					}
				}
				grabbing.Wait()
				close(taken)
				mine := map[string]bool{}
				for order := range taken {
					mine[order] = true
				}
				if carries.Add(int32(len(mine))) > 1 {
					t.Errorf("courier %d has %v", n, mine)
				}
				for order := range mine {
					w := replicas[rand.IntN(2)]
					if rand.IntN(5) == 0 {
						got, err := w.client.Release(t.Context(), order, deliveryapi.ReleaseRequest{})
						if err != nil || !got.Released {
							t.Errorf("release: %+v %v", got, err)
						}
						released.Store(order, n)
					} else {
						if err := errors.Join(w.courierDoes(n, "pickup", order), w.courierDoes(n, "deliver", order)); err != nil {
							t.Errorf("deliver: %v", err)
						}
						delivered.Store(order, n)
					}
					carries.Add(-1)
					ended.Add(1)
				}
			}
		})
	}
	for i := range orders {
		all.Go(func() {
			order := fmt.Sprintf("ord_%d", i)
			for _, k := range rand.Perm(2) { // the same request to both
				_, err := replicas[k].client.Dispatch(t.Context(), order, request())
				for problem.Of(err) == problem.WriteConflict { // as the saga would
					_, err = replicas[k].client.Dispatch(t.Context(), order, request())
				}
				if err != nil {
					t.Errorf("dispatch: %v", err)
				}
			}
		})
	}
	all.Wait()
	assigned := map[string]int{}
	for i := range orders {
		order := fmt.Sprintf("ord_%d", i)
		_, d := delivered.Load(order)
		_, r := released.Load(order)
		if d == r {
			t.Errorf("%s: delivered %v, released %v", order, d, r)
		}
		want := deliveryapi.Delivered
		if r {
			want = deliveryapi.Released
		}
		if got := a.get(order).Status; got != want {
			t.Errorf("%s: got %s, want %s", order, got, want)
		}
		a.eventually("assignment is published", func() bool {
			assigned[order] = 0
			for _, w := range replicas {
				for _, kind := range w.types(order) {
					if kind == "courier-assigned" {
						assigned[order]++
					}
				}
			}
			return assigned[order] > 0
		})
		if assigned[order] != 1 {
			t.Errorf("%s was assigned %d times", order, assigned[order])
		}
	}
}
