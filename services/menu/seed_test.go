package menu

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

func TestSeedIsABelievableTown(t *testing.T) {
	offers, err := readSeed(seedFiles)
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	dishes := 0
	for _, o := range offers {
		ids = append(ids, o.Restaurant.ID)
		dishes += len(o.Items)
		if d := geo.Distance(offers[0].Restaurant.Point(), o.Restaurant.Point()); d > 2000 {
			t.Errorf("%s lies %.0f m from the market square", o.Restaurant.Name, d)
		}
		schedule, err := o.Restaurant.Schedule()
		if err != nil {
			t.Fatal(err)
		}
		for hour := range 7 * 24 {
			if at := time.Date(2026, 3, 23, hour, 59, 59, 0, time.UTC); !schedule.OpenAt(at) {
				t.Errorf("%s is closed at %v", o.Restaurant.Name, at)
			}
		}
		if first := o.Items[0]; !first.Available || first.ID != strings.Replace(o.Restaurant.ID, "rst", "itm", 1)+"01" {
			t.Errorf("first item of %s is %+v", o.Restaurant.ID, first)
		}
		for _, g := range o.Items[0].OptionGroups {
			if g.Min > 0 {
				t.Errorf("%s: the first item of a menu is one that needs no option", o.Items[0].ID)
			}
		}
	}
	if diff := cmp.Diff(menuapi.Restaurants, ids); diff != "" {
		t.Errorf("restaurants (-want +got):\n%s", diff)
	}
	if dishes < 100 {
		t.Errorf("%d dishes, want 100 at least", dishes)
	}
}

func TestReadSeedRefusesFaults(t *testing.T) {
	const good = `
restaurant: {id: rst_x, name: X, cuisine: x, description: x, address: x, lat: 1, lon: 1, time_zone: Europe/Berlin,
  opening_hours: [{days: [mon], from: "10:00", to: "22:00"}], delivery_radius_m: 1000}
items:
- {id: itm_x, name: X, category: x, price: 100, tax_class: food, option_groups: [{id: g, name: G, min: 0, max: 1, options: [{id: o, name: O, price: 0}]}]}
`
	tests := []struct{ name, old, new, want string }{
		{"good", "", "", ""},
		{"unknown field", "cuisine: x", "cuisine: x, stars: 5", "stars"},
		{"wrong hours", `"10:00"`, `"25:00"`, "25:00"},
		{"no such day", "[mon]", "[someday]", "days"},
		{"no such zone", "Europe/Berlin", "Europe/Lindenhafen", "time_zone"},
		{"price zero", "price: 100", "price: 0", "price"},
		{"unknown tax class", "tax_class: food", "tax_class: none", "tax_class"},
		{"more than there is", "max: 1", "max: 2", "at most 2 of 1"},
		{"min above max", "min: 0", "min: 2", "min"},
		{"option twice", "{id: o, name: O, price: 0}", "{id: o, name: O, price: 0}, {id: o, name: O, price: 0}", "twice"},
		{"id twice", "items:", "items:\n- {id: itm_x, name: X, category: x, price: 100, tax_class: food}", "taken"},
		{"no items", "items:", "others:", "others"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			text := good
			if tt.old != "" {
				text = strings.Replace(good, tt.old, tt.new, 1)
			}
			_, err := readSeed(fstest.MapFS{"seed/x.yaml": {Data: []byte(text)}})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got error %v, want one with %q", err, tt.want)
			}
		})
	}
}
