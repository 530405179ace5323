package menuapi

import "github.com/dishmesh/dishmesh/services/internal/contract"

// Types of the events on topic fooddelivery.menu, without the common prefix. The subject is the restaurant.
const (
	MenuPublished   = "menu.published"
	MenuItemChanged = "menu.item-changed"
)

// Events is the contract of the menus' events.
var Events = contract.Must(
	contract.One[*Published](MenuPublished),
	contract.One[*ItemChanged](MenuItemChanged),
)

// NewPublished is the event that a restaurant offers items from now on.
func NewPublished(r Restaurant, items []Item) *Published {
	p := &Published{RestaurantId: r.ID, Name: r.Name, Restaurant: &Published_Restaurant{
		Id: r.ID, Name: r.Name, Cuisine: r.Cuisine, Description: r.Description, Address: r.Address, Lat: r.Lat, Lon: r.Lon,
		TimeZone: r.TimeZone, DeliveryRadiusM: int32(r.DeliveryRadiusM), Open: r.Open,
	}}
	for _, h := range r.OpeningHours {
		p.Restaurant.OpeningHours = append(p.Restaurant.OpeningHours, &Published_Period{Days: h.Days, From: h.From, To: h.To})
	}
	for _, it := range items {
		item := &Published_Item{Id: it.ID, Name: it.Name, Description: it.Description, Category: it.Category, Price: it.Price,
			TaxClass: it.TaxClass, Available: it.Available, Tags: it.Tags}
		for _, g := range it.OptionGroups {
			group := &Published_OptionGroup{Id: g.ID, Name: g.Name, Min: int32(g.Min), Max: int32(g.Max)}
			for _, o := range g.Options {
				group.Options = append(group.Options, &Published_Option{Id: o.ID, Name: o.Name, Price: o.Price})
			}
			item.OptionGroups = append(item.OptionGroups, group)
		}
		p.Items = append(p.Items, item)
	}
	return p
}

// Offer is the restaurant and its items as the API shows them: the inverse of NewPublished.
func (m *Published) Offer() (Restaurant, []Item) {
	p := m.GetRestaurant()
	r := Restaurant{
		ID: p.GetId(), Name: p.GetName(), Cuisine: p.GetCuisine(), Description: p.GetDescription(), Address: p.GetAddress(),
		Lat: p.GetLat(), Lon: p.GetLon(), TimeZone: p.GetTimeZone(), DeliveryRadiusM: int(p.GetDeliveryRadiusM()), Open: p.GetOpen(),
	}
	for _, h := range p.GetOpeningHours() {
		r.OpeningHours = append(r.OpeningHours, Period{Days: h.Days, From: h.From, To: h.To})
	}
	var items []Item
	for _, it := range m.GetItems() {
		item := Item{ID: it.Id, Name: it.Name, Description: it.Description, Category: it.Category, Price: it.Price,
			TaxClass: it.TaxClass, Available: it.Available, Tags: it.Tags}
		for _, g := range it.OptionGroups {
			group := OptionGroup{ID: g.Id, Name: g.Name, Min: int(g.Min), Max: int(g.Max)}
			for _, o := range g.Options {
				group.Options = append(group.Options, Option{ID: o.Id, Name: o.Name, Price: o.Price})
			}
			item.OptionGroups = append(item.OptionGroups, group)
		}
		items = append(items, item)
	}
	return r, items
}
