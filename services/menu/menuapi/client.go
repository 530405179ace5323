package menuapi

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/dishmesh/dishmesh/services/internal/rpc"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// Client calls the menu service from another service, through the sidecar. From elsewhere, use NewMenuServiceClient.
type Client struct{ calls MenuServiceClient }

// lookupWithin bounds a lookup. Somebody who asks for a price waits for it, and whoever looks up may have an older menu
// to go by: it must be left with time to do so (see confirmWithin in pricingapi).
const lookupWithin = 2 * time.Second

// NewClient gives a client that goes through the sidecar of invoker.
func NewClient(invoker sidecar.Invoker) Client {
	return Client{calls: NewMenuServiceClient(rpc.Door{Invoker: invoker, App: App, Within: lookupWithin}, "", rpc.ClientOptions())}
}

// Lookup gives a restaurant and those of the items that it has, sold out or not; without item ids its whole menu.
// The problem is not-found for a restaurant that does not exist.
func (c Client) Lookup(ctx context.Context, restaurantID string, itemIDs ...string) (Menu, error) {
	resp, err := c.calls.LookupMenu(ctx, connect.NewRequest(&LookupMenuRequest{RestaurantId: restaurantID, ItemIds: itemIDs}))
	if err != nil {
		return Menu{}, rpc.Problem(err)
	}
	return resp.Msg.Menu(), nil
}

// NewLookupMenuResponse is a menu as a typed call answers it.
func NewLookupMenuResponse(m Menu) *LookupMenuResponse {
	r := m.Restaurant
	out := &LookupMenuResponse{Currency: m.Currency, Items: make([]*LookupMenuResponse_Item, len(m.Items)), Restaurant: &LookupMenuResponse_Restaurant{
		Id: r.ID, Name: r.Name, Cuisine: r.Cuisine, Description: r.Description, Address: r.Address, Lat: r.Lat, Lon: r.Lon,
		TimeZone: r.TimeZone, DeliveryRadiusM: int32(r.DeliveryRadiusM), Open: r.Open,
	}}
	for _, h := range r.OpeningHours {
		out.Restaurant.OpeningHours = append(out.Restaurant.OpeningHours, &LookupMenuResponse_Period{Days: h.Days, From: h.From, To: h.To})
	}
	for i, it := range m.Items {
		item := &LookupMenuResponse_Item{Id: it.ID, Name: it.Name, Description: it.Description, Category: it.Category, Price: it.Price,
			TaxClass: it.TaxClass, Available: it.Available, Tags: it.Tags}
		for _, g := range it.OptionGroups {
			group := &LookupMenuResponse_OptionGroup{Id: g.ID, Name: g.Name, Min: int32(g.Min), Max: int32(g.Max)}
			for _, o := range g.Options {
				group.Options = append(group.Options, &LookupMenuResponse_Option{Id: o.ID, Name: o.Name, Price: o.Price})
			}
			item.OptionGroups = append(item.OptionGroups, group)
		}
		out.Items[i] = item
	}
	return out
}

// Menu is the inverse of NewLookupMenuResponse.
func (m *LookupMenuResponse) Menu() Menu {
	r := m.GetRestaurant()
	out := Menu{Currency: m.GetCurrency(), Restaurant: Restaurant{
		ID: r.GetId(), Name: r.GetName(), Cuisine: r.GetCuisine(), Description: r.GetDescription(), Address: r.GetAddress(),
		Lat: r.GetLat(), Lon: r.GetLon(), TimeZone: r.GetTimeZone(), DeliveryRadiusM: int(r.GetDeliveryRadiusM()), Open: r.GetOpen(),
	}}
	for _, h := range r.GetOpeningHours() {
		out.Restaurant.OpeningHours = append(out.Restaurant.OpeningHours, Period{Days: h.Days, From: h.From, To: h.To})
	}
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
		out.Items = append(out.Items, item)
	}
	return out
}
