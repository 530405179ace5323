package menu

import (
	"slices"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

// offer is the aggregate: a restaurant and all that it offers. Its stream bears the restaurant's id.
type offer struct {
	Restaurant menuapi.Restaurant `json:"restaurant"`
	Items      []menuapi.Item     `json:"items"`
}

// apply gives the offer after an event; types that it does not know change nothing.
func apply(o offer, e cloudevent.Event) (offer, error) {
	switch e.Name() {
	case menuapi.MenuPublished:
		var p menuapi.Published
		if err := menuapi.Events.Into(e, &p); err != nil {
			return o, err
		}
		restaurant, items := p.Offer()
		return offer{Restaurant: restaurant, Items: items}, nil
	case menuapi.MenuItemChanged:
		var c menuapi.ItemChanged
		if err := menuapi.Events.Into(e, &c); err != nil {
			return o, err
		}
		items := slices.Clone(o.Items) // readers may hold the old ones
		if i := find(items, c.ItemId); i >= 0 {
			items[i].Price, items[i].Available = c.Price, c.Available
		}
		o.Items = items
	}
	return o, nil
}

func find(items []menuapi.Item, id string) int {
	return slices.IndexFunc(items, func(i menuapi.Item) bool { return i.ID == id })
}

// changeItem decides what follows from a patch: one event, or nothing if all is so already.
func changeItem(o offer, itemID string, patch menuapi.ItemPatch) (eventstore.Change, error) {
	i := find(o.Items, itemID)
	if i < 0 {
		return eventstore.Change{}, problem.New(problem.NotFound, "%s has no item %q", o.Restaurant.ID, itemID)
	}
	have := o.Items[i]
	want := &menuapi.ItemChanged{RestaurantId: o.Restaurant.ID, ItemId: itemID, Price: have.Price, Available: have.Available}
	if patch.Price != nil {
		want.Price = *patch.Price
	}
	if patch.Available != nil {
		want.Available = *patch.Available
	}
	if want.Price == have.Price && want.Available == have.Available {
		return eventstore.Change{}, nil
	}
	return eventstore.Change{Events: []eventstore.Event{{Type: menuapi.MenuItemChanged, Data: want}}}, nil
}
