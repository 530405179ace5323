package menu

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/dishmesh/dishmesh/services/internal/money"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

// catalogue is all menus in memory. Entries are never changed, only replaced by a newer version.
type catalogue struct {
	mu      sync.RWMutex
	entries map[string]*entry
	full    bool
}

// entry is one restaurant, prepared for search.
type entry struct {
	version  int
	offer    offer
	schedule menuapi.Schedule
	// The texts that a search looks at, folded, from the most to the least telling.
	name, cuisine, dishes, rest string
}

func newCatalogue() *catalogue { return &catalogue{entries: map[string]*entry{}} }

// put takes in an offer unless the catalogue has it in this version or a newer one: a refresh that began before a
// change must not undo it.
func (c *catalogue) put(o offer, version int) error {
	if e, ok := c.get(o.Restaurant.ID); version == 0 || ok && e.version >= version {
		return nil
	}
	schedule, err := o.Restaurant.Schedule()
	if err != nil {
		return err
	}
	var dishes, rest strings.Builder
	rest.WriteString(o.Restaurant.Description)
	for _, i := range o.Items {
		dishes.WriteString(i.Name + "\n")
		rest.WriteString("\n" + i.Description + "\n" + i.Category + "\n" + strings.Join(i.Tags, "\n"))
	}
	e := &entry{version: version, offer: o, schedule: schedule, name: fold(o.Restaurant.Name),
		cuisine: fold(o.Restaurant.Cuisine), dishes: fold(dishes.String()), rest: fold(rest.String())}
	c.mu.Lock()
	defer c.mu.Unlock()
	if have, ok := c.entries[o.Restaurant.ID]; !ok || have.version < version {
		c.entries[o.Restaurant.ID] = e
	}
	return nil
}

func (c *catalogue) get(id string) (*entry, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	e, ok := c.entries[id]
	return e, ok
}

// complete says that every restaurant has been read.
func (c *catalogue) complete() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full = true
}

func (c *catalogue) loaded() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.full
}

func (c *catalogue) ids() []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	ids := make([]string, 0, len(c.entries))
	for id := range c.entries {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// search gives the restaurants that have every word of text somewhere, and the cuisine if one is named: the best
// match first, then in the order of their ids.
func (c *catalogue) search(text, cuisine string) []*entry {
	words := strings.Fields(fold(text))
	cuisine = fold(strings.TrimSpace(cuisine))
	type hit struct {
		*entry
		score int
	}
	var hits []hit
	c.mu.RLock()
	for _, e := range c.entries {
		if score := e.match(words); score >= 0 && (cuisine == "" || e.cuisine == cuisine) {
			hits = append(hits, hit{e, score})
		}
	}
	c.mu.RUnlock()
	slices.SortFunc(hits, func(a, b hit) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.offer.Restaurant.ID, b.offer.Restaurant.ID))
	})
	found := make([]*entry, len(hits))
	for i, h := range hits {
		found[i] = h.entry
	}
	return found
}

// match weighs where the words stand; -1 if one of them stands nowhere.
func (e *entry) match(words []string) int {
	score := 0
	for _, w := range words {
		switch {
		case strings.Contains(e.name, w):
			score += 8
		case strings.Contains(e.cuisine, w):
			score += 4
		case strings.Contains(e.dishes, w):
			score += 2
		case strings.Contains(e.rest, w):
			score++
		default:
			return -1
		}
	}
	return score
}

// restaurant is the restaurant as it is at a time.
func (e *entry) restaurant(now time.Time) menuapi.Restaurant {
	r := e.offer.Restaurant
	r.Open = e.schedule.OpenAt(now)
	return r
}

// menu is the whole menu as it is at a time.
func (e *entry) menu(now time.Time) menuapi.Menu {
	return menuapi.Menu{Restaurant: e.restaurant(now), Currency: money.Currency, Items: e.offer.Items}
}

// fold makes texts comparable: lower case, without accents, ß as ss.
func fold(s string) string {
	var b strings.Builder
	for _, r := range norm.NFD.String(strings.ToLower(s)) {
		switch {
		case r == 'ß':
			b.WriteString("ss")
		case !unicode.Is(unicode.Mn, r):
			b.WriteRune(r)
		}
	}
	return b.String()
}
