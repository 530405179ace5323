package e2e

import (
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// breakerPause is how long a breaker stays open on the shared platform. The usual 30 s would cost the tests half a
// minute for each process that they kill or stop.
const breakerPause = 5 * time.Second

// quick is what an answer may take on a busy machine that does not wait for somebody who hangs: that would be 5 s.
const quick = 2500 * time.Millisecond

// The pricing service is stopped, so that it takes calls and answers none. Quotes are refused, after the first ones at
// once; an order that needs it is refused and can be placed later with the same key; who follows an order notices
// nothing; and when pricing goes on, all is well again.
func TestSlowPricing(t *testing.T) {
	s := shared.use(t)
	eve, others, m := s.customer(t), s.customer(t), s.meal(t, 0)
	followed := eve.order(t, m, "")
	in := orderapi.PlaceRequest{Quote: eve.quote(t, m.basket(1)).Token, Card: "card_ok"}
	key := ids.New("key")

	st, err := s.status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pricing := st.process("pricing").PID
	if pricing <= 0 {
		t.Fatalf("pricing has no process: %+v", st.process("pricing"))
	}
	resume := sync.OnceFunc(func() { _ = syscall.Kill(pricing, syscall.SIGCONT) }) // it may have ended
	t.Cleanup(resume)
	if err := syscall.Kill(pricing, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}

	var asking sync.WaitGroup
	var done, refusals, atOnce atomic.Int32
	for range 10 {
		asking.Go(func() {
			for done.Load() == 0 {
				began := time.Now()
				a, err := others.try(t, request{method: "POST", path: "/v1/quotes", body: m.basket(1)})
				if err != nil || a.status < 503 || a.header.Get("Retry-After") == "" {
					t.Errorf("a quote while pricing hangs: %s, %v", a, err)
					return
				}
				refusals.Add(1)
				if time.Since(began) < quick {
					atOnce.Add(1)
				}
				pace(t, 300*time.Millisecond) // the customer reads the refusal
			}
		})
	}
	var took []time.Duration
	follow := func(path string) {
		began := time.Now()
		eve.get(t, path, nil)
		took = append(took, time.Since(began))
	}
	for began := time.Now(); time.Since(began) < 8*time.Second; {
		follow("/v1/orders/" + followed.ID)
		follow("/v1/orders/" + followed.ID + "/events")
		follow("/v1/users/me")
		pace(t, 50*time.Millisecond)
	}
	began := time.Now()
	if a := eve.send(t, placing(key, in)); a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout {
		t.Errorf("an order while pricing hangs: %s", a)
	} else if took := time.Since(began); took > 5*time.Second+quick {
		t.Errorf("refused after %s", took)
	}
	done.Store(1)
	asking.Wait()
	slices.Sort(took)
	p99 := took[len(took)*99/100]
	t.Logf("%d quotes refused, %d of them at once; %d looks at an order, p50 %s, p99 %s", refusals.Load(), atOnce.Load(), len(took), took[len(took)/2], p99)
	if p99 > quick {
		t.Errorf("following an order takes %s (p99) while pricing hangs", p99)
	}
	if atOnce.Load() == 0 {
		t.Error("no quote was refused at once: the breaker has not opened")
	}

	resume()
	eventually(t, breakerPause+30*time.Second, "quotes are made again", func() error {
		if a := eve.send(t, request{method: "POST", path: "/v1/quotes", body: m.basket(1)}); a.status != http.StatusCreated {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	var o orderapi.Order
	eventually(t, breakerPause+30*time.Second, "the order is placed", func() error {
		if a := eve.send(t, placing(key, in)); a.status != http.StatusCreated {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	eve.must(t, http.StatusCreated, placing(key, in), &o)
	eve.ended(t, o.ID, orderapi.Delivered)
	eve.ended(t, followed.ID, orderapi.Delivered)
}

// pace keeps a client below the rate that the gateway grants it.
func pace(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
	}
}
