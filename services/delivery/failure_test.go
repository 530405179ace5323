package delivery_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
)

// breakable is a store whose writes of courier records can be made to fail.
func breakable() (*sidecartest.Store, *atomic.Bool) {
	store, broken := sidecartest.NewStore(), &atomic.Bool{}
	store.Fail = func(ops []sidecar.Op) error {
		for _, op := range ops {
			if broken.Load() && strings.HasPrefix(op.Key, "courier/") {
				return problem.New(problem.Unavailable, "no")
			}
		}
		return nil
	}
	return store, broken
}

func TestFailedAssignmentLeavesNothing(t *testing.T) {
	store, broken := breakable()
	w := start(t, config(t), store)
	w.online(1, centre)
	w.dispatch("ord_1")
	broken.Store(true)
	wantProblem(t, w.courierDoes(1, "accept", "ord_1"), problem.Unavailable)
	if got := w.get("ord_1").Status; got != deliveryapi.Requested {
		t.Errorf("the delivery is %s", got)
	}
	if got := w.view(1).Courier.OrderID; got != "" {
		t.Errorf("the courier has %s", got)
	}
	broken.Store(false)
	w.must(w.courierDoes(1, "accept", "ord_1"))
}

func TestSearchOutlivesAFailingStore(t *testing.T) {
	store, broken := breakable()
	cfg := config(t)
	cfg.OfferTTL = 100 * time.Millisecond
	w := start(t, cfg, store)
	w.online(1, at(100))
	w.online(2, at(200))
	w.dispatch("ord_1")
	broken.Store(true)
	w.eventually("the first offer is over", func() bool { return !w.offered(1, "ord_1") })
	broken.Store(false)
	w.eventually("the next is asked", func() bool { return w.offered(2, "ord_1") })
}

// TestAnotherReplicaTakesOver ends the replica that searches; a second one, which runs already, goes on.
func TestAnotherReplicaTakesOver(t *testing.T) {
	cfg := config(t)
	cfg.OfferTTL = 200 * time.Millisecond
	cfg.Refresh = 50 * time.Millisecond
	a := start(t, cfg, nil)
	a.online(1, at(100))
	b := startReplica(t, cfg, a.fakes.Store)
	a.dispatch("ord_1")
	a.stop()
	b.eventually("the offer is renewed", func() bool { return b.courierDoes(1, "accept", "ord_1") == nil })
}

// TestNobodyKnownHere: the couriers have come online through another replica a moment ago.
func TestNobodyKnownHere(t *testing.T) {
	cfg := config(t)
	cfg.Refresh = time.Hour
	a := start(t, cfg, nil)
	b := startReplica(t, cfg, a.fakes.Store)
	a.online(1, at(100))
	if got := b.dispatch("ord_1"); got.Status != deliveryapi.Requested || !b.offered(1, "ord_1") {
		t.Errorf("got %+v", got)
	}
}

func TestConfiguration(t *testing.T) {
	tests := []struct {
		name   string
		change func(*delivery.Config)
		want   string // in the error
	}{
		{"no radii", func(c *delivery.Config) { c.Radii = "" }, "DISPATCH_RADII"},
		{"radii that shrink", func(c *delivery.Config) { c.Radii = "3000,1500" }, "DISPATCH_RADII"},
		{"radii in words", func(c *delivery.Config) { c.Radii = "near,far" }, "DISPATCH_RADII"},
		{"no time for an offer", func(c *delivery.Config) { c.OfferTTL = 0 }, "OFFER_TTL"},
		{"no speed", func(c *delivery.Config) { c.Speed = 0 }, "COURIER_SPEED"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(t)
			tt.change(&cfg)
			deps, _ := runtest.New(t, "delivery")
			if _, err := delivery.New(deps, cfg); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want it to name %s", err, tt.want)
			}
		})
	}
}
