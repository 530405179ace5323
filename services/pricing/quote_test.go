package pricing

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

func TestQuote(t *testing.T) {
	f := setUp(t)
	f.surge.bp.Store(2500)
	got := f.mustAsk("usr_1", pricingapi.QuoteRequest{
		RestaurantID: "rst_a",
		Items: []pricingapi.ItemLine{
			{ItemID: "itm_pizza", Quantity: 2, Options: []string{"egg", "large"}},
			{ItemID: "itm_wine", Quantity: 1},
		},
		Dropoff:   pricingapi.DropoffAt(nearby, "Lindenallee 1"),
		Promotion: " welcome10 ",
	})
	want := pricingapi.Quote{
		ID: got.ID, Token: got.Token, CustomerID: "usr_1", RestaurantID: "rst_a", RestaurantName: "Test Kitchen",
		Items: []pricingapi.Item{
			{ItemID: "itm_pizza", Name: "Pizza", Quantity: 2, UnitPrice: 1450, Total: 2900,
				Options: []pricingapi.Option{{ID: "large", Name: "Large", Price: 350}, {ID: "egg", Name: "Egg", Price: 100}}},
			{ItemID: "itm_wine", Name: "Wine", Quantity: 1, UnitPrice: 1995, Total: 1995, Options: []pricingapi.Option{}},
		},
		Currency: "EUR", Subtotal: 4895,
		DeliveryFee: 259,                // 1.99 + 1.001 km × 0.60
		SurgeBP:     2500, SurgeFee: 65, // 64.75
		Promotion: "WELCOME10", Discount: 490, // 489.5, to even
		Total: 4729,
		TaxParts: []pricingapi.TaxPart{
			{RateBP: 700, Gross: 2610, Tax: 171},  // 2900 − 290 of the discount
			{RateBP: 1900, Gross: 2119, Tax: 338}, // 1995 − 200 + 259 + 65
		},
		Tax:       509,
		Pickup:    pricingapi.PickupPlace{Lat: kitchen.Lat, Lon: kitchen.Lon, Address: "Marktplatz 1"},
		Dropoff:   pricingapi.DropoffPlace{Lat: nearby.Lat, Lon: nearby.Lon, Street: "Lindenallee 1"},
		ExpiresAt: noon.Add(10 * time.Minute),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("quote (-want +got):\n%s", diff)
	}
	confirmed, err := f.confirmed(got.Token, "ord_1", "usr_1")
	want.Token = ""
	if diff := cmp.Diff(want, confirmed); err != nil || diff != "" {
		t.Errorf("confirmed with error %v (-want +got):\n%s", err, diff)
	}
}

func TestQuoteRefuses(t *testing.T) {
	line := func(text string) string {
		return `{"restaurant_id":"rst_a","dropoff":{"lat":53.909,"lon":9.9},"items":[` + text + `]}`
	}
	many := strings.TrimSuffix(strings.Repeat(`{"item_id":"itm_soup","quantity":1},`, 41), ",")
	tests := []struct {
		name, body string
		want       problem.Type
		field      string // name of the faulty field
	}{
		{"no body", ``, problem.MalformedJSON, ""},
		{"not JSON", `{"restaurant_id":`, problem.MalformedJSON, ""},
		{"empty", `{}`, problem.InvalidRequest, "dropoff"},
		{"unknown field", `{"restaurant":"rst_a"}`, problem.InvalidRequest, "restaurant"},
		{"two values", line(`{"item_id":"itm_soup","quantity":1}`) + "{}", problem.MalformedJSON, ""},
		{"no items", line(``), problem.InvalidRequest, "items"},
		{"41 lines", line(many), problem.InvalidRequest, "items"},
		{"quantity missing", line(`{"item_id":"itm_soup"}`), problem.InvalidRequest, "items[0].quantity"},
		{"quantity zero", line(`{"item_id":"itm_soup","quantity":0}`), problem.InvalidRequest, "items[0].quantity"},
		{"quantity negative", line(`{"item_id":"itm_soup","quantity":-1}`), problem.InvalidRequest, "items[0].quantity"},
		{"quantity too large", line(`{"item_id":"itm_soup","quantity":51}`), problem.InvalidRequest, "items[0].quantity"},
		{"quantity huge", line(`{"item_id":"itm_soup","quantity":99999999999999999999}`), problem.InvalidRequest, "items.quantity"},
		{"quantity a fraction", line(`{"item_id":"itm_soup","quantity":1.5}`), problem.InvalidRequest, "items.quantity"},
		{"quantity a string", line(`{"item_id":"itm_soup","quantity":"1"}`), problem.InvalidRequest, "items.quantity"},
		{"own price", line(`{"item_id":"itm_soup","quantity":1,"unit_price":1}`), problem.InvalidRequest, "unit_price"},
		{"unknown item", line(`{"item_id":"itm_none","quantity":1}`), problem.UnknownItem, "items[0].item_id"},
		{"unknown option", line(`{"item_id":"itm_pizza","quantity":1,"options":["small","gold"]}`), problem.UnknownItem, "items[0].options"},
		{"option of nothing", line(`{"item_id":"itm_soup","quantity":1,"options":["small"]}`), problem.UnknownItem, "items[0].options"},
		{"option twice", line(`{"item_id":"itm_pizza","quantity":1,"options":["small","small"]}`), problem.InvalidRequest, "items[0].options"},
		{"too few options", line(`{"item_id":"itm_pizza","quantity":1}`), problem.InvalidRequest, "items[0].options"},
		{"too many options", line(`{"item_id":"itm_pizza","quantity":1,"options":["small","ham","egg","corn"]}`), problem.InvalidRequest, "items[0].options"},
		{"two of one", line(`{"item_id":"itm_pizza","quantity":1,"options":["small","large"]}`), problem.InvalidRequest, "items[0].options"},
		{"sold out", line(`{"item_id":"itm_soup","quantity":1},{"item_id":"itm_cake","quantity":1}`), problem.ItemUnavailable, "items[1].item_id"},
		{"too dear", line(strings.TrimSuffix(strings.Repeat(`{"item_id":"itm_gold","quantity":50},`, 3), ",")), problem.InvalidRequest, "items"},
		{"unknown restaurant", strings.Replace(line(`{"item_id":"itm_soup","quantity":1}`), "rst_a", "rst_none", 1), problem.NotFound, ""},
		{"too far", strings.Replace(line(`{"item_id":"itm_soup","quantity":1}`), "53.909", "53.95", 1), problem.OutOfRange, ""},
		{"zero zero", `{"restaurant_id":"rst_a","dropoff":{"lat":0,"lon":0},"items":[{"item_id":"itm_soup","quantity":1}]}`, problem.OutOfRange, ""},
		{"off the globe", strings.Replace(line(`{"item_id":"itm_soup","quantity":1}`), "53.909", "91", 1), problem.InvalidRequest, "dropoff.lat"},
		{"half a place", `{"restaurant_id":"rst_a","dropoff":{"lat":53.9},"items":[{"item_id":"itm_soup","quantity":1}]}`, problem.InvalidRequest, "dropoff.lon"},
		{"unknown promotion", strings.Replace(line(`{"item_id":"itm_soup","quantity":1}`), "{", `{"promotion":"FREE",`, 1), problem.PromotionInvalid, ""},
		{"promotion over", strings.Replace(line(`{"item_id":"itm_soup","quantity":1}`), "{", `{"promotion":"EXPIRED",`, 1), problem.PromotionInvalid, ""},
		{"promotion needs more", strings.Replace(line(`{"item_id":"itm_soup","quantity":4}`), "{", `{"promotion":"LUNCH5",`, 1), problem.PromotionInvalid, ""},
	}
	f := setUp(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var q pricingapi.Quote
			err := f.post("/v1/quotes", "usr_1", tt.body, &q)
			wantProblem(t, err, tt.want)
			if tt.field == "" {
				return
			}
			e, _ := err.(*problem.Error)
			for _, field := range e.Fields {
				if field.Name == tt.field {
					return
				}
			}
			t.Errorf("no fault of %s in %v", tt.field, err)
		})
	}
}

func TestQuoteIsForCustomers(t *testing.T) {
	f := setUp(t)
	for role, want := range map[string]problem.Type{"": problem.Unauthenticated, web.RoleKitchen: problem.Forbidden, web.RoleOperator: problem.Forbidden} {
		r := httptest.NewRequest("POST", "/v1/quotes", strings.NewReader("{}"))
		r.Header.Set("Content-Type", "application/json")
		if role != "" {
			web.Identity{Subject: "usr_1", Role: role}.Set(r.Header)
		}
		w := httptest.NewRecorder()
		f.handler.ServeHTTP(w, r)
		wantProblem(t, problem.Read(w.Result()), want)
	}
}

func TestQuoteAfterHours(t *testing.T) {
	f := setUp(t)
	f.clock.add(9*time.Hour + 59*time.Minute) // 21:59 in Berlin
	f.mustAsk("usr_1", soups(1, ""))
	f.clock.add(time.Minute)
	_, err := f.ask("usr_1", soups(1, ""))
	wantProblem(t, err, problem.RestaurantClosed)
}

func TestTokenOfTheLargestQuoteFits(t *testing.T) {
	f := setUp(t)
	f.menu.set(func(m *menuService) {
		menu := m.menus["rst_a"]
		menu.Items = nil
		for i := range 40 {
			item := menuapi.Item{ID: fmt.Sprintf("itm_%036d", i), Name: strings.Repeat("n", 80), Price: 1, TaxClass: menuapi.TaxFood, Available: true}
			group := menuapi.OptionGroup{ID: "g", Name: "G", Max: 4}
			for j := range 4 {
				group.Options = append(group.Options, menuapi.Option{ID: fmt.Sprintf("%020d", j), Name: strings.Repeat("o", 30), Price: 1})
			}
			item.OptionGroups = []menuapi.OptionGroup{group}
			menu.Items = append(menu.Items, item)
		}
		m.menus["rst_a"] = menu
	})
	req := soups(1, "")
	req.Items = nil
	for i := range 40 {
		line := pricingapi.ItemLine{ItemID: fmt.Sprintf("itm_%036d", i), Quantity: 50}
		for j := range 4 {
			line.Options = append(line.Options, fmt.Sprintf("%020d", j))
		}
		req.Items = append(req.Items, line)
	}
	q := f.mustAsk("usr_1", req)
	got, err := f.confirmed(q.Token, "ord_1", "usr_1")
	if err != nil {
		t.Fatalf("a token of %d bytes: %v", len(q.Token), err)
	}
	q.Token = ""
	if diff := cmp.Diff(q, got); diff != "" {
		t.Errorf("confirmed (-quote +got):\n%s", diff)
	}
}

func TestDistanceAgreesWithGeo(t *testing.T) {
	if got, want := metres(kitchen, nearby), int64(1001); got != want {
		t.Errorf("got %d m, want %d", got, want)
	}
	if got := metres(kitchen, geo.Point{Lat: -kitchen.Lat, Lon: kitchen.Lon - 180}); got < 20_000_000 {
		t.Errorf("the antipode is %d m away", got)
	}
}
