package customer

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// Town is what a customer knows of the restaurants and their menus.
type Town struct{ menus []menuapi.Menu }

// Explore reads the restaurants that are open, with their menus. only, unless it is "", is the id or a part of the
// name of the one that is wanted, whether it is open or not.
func (s Site) Explore(ctx context.Context, only string) (*Town, error) {
	api := publicapi.New(s.URL, s.HTTP)
	get := func(path string, out any) error {
		return persist(ctx, s.Patience, s.Retried, func() error { return api.Do(ctx, http.MethodGet, path, nil, out) })
	}
	var all []menuapi.Restaurant
	for next := "/v1/restaurants?limit=100"; next != ""; {
		var page menuapi.List
		if err := get(next, &page); err != nil {
			return nil, fmt.Errorf("restaurants: %w", err)
		}
		all, next = append(all, page.Restaurants...), page.Next
	}
	var town Town
	for _, r := range all {
		if only == "" && !r.Open || only != "" && !named(r.ID, r.Name, only) {
			continue
		}
		var m menuapi.Menu
		if err := get("/v1/restaurants/"+r.ID+"/menu", &m); err != nil {
			return nil, fmt.Errorf("menu of %s: %w", r.Name, err)
		}
		if only == "" && !slices.ContainsFunc(m.Items, func(it menuapi.Item) bool { return it.Available }) {
			continue // sold out
		}
		town.menus = append(town.menus, m)
		if only != "" {
			break
		}
	}
	switch {
	case len(town.menus) > 0:
		return &town, nil
	case only != "":
		return nil, fmt.Errorf("no restaurant is called %q: the town has %s", only, restaurantNames(all))
	default:
		return nil, fmt.Errorf("none of the %d restaurants is open", len(all))
	}
}

func restaurantNames(all []menuapi.Restaurant) string {
	names := make([]string, 0, len(all))
	for _, r := range all {
		names = append(names, r.Name+" ("+r.ID+")")
	}
	return strings.Join(names, ", ")
}

func named(id, name, wanted string) bool {
	return id == wanted || strings.Contains(strings.ToLower(name), strings.ToLower(wanted))
}

// furthest is how far from a restaurant customers live, in metres, unless it delivers less far.
const furthest = 1200

// Choose makes up an order: one to three dishes of one restaurant, with the options that they need, for somebody who
// lives near. The same random numbers give the same choice.
func (t *Town) Choose(rng *rand.Rand) pricingapi.QuoteRequest {
	m := t.menus[rng.IntN(len(t.menus))]
	var dishes []menuapi.Item
	for _, it := range m.Items {
		if it.Available {
			dishes = append(dishes, it)
		}
	}
	rng.Shuffle(len(dishes), func(i, j int) { dishes[i], dishes[j] = dishes[j], dishes[i] })
	in := pricingapi.QuoteRequest{RestaurantID: m.Restaurant.ID, Dropoff: home(rng, m.Restaurant)}
	for _, it := range dishes[:min(len(dishes), 1+rng.IntN(3))] {
		in.Items = append(in.Items, pricingapi.ItemLine{ItemID: it.ID, Quantity: 1 + rng.IntN(2), Options: options(rng, it)})
	}
	return in
}

// ChooseItems is Choose for the dishes that are wanted: ids or parts of names, each with an optional ":quantity".
func (t *Town) ChooseItems(rng *rand.Rand, wanted []string) (pricingapi.QuoteRequest, error) {
	var unknown error
	for _, i := range rng.Perm(len(t.menus)) {
		m := t.menus[i]
		in := pricingapi.QuoteRequest{RestaurantID: m.Restaurant.ID, Dropoff: home(rng, m.Restaurant)}
		var err error
		for _, w := range wanted {
			var line pricingapi.ItemLine
			if line, err = find(rng, m, w); err != nil {
				break
			}
			in.Items = append(in.Items, line)
		}
		if err == nil {
			return in, nil
		}
		unknown = err
	}
	if len(t.menus) > 1 {
		return pricingapi.QuoteRequest{}, fmt.Errorf("no restaurant that is open has all of %s", strings.Join(wanted, ", "))
	}
	return pricingapi.QuoteRequest{}, unknown
}

func find(rng *rand.Rand, m menuapi.Menu, wanted string) (pricingapi.ItemLine, error) {
	name, quantity := wanted, 1
	if before, after, ok := strings.Cut(wanted, ":"); ok {
		n, err := strconv.Atoi(after)
		if err != nil || n < 1 || n > pricingapi.MaxQuantity {
			return pricingapi.ItemLine{}, fmt.Errorf("%q: the quantity after the colon must be 1 to %d", wanted, pricingapi.MaxQuantity)
		}
		name, quantity = before, n
	}
	i := slices.IndexFunc(m.Items, func(it menuapi.Item) bool { return named(it.ID, it.Name, name) })
	if i < 0 {
		names := make([]string, 0, len(m.Items))
		for _, it := range m.Items {
			names = append(names, it.Name+" ("+it.ID+")")
		}
		return pricingapi.ItemLine{}, fmt.Errorf("%s has no %q; it has %s", m.Restaurant.Name, name, strings.Join(names, ", "))
	}
	return pricingapi.ItemLine{ItemID: m.Items[i].ID, Quantity: quantity, Options: options(rng, m.Items[i])}, nil
}

// options decides what has to be decided about a dish.
func options(rng *rand.Rand, it menuapi.Item) []string {
	var chosen []string
	for _, g := range it.OptionGroups {
		for _, i := range rng.Perm(len(g.Options))[:min(g.Min, len(g.Options))] {
			chosen = append(chosen, g.Options[i].ID)
		}
	}
	return chosen
}

// home is somewhere within the restaurant's reach.
func home(rng *rand.Rand, r menuapi.Restaurant) *pricingapi.Dropoff {
	const metresPerDegree = 111_195 // of latitude, on the sphere of package geo
	reach := 0.9 * float64(furthest)
	if r.DeliveryRadiusM > 0 {
		reach = min(reach, 0.9*float64(r.DeliveryRadiusM))
	}
	angle, distance := 2*math.Pi*rng.Float64(), reach*math.Sqrt(rng.Float64())
	round := func(degrees float64) float64 { return math.Round(degrees*1e6) / 1e6 }
	at := geo.Point{
		Lat: round(r.Lat + distance*math.Cos(angle)/metresPerDegree),
		Lon: round(r.Lon + distance*math.Sin(angle)/metresPerDegree/math.Cos(r.Lat*math.Pi/180)),
	}
	return pricingapi.DropoffAt(at, fmt.Sprintf("Lindenweg %d", 1+rng.IntN(120)))
}
