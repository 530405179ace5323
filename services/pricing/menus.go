package pricing

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

// knownMenu is a menu as it was looked up, prepared for questions. It is never changed.
type knownMenu struct {
	menuapi.Menu
	items    map[string]*menuapi.Item
	schedule menuapi.Schedule
	at       time.Time // when it was asked for
}

func know(m menuapi.Menu, at time.Time) (*knownMenu, error) {
	schedule, err := m.Restaurant.Schedule()
	if err != nil {
		return nil, err
	}
	k := &knownMenu{Menu: m, items: make(map[string]*menuapi.Item, len(m.Items)), schedule: schedule, at: at}
	for i := range m.Items {
		k.items[m.Items[i].ID] = &m.Items[i]
	}
	return k, nil
}

// menus looks menus up at the menu service and keeps them for a while. An event of the menu ends that early. While
// the menu service is away, what was kept goes on being used.
type menus struct {
	client menuapi.Client
	fresh  time.Duration // a menu is used unasked for this long
	stale  time.Duration // and for this long if the menu service is away
	pause  time.Duration // after a failed lookup, before the next one
	now    func() time.Time
	log    *slog.Logger

	mu      sync.Mutex
	slots   map[string]*menuSlot
	flights singleflight.Group
}

// menuSlot is what is known of one restaurant.
type menuSlot struct {
	menu    *knownMenu
	changed int       // counts the events that ended a menu
	expired bool      // by an event
	retryAt time.Time // after a failed lookup
}

// maxMenus bounds what is kept.
const maxMenus = 10_000

// get gives the menu of a restaurant; the problem is not-found if there is none.
func (c *menus) get(ctx context.Context, restaurantID string) (*knownMenu, error) {
	now := c.now()
	c.mu.Lock()
	var slot menuSlot
	if s := c.slots[restaurantID]; s != nil {
		slot = *s
	}
	c.mu.Unlock()
	if m := slot.menu; m != nil {
		age := now.Sub(m.at)
		if age < c.fresh && !slot.expired || age < c.stale && now.Before(slot.retryAt) {
			return m, nil
		}
	}
	// Who asks after an event must not share a lookup that began before it.
	flight := restaurantID + "#" + strconv.Itoa(slot.changed)
	v, err, _ := c.flights.Do(flight, func() (any, error) {
		// It does not end with the request that it is done for, since others wait for it too; the client bounds it.
		return c.lookup(context.WithoutCancel(ctx), restaurantID, slot.changed)
	})
	if err == nil {
		return v.(*knownMenu), nil
	}
	if slot.menu != nil && !problem.Permanent(err) && now.Sub(slot.menu.at) < c.stale {
		c.log.Warn("the last known menu is used", "restaurant", restaurantID, "age", now.Sub(slot.menu.at), "error", err)
		return slot.menu, nil
	}
	return nil, err
}

func (c *menus) lookup(ctx context.Context, restaurantID string, changed int) (*knownMenu, error) {
	at := c.now()
	answer, err := c.client.Lookup(ctx, restaurantID)
	var m *knownMenu
	if err == nil {
		m, err = know(answer, at)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := c.slots[restaurantID]
	if err != nil {
		if slot != nil {
			slot.retryAt = c.now().Add(c.pause)
		}
		return nil, err
	}
	if slot == nil {
		if len(c.slots) >= maxMenus {
			clear(c.slots)
		}
		slot = &menuSlot{changed: changed}
		c.slots[restaurantID] = slot
	}
	slot.menu, slot.retryAt = m, time.Time{}
	slot.expired = slot.changed != changed // an event came while the answer was on its way
	return m, nil
}

// expire ends what is known of a restaurant; an older event or a repeated one costs a lookup and nothing else.
func (c *menus) expire(restaurantID string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := c.slots[restaurantID]
	if slot == nil {
		slot = &menuSlot{} // a lookup may be on its way
		c.slots[restaurantID] = slot
	}
	slot.changed++
	slot.expired = true
	slot.retryAt = time.Time{}
}
