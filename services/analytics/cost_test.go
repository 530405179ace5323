package analytics_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dishmesh/dishmesh/services/analytics"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// meter counts the calls of the store.
type meter struct {
	sidecar.Store
	takes                    time.Duration // a read, and a transaction
	reads, transactions, ops atomic.Int64
}

func (m *meter) GetBulk(ctx context.Context, keys []string) ([]sidecar.Item, error) {
	m.reads.Add(1)
	time.Sleep(m.takes)
	return m.Store.GetBulk(ctx, keys)
}

func (m *meter) Transact(ctx context.Context, ops ...sidecar.Op) error {
	m.transactions.Add(1)
	time.Sleep(m.takes)
	m.ops.Add(int64(len(ops)))
	return m.Store.Transact(ctx, ops...)
}

// traffic places orders at random moments, with some seconds between the events of one, and delivers as a broker with
// 6 partitions a topic does. It gives the longest time that an event waited. It must be called in a bubble of synctest.
func traffic(t *testing.T, orders int, perSecond float64, takes time.Duration) (*meter, time.Duration) {
	t.Helper()
	d, f := runtest.New(t, analytics.Name)
	m := &meter{Store: f.Store, takes: takes}
	d.State = m
	var cfg analytics.Config
	if err := run.Load(&cfg, func(string) (string, bool) { return "", false }); err != nil {
		t.Fatal(err)
	}
	built, err := analytics.New(d, cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := &service{t, f, runtest.Router(d, built)}
	random := rand.New(rand.NewPCG(1, 2))
	partitions := map[string]chan struct{}{} // one event at a time
	for _, entity := range []string{"order", "payment", "restaurant", "delivery"} {
		for i := range 6 {
			partitions[fmt.Sprint(entity, i)] = make(chan struct{}, 1)
		}
	}
	var mu sync.Mutex
	var longest time.Duration
	var all sync.WaitGroup
	for i := range orders {
		time.Sleep(time.Duration(random.ExpFloat64() / perSecond * float64(time.Second)))
		pauses := random.Perm(4000)[:8]
		all.Go(func() {
			for n, e := range deliveredOrder(fmt.Sprintf("ord_%d", i), "rst_a", 2000, 0) {
				if e.Name() == paymentapi.EventAuthorized {
					continue // the subscription's rule keeps it away
				}
				time.Sleep(time.Duration(pauses[n]) * time.Millisecond)
				e.Time = time.Now()
				entity, _, _ := strings.Cut(e.Name(), ".")
				partition := partitions[fmt.Sprint(entity, i%6)]
				partition <- struct{}{}
				begun := time.Now()
				if got := s.deliver(e); got != "SUCCESS" {
					t.Errorf("%s: %s", e.ID, got)
				}
				mu.Lock()
				longest = max(longest, time.Since(begun))
				mu.Unlock()
				<-partition
			}
		})
	}
	all.Wait()
	spent := meter{}
	spent.reads.Store(m.reads.Load())
	spent.transactions.Store(m.transactions.Load())
	spent.ops.Store(m.ops.Load())
	if got := s.summary().Orders.ByStatus["delivered"]; got != int64(orders) {
		t.Errorf("%d delivered, want %d", got, orders)
	}
	return &spent, longest
}

// The 7 events of an order that are counted cost less the busier the machine is, and on an idle one they hardly wait.
func TestCost(t *testing.T) {
	for _, tt := range []struct {
		orders                          int
		perSecond                       float64
		takes                           time.Duration
		reads, transactions, operations float64
		longest                         time.Duration
	}{
		{10, 0.02, time.Millisecond, 7, 7, 15, 20 * time.Millisecond},
		{300, 5, 2 * time.Millisecond, 6, 6, 14, 40 * time.Millisecond},
		{300, 10, 10 * time.Millisecond, 1.5, 1.5, 9.2, 150 * time.Millisecond},
		{400, 20, 15 * time.Millisecond, 1.1, 1.1, 8.8, 150 * time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%v orders a second", tt.perSecond), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, longest := traffic(t, tt.orders, tt.perSecond, tt.takes)
				per := func(n int64) float64 { return float64(n) / float64(tt.orders) }
				reads, transactions, operations := per(m.reads.Load()), per(m.transactions.Load()), per(m.ops.Load())
				t.Logf("%.2f reads, %.2f transactions, %.2f writes, the longest wait %v", reads, transactions, operations, longest)
				if reads > tt.reads || transactions > tt.transactions || operations > tt.operations || longest > tt.longest {
					t.Errorf("%.2f reads, %.2f transactions with %.2f writes, %v; want at most %v, %v, %v, %v",
						reads, transactions, operations, longest, tt.reads, tt.transactions, tt.operations, tt.longest)
				}
			})
		})
	}
}
