package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/probe"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// TestCanarySharesStateAndEvents sees that a canary with an app id of its own stands in for its service: what one of the
// two has written the other one reads, and an event goes to one of them.
func TestCanarySharesStateAndEvents(t *testing.T) {
	r := shows(t, "canary", "The canary shares the state keys and the consumer group of the service that it stands in for, by YAML alone.",
		"mesh/canary/pricing", "mesh/canary/traffic/pricing-by-header.yaml")
	here.canary(r, "pricing")
	here.traffic(r, "mesh/canary/traffic/pricing-by-header.yaml")
	split(r, "by header, calls that have it", "pricing", 1, func(n int) probe.Summary {
		from := here.beside(r, "gateway", withMesh)
		return here.many(r, from, n, 4, with(quoting(here.daprToken(r, "gateway")), requestID, "v2-proof"), "--tally", web.VersionHeader)
	})

	// A quote is signed with a key that lies in the store, and placing the order confirms it there.
	p := here.register(r)
	for _, c := range []struct{ quotedBy, confirmedBy string }{{"v1", "v2"}, {"v2", "v1"}} {
		confirmed := func() float64 {
			return here.counted(r, "pricing", c.confirmedBy, "quote_confirmations_total", `outcome="ok"`)
		}
		before := confirmed()
		o := here.placeThrough(r, p, way(c.quotedBy), way(c.confirmedBy))
		if got := confirmed() - before; got != 1 {
			r.Errorf("a quote of %s: %s confirmed %.0f, want 1", c.quotedBy, c.confirmedBy, got)
		}
		here.reaches(r, p, o.ID, 2*time.Minute, orderapi.Delivered)
		r.Saw("a quote that pricing/%s signed was confirmed by pricing/%s, and the order delivered", c.quotedBy, c.confirmedBy)
	}

	// What a kitchen changes is an event to pricing. With groups of their own, both versions would get each.
	handled := func(version string) float64 {
		return here.counted(r, "pricing", version, "events_handled_total", `topic="fooddelivery.menu"`, `outcome="ok"`)
	}
	v1, v2 := handled("v1"), handled("v2")
	const restaurants = 10
	for i := 1; i <= restaurants; i++ {
		here.soldOutAndBack(r, fmt.Sprintf("rst_%02d", i))
	}
	want := float64(2 * restaurants)
	r.Eventually(30*time.Second, "every event is handled", func() error {
		if got := handled("v1") + handled("v2") - v1 - v2; got < want {
			return fmt.Errorf("%.0f of %.0f", got, want)
		}
		return nil
	})
	here.quiet(r, func() float64 { return handled("v1") + handled("v2") })
	v1, v2 = handled("v1")-v1, handled("v2")-v2
	r.Figure("events of 20 changes of menus, handled by v1 and v2", fmt.Sprintf("%.0f + %.0f", v1, v2), "20 in all, both some")
	if v1+v2 != want || v1 == 0 || v2 == 0 {
		r.Errorf("%.0f events were handled by v1 and %.0f by v2, want %.0f in all and some by each", v1, v2, want)
	}
	here.auditGreen(r)
}

// way is a request id that leads to a version.
func way(version string) string {
	if version == "v2" {
		return "v2-" + ids.New("proof")
	}
	return ids.New("proof")
}

// placeThrough places an order whose quote and whose placing take the ways of two request ids.
func (s *site) placeThrough(t *T, p person, quoteID, placeID string) orderapi.Order {
	t.Helper()
	var q pricingapi.Quote
	basket := s.town(t).Choose(rand.New(rand.NewPCG(rand.Uint64(), 0)))
	if err := p.API.Do(t.Context(), http.MethodPost, "/v1/quotes", basket, &q, publicapi.Header(requestID, quoteID)); err != nil {
		t.Fatalf("quote: %v", err)
	}
	var o orderapi.Order
	err := p.API.Do(t.Context(), http.MethodPost, "/v1/orders", orderapi.PlaceRequest{Quote: q.Token, Card: customer.CardOK}, &o,
		publicapi.Header(requestID, placeID), publicapi.IdempotencyKey(ids.New("key")))
	if err != nil {
		t.Fatalf("place an order: %v", err)
	}
	s.acknowledged(t, o)
	return o
}

// soldOutAndBack has a kitchen take a dish off its menu and put it on again.
func (s *site) soldOutAndBack(t *T, restaurant string) {
	t.Helper()
	kitchen := s.staff(t, web.RoleKitchen, restaurant)
	var m menuapi.Menu
	if err := kitchen.API.Do(t.Context(), http.MethodGet, "/v1/restaurants/"+restaurant+"/menu", nil, &m); err != nil {
		t.Fatal(err)
	}
	if len(m.Items) == 0 {
		t.Fatal(errors.New(restaurant + " offers nothing"))
	}
	item := m.Items[len(m.Items)-1]
	for _, available := range []bool{!item.Available, item.Available} {
		err := kitchen.API.Do(t.Context(), http.MethodPatch, "/v1/restaurants/"+restaurant+"/items/"+item.ID, menuapi.ItemPatch{Available: &available}, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
}
