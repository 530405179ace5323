// Package pricingapi is the contract of the pricing service: what an order costs, signed, for a while.
// Amounts are minor units of the currency that the quote names (package money), times are RFC 3339 in UTC,
// rates are basis points (1/100 of a per cent).
package pricingapi

import (
	"time"

	"github.com/dishmesh/dishmesh/services/internal/geo"
)

// App is the service's Dapr app id.
const App = "pricing"

// The bounds of a quote.
const (
	MaxLines    = 40
	MaxQuantity = 50
	MaxToken    = 16384 // bytes of a signed quote; a common one has about 1 200
)

// QuoteRequest is the body of POST /v1/quotes.
type QuoteRequest struct {
	RestaurantID string     `json:"restaurant_id" validate:"required,max=40"`
	Items        []ItemLine `json:"items" validate:"required,min=1,max=40,dive"`
	Dropoff      *Dropoff   `json:"dropoff" validate:"required"`
	Promotion    string     `json:"promotion,omitempty" validate:"max=32"` // a code, in any case
}

// ItemLine asks for a quantity of one dish with its options, by their ids.
type ItemLine struct {
	ItemID   string   `json:"item_id" validate:"required,max=40"`
	Quantity int      `json:"quantity" validate:"required,min=1,max=50"`
	Options  []string `json:"options,omitempty" validate:"max=40,unique,dive,required,max=40"`
}

// Dropoff is where the customer wants it. Both coordinates must be there, be they zero.
type Dropoff struct {
	Lat    *float64 `json:"lat" validate:"required,gte=-90,lte=90"`
	Lon    *float64 `json:"lon" validate:"required,gte=-180,lte=180"`
	Street string   `json:"street,omitempty" validate:"max=200"`
}

// DropoffAt is the Dropoff at p.
func DropoffAt(p geo.Point, street string) *Dropoff {
	return &Dropoff{Lat: &p.Lat, Lon: &p.Lon, Street: street}
}

// Quote is what an order costs until ExpiresAt: subtotal + delivery_fee + surge_fee − discount = total. All
// roundings are half to even.
type Quote struct {
	ID             string       `json:"id"`
	CustomerID     string       `json:"customer_id"`
	RestaurantID   string       `json:"restaurant_id"`
	RestaurantName string       `json:"restaurant_name"`
	Items          []Item       `json:"items"`
	Currency       string       `json:"currency"`
	Subtotal       int64        `json:"subtotal"`     // sum of the items' totals
	DeliveryFee    int64        `json:"delivery_fee"` // by distance
	SurgeBP        int64        `json:"surge_bp"`     // surcharge on the delivery fee while many orders are open
	SurgeFee       int64        `json:"surge_fee"`
	Discount       int64        `json:"discount"`            // 0 ≤ discount ≤ subtotal
	Promotion      string       `json:"promotion,omitempty"` // the code that gave the discount
	Tax            int64        `json:"tax"`                 // included in total: sum of tax_parts
	TaxParts       []TaxPart    `json:"tax_parts"`
	Total          int64        `json:"total"`
	Pickup         PickupPlace  `json:"pickup"`
	Dropoff        DropoffPlace `json:"dropoff"`
	ExpiresAt      time.Time    `json:"expires_at"`
	Token          string       `json:"token,omitempty"` // the quote, signed: what an order is placed with
}

// Item is a line of a quote. UnitPrice is one dish with its options; Total is Quantity of it.
type Item struct {
	ItemID    string   `json:"item_id"`
	Name      string   `json:"name"`
	Quantity  int      `json:"quantity"`
	Options   []Option `json:"options"`
	UnitPrice int64    `json:"unit_price"`
	Total     int64    `json:"total"`
}

// Option is a chosen option and what it adds to the dish's price.
type Option struct {
	ID    string `json:"id"`
	Name  string `json:"name"`
	Price int64  `json:"price"`
}

// TaxPart is the VAT of one rate that Gross, a part of the total, includes. The grosses add up to the total.
type TaxPart struct {
	RateBP int64 `json:"rate_bp"`
	Gross  int64 `json:"gross"`
	Tax    int64 `json:"tax"`
}

// PickupPlace is the restaurant's door.
type PickupPlace struct {
	Lat     float64 `json:"lat"`
	Lon     float64 `json:"lon"`
	Address string  `json:"address"`
}

// DropoffPlace is the customer's door.
type DropoffPlace struct {
	Lat    float64 `json:"lat"`
	Lon    float64 `json:"lon"`
	Street string  `json:"street,omitempty"`
}

// ConfirmRequest redeems a quote for an order.
type ConfirmRequest struct {
	Token      string `json:"token" validate:"required,max=16384"`
	OrderID    string `json:"order_id" validate:"required,max=64"`
	CustomerID string `json:"customer_id" validate:"required,max=64"`
}

// ReleaseRequest gives back what the confirmation for an order took, because the order came to nothing.
type ReleaseRequest struct {
	OrderID string `json:"order_id" validate:"required,max=64"`
}

// ReleaseResult says whether a redemption was given back by this request.
type ReleaseResult struct {
	Released bool `json:"released"`
}
