package notification_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/notification"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi/orderv2"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// meter counts the calls of the sidecar that events cost. What the outbox does for itself does not count.
type meter struct {
	sidecar.Store
	takes                           time.Duration // a read, and a transaction
	reads, transactions, ops, sends atomic.Int64
}

func (m *meter) Get(ctx context.Context, key string) (sidecar.Item, error) {
	if !strings.HasPrefix(key, "outbox/") {
		m.reads.Add(1)
	}
	return m.Store.Get(ctx, key)
}

func (m *meter) GetBulk(ctx context.Context, keys []string) ([]sidecar.Item, error) {
	if !strings.HasPrefix(keys[0], "outbox/") {
		m.reads.Add(1)
		time.Sleep(m.takes)
	}
	return m.Store.GetBulk(ctx, keys)
}

func (m *meter) Transact(ctx context.Context, ops ...sidecar.Op) error {
	if !strings.HasPrefix(ops[0].Key, "outbox/") {
		m.transactions.Add(1)
		m.ops.Add(int64(len(ops)))
		time.Sleep(m.takes)
	}
	return m.Store.Transact(ctx, ops...)
}

// metered is the service as it is set by default, on a meter.
func metered(t testing.TB) (*meter, *sidecartest.Publisher, *mux.Router) {
	t.Helper()
	d, f := runtest.New(t, notification.Name)
	m := &meter{Store: f.Store}
	d.State = m
	d.Outbox = outbox.New(m, f.Publisher, outbox.Options{Instance: "test"})
	d.Binding = sidecartest.Binding(func(context.Context, string, string, []byte, map[string]string) (sidecar.BindingResult, error) {
		m.sends.Add(1)
		return sidecar.BindingResult{Status: 202}, nil
	})
	var cfg notification.Config
	if err := run.Load(&cfg, func(string) (string, bool) { return "", false }); err != nil {
		t.Fatal(err)
	}
	s, err := notification.New(d, cfg)
	if err != nil {
		t.Fatal(err)
	}
	runtest.Start(t, d)
	return m, f.Publisher, runtest.Router(d, s)
}

func post(t testing.TB, r *mux.Router, e cloudevent.Event) {
	body, err := json.Marshal(e)
	if err != nil {
		t.Error(err)
	}
	entity, _, _ := strings.Cut(e.Name(), ".")
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("POST", topic.Path(cloudevent.Topic(entity)), bytes.NewReader(body)))
	if !strings.Contains(w.Body.String(), "SUCCESS") {
		t.Errorf("%s: %d %s", e.ID, w.Code, w.Body)
	}
}

func customer(id string) cloudevent.Event {
	return event(userapi.EventRegistered, id, 1, &userapi.RegisteredEvent{UserId: id, Email: id + "@example.org", Name: "Ada", Role: web.RoleKitchen,
		Preferences: &userapi.ChannelPreferences{Email: true, Push: true}})
}

// happyPath is what notification hears of an order that goes well.
func happyPath(id, user string) []cloudevent.Event {
	return []cloudevent.Event{
		event(orderapi.EventPlaced, id, 1, &orderapi.PlacedEvent{OrderId: id, CustomerId: user, RestaurantName: "Da Rosa", Currency: bill.Currency, Subtotal: bill.Subtotal, DeliveryFee: bill.DeliveryFee, Discount: bill.Discount, Total: bill.Total}),
		event(orderapi.EventAccepted, id, 2, &orderapi.AcceptedEvent{OrderId: id, CustomerId: user, PrepMinutes: 12}),
		event(deliveryapi.TypeCourierAssigned, id, 3, &deliveryapi.CourierAssignedData{OrderId: id, CustomerId: user}),
		event(orderapi.EventPickedUp, id, 3, &orderapi.PickedUpEvent{OrderId: id, CustomerId: user}),
		event(orderapi.EventDelivered, id, 4, &orderv2.DeliveredEvent{OrderId: id, CustomerId: user, Bill: bill.Message()}),
	}
}

// cost is what an order costs on average.
type cost struct{ Reads, Transactions, Writes, Sends, Publications float64 }

// traffic places orders at random moments, with some seconds between the events of one, and delivers as a broker with
// 6 partitions a topic does. It must be called in a bubble of synctest.
func traffic(t *testing.T, orders int, perSecond float64, takes time.Duration) cost {
	t.Helper()
	m, published, router := metered(t)
	for i := range orders {
		post(t, router, customer(fmt.Sprintf("usr_%d", i)))
	}
	time.Sleep(time.Minute)
	m.takes = takes
	m.reads.Store(0)
	m.transactions.Store(0)
	m.ops.Store(0)
	random := rand.New(rand.NewPCG(1, 2))
	partitions := map[string]chan struct{}{} // one event at a time; a mutex would stop the time of the bubble
	for i := range 6 {
		partitions[fmt.Sprint("order", i)], partitions[fmt.Sprint("delivery", i)] = make(chan struct{}, 1), make(chan struct{}, 1)
	}
	var all sync.WaitGroup
	for i := range orders {
		time.Sleep(time.Duration(random.ExpFloat64() / perSecond * float64(time.Second)))
		pauses := random.Perm(5000)[:5]
		all.Go(func() {
			for n, e := range happyPath(fmt.Sprintf("ord_%d", i), fmt.Sprintf("usr_%d", i)) {
				time.Sleep(time.Duration(pauses[n]) * time.Millisecond)
				entity, _, _ := strings.Cut(e.Name(), ".")
				e.Time = time.Now()
				partition := partitions[fmt.Sprint(entity, i%6)]
				partition <- struct{}{}
				post(t, router, e)
				<-partition
			}
		})
	}
	all.Wait()
	time.Sleep(time.Second) // all is published
	per := func(n int64) float64 { return float64(n) / float64(orders) }
	return cost{per(m.reads.Load()), per(m.transactions.Load()), per(m.ops.Load()), per(m.sends.Load()), per(int64(len(published.Sent())))}
}

// An order costs a read and a transaction for each of its 5 causes at most, and less the busier the machine is.
func TestCost(t *testing.T) {
	for _, tt := range []struct {
		orders    int
		perSecond float64
		takes     time.Duration
		most      cost
	}{
		{20, 0.02, time.Millisecond, cost{5, 5, 16, 7, 5}},
		{300, 10, 8 * time.Millisecond, cost{2.8, 2.8, 13.8, 7, 5}},
		{400, 20, 8 * time.Millisecond, cost{2, 2, 13, 7, 5}},
	} {
		t.Run(fmt.Sprintf("%v orders a second", tt.perSecond), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				got := traffic(t, tt.orders, tt.perSecond, tt.takes)
				t.Logf("%+.2f", got)
				if got.Reads > tt.most.Reads || got.Transactions > tt.most.Transactions || got.Writes > tt.most.Writes || got.Sends != tt.most.Sends || got.Publications != tt.most.Publications {
					t.Errorf("%+.2f for an order, want at most %+.2f", got, tt.most)
				}
			})
		})
	}
}

// BenchmarkOrder counts what an order costs, with some orders on their way at a time.
func BenchmarkOrder(b *testing.B) {
	for _, atOnce := range []int{1, 4, 18} {
		b.Run(fmt.Sprintf("%d at once", atOnce), func(b *testing.B) {
			m, published, router := metered(b)
			for i := range atOnce {
				post(b, router, customer(fmt.Sprintf("usr_%d", i)))
			}
			m.reads.Store(0)
			m.transactions.Store(0)
			m.ops.Store(0)
			var next atomic.Int64
			var all sync.WaitGroup
			b.ResetTimer()
			for lane := range atOnce {
				all.Go(func() {
					for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
						for _, e := range happyPath(fmt.Sprintf("ord_%d", i), fmt.Sprintf("usr_%d", lane)) {
							post(b, router, e)
						}
					}
				})
			}
			all.Wait()
			b.StopTimer()
			b.ReportMetric(float64(m.reads.Load())/float64(b.N), "reads/op")
			b.ReportMetric(float64(m.transactions.Load())/float64(b.N), "transactions/op")
			b.ReportMetric(float64(m.ops.Load())/float64(b.N), "writes/op")
			b.ReportMetric(float64(m.sends.Load())/float64(b.N), "sends/op")
			runtest.Eventually(b, "all is published", func() bool { return len(published.Sent()) >= 5*b.N })
			b.ReportMetric(float64(len(published.Sent()))/float64(b.N), "publications/op")
		})
	}
}
