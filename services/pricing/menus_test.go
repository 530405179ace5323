package pricing

import (
	"fmt"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

func (f *fixture) price(restaurantID string) int64 {
	f.t.Helper()
	m, err := f.menus.get(f.t.Context(), restaurantID)
	if err != nil {
		f.t.Fatal(err)
	}
	return m.items["itm_soup"].Price
}

func TestMenusAreKeptUntilAnEventOrTheirAge(t *testing.T) {
	f := setUp(t)
	f.price("rst_a")
	f.menu.change("rst_a", 1, func(i *menuapi.Item) { i.Price = 600 })
	if got := f.price("rst_a"); got != 555 || f.menu.count() != 1 {
		t.Errorf("price %d after %d lookups", got, f.menu.count())
	}
	f.event("menu", "menu.item-changed", "rst_b", 1)
	if got := f.price("rst_a"); got != 555 {
		t.Errorf("an event of another menu gave price %d", got)
	}
	f.event("menu", "menu.item-changed", "rst_a", 1)
	if got := f.price("rst_a"); got != 600 {
		t.Errorf("price %d after the event", got)
	}
	f.menu.change("rst_a", 1, func(i *menuapi.Item) { i.Price = 700 })
	f.clock.add(2 * time.Minute)
	if got := f.price("rst_a"); got != 700 {
		t.Errorf("price %d when the menu is old", got)
	}
}

func TestAnEventDuringALookupIsNotLost(t *testing.T) {
	for _, known := range []bool{false, true} {
		t.Run(fmt.Sprint(known), func(t *testing.T) {
			f := setUp(t)
			if known {
				f.price("rst_a")
				f.clock.add(time.Hour)
			}
			f.menu.set(func(m *menuService) {
				m.during = func() {
					f.menu.change("rst_a", 1, func(i *menuapi.Item) { i.Price = 600 })
					f.menus.expire("rst_a")
				}
			})
			f.price("rst_a")
			f.menu.set(func(m *menuService) { m.during = nil })
			if got := f.price("rst_a"); got != 600 {
				t.Errorf("price %d, want the new one", got)
			}
		})
	}
}

func TestTheLastMenuServesWhileTheMenuServiceIsAway(t *testing.T) {
	f := setUp(t)
	q := f.mustAsk("usr_1", soups(1, ""))
	f.menu.set(func(m *menuService) { m.away = true })
	f.clock.add(5 * time.Minute)
	before := f.menu.count()
	for n := range 10 {
		if _, err := f.confirmed(q.Token, fmt.Sprintf("ord_%d", n), "usr_1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.menu.count() - before; got != 1 {
		t.Errorf("%d lookups at a service that is away, want one and then a pause", got)
	}
	f.clock.add(time.Hour)
	_, err := f.ask("usr_1", soups(1, ""))
	wantProblem(t, err, problem.Unavailable)
	_, err = f.menus.get(t.Context(), "rst_unknown")
	wantProblem(t, err, problem.Unavailable)
	f.menu.set(func(m *menuService) { m.away = false })
	f.clock.add(time.Minute)
	f.mustAsk("usr_1", soups(1, ""))
}

// A menu service that hangs costs a customer less than the 5 s that the gateway waits for a quote.
func TestTheLastMenuServesWhileTheMenuServiceHangs(t *testing.T) {
	f := setUp(t)
	f.mustAsk("usr_1", soups(1, ""))
	f.menu.set(func(m *menuService) { m.hangs = true })
	f.clock.add(5 * time.Minute)
	began := time.Now()
	f.mustAsk("usr_1", soups(1, ""))
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("took %s", took)
	}
	began = time.Now()
	f.mustAsk("usr_1", soups(1, ""))
	if took := time.Since(began); took > time.Second {
		t.Errorf("the next took %s, want no second wait", took)
	}
}

func TestUnknownEventsAreLeftAlone(t *testing.T) {
	f := setUp(t)
	f.event("menu", "menu.renamed", "rst_a", 1)
	f.event("order", "order.painted", "ord_1", 1)
	if got := f.surge.orders.count(noon); got != 0 {
		t.Errorf("%d open orders", got)
	}
}
