// Package menuapi is the contract of the menu service: what restaurants offer, as it goes over the wire.
// Amounts are minor units of the currency that the document names (package money), times are RFC 3339.
package menuapi

import (
	"github.com/dishmesh/dishmesh/services/internal/geo"
)

// App is the service's Dapr app id.
const App = "menu"

// Restaurants are the fixed ids of the seeded town, in order: the account kitchen-01 runs Restaurants[0].
var Restaurants = []string{
	"rst_01", "rst_02", "rst_03", "rst_04", "rst_05", "rst_06",
	"rst_07", "rst_08", "rst_09", "rst_10", "rst_11", "rst_12",
}

// Restaurant is a place that cooks.
type Restaurant struct {
	ID              string   `json:"id" validate:"required,startswith=rst_,max=40"`
	Name            string   `json:"name" validate:"required,max=80"`
	Cuisine         string   `json:"cuisine" validate:"required,max=40"` // lower case, such as "italian"
	Description     string   `json:"description" validate:"required,max=400"`
	Address         string   `json:"address" validate:"required,max=200"`
	Lat             float64  `json:"lat" validate:"required,gte=-90,lte=90"`
	Lon             float64  `json:"lon" validate:"required,gte=-180,lte=180"`
	TimeZone        string   `json:"time_zone" validate:"required,timezone"` // of opening_hours, by its IANA name
	OpeningHours    []Period `json:"opening_hours" validate:"required,min=1,max=50,dive"`
	DeliveryRadiusM int      `json:"delivery_radius_m" validate:"required,min=100,max=50000"` // metres, as the crow flies
	// Open says whether the kitchen was open by its hours when the document was made.
	Open bool `json:"open"`
}

// Point is where the restaurant stands and couriers pick up.
func (r Restaurant) Point() geo.Point { return geo.Point{Lat: r.Lat, Lon: r.Lon} }

// Item is a dish or a drink.
type Item struct {
	ID          string `json:"id" validate:"required,startswith=itm_,max=40"`
	Name        string `json:"name" validate:"required,max=80"`
	Description string `json:"description,omitempty" validate:"max=400"`
	Category    string `json:"category" validate:"required,max=40"`
	Price       int64  `json:"price" validate:"min=1,max=1000000"`
	// TaxClass decides the VAT that the price includes: food or standard (drinks).
	TaxClass     string        `json:"tax_class" validate:"oneof=food standard"`
	Available    bool          `json:"available"` // false: sold out
	Tags         []string      `json:"tags,omitempty" validate:"max=10,dive,max=40"`
	OptionGroups []OptionGroup `json:"option_groups,omitempty" validate:"max=10,dive"`
}

// The tax classes of items.
const (
	TaxFood     = "food"
	TaxStandard = "standard"
)

// OptionGroup is one decision about a dish: between Min and Max of the options are chosen.
type OptionGroup struct {
	ID      string   `json:"id" validate:"required,max=40"`
	Name    string   `json:"name" validate:"required,max=80"`
	Min     int      `json:"min" validate:"min=0,ltefield=Max"`
	Max     int      `json:"max" validate:"min=1"`
	Options []Option `json:"options" validate:"required,min=1,max=20,dive"`
}

// Option is one choice. Its id is unique within its dish.
type Option struct {
	ID    string `json:"id" validate:"required,max=40"`
	Name  string `json:"name" validate:"required,max=80"`
	Price int64  `json:"price" validate:"min=0,max=100000"` // is added to the dish's price
}

// Menu is a restaurant with what it offers: the answer of GET /v1/restaurants/{restaurant}/menu and of a lookup.
type Menu struct {
	Restaurant Restaurant `json:"restaurant"`
	Currency   string     `json:"currency"`
	Items      []Item     `json:"items"`
}

// List is the answer of GET /v1/restaurants.
type List struct {
	Restaurants []Restaurant `json:"restaurants"`
	Total       int          `json:"total"`          // matches in all, not on this page alone
	Next        string       `json:"next,omitempty"` // path of the next page, "" on the last
}

// ItemPatch is the body of PATCH /v1/restaurants/{restaurant}/items/{item}; what is absent stays as it is.
type ItemPatch struct {
	Available *bool  `json:"available,omitempty" validate:"required_without=Price"`
	Price     *int64 `json:"price,omitempty" validate:"omitempty,min=1,max=1000000"`
}
