// Package orderapi is the contract of the order service: its wire types, its events and its client.
package orderapi

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// App is the service's app id.
const App = "order"

// Status is where an order stands, as the customer sees it.
type Status string

// The states of an order. The last six are terminal.
const (
	Placed             Status = "placed"              // acknowledged; payment and kitchen are being asked
	Accepted           Status = "accepted"            // the kitchen cooks
	PickedUp           Status = "picked_up"           // the courier has it: no way back
	Delivered          Status = "delivered"           // done and paid
	Rejected           Status = "rejected"            // the kitchen said no, or nothing in time
	Cancelled          Status = "cancelled"           // by the customer, before pick-up
	Declined           Status = "declined"            // the card was declined
	Undeliverable      Status = "undeliverable"       // no courier could be had
	CompensationFailed Status = "compensation_failed" // something could not be undone: an operator must look
)

// Terminal reports whether nothing follows the state.
func (s Status) Terminal() bool {
	switch s {
	case Delivered, Rejected, Cancelled, Declined, Undeliverable, CompensationFailed:
		return true
	}
	return false
}

// PlaceRequest is the body of POST /v1/orders.
type PlaceRequest struct {
	Quote       string `json:"quote" validate:"required,max=16384"` // the token of a quote
	Card        string `json:"card" validate:"required,max=64,printascii"`
	Note        string `json:"note,omitempty" validate:"max=500"`         // for the kitchen
	CourierNote string `json:"courier_note,omitempty" validate:"max=500"` // for the courier
}

// CancelRequest is the body of POST /v1/orders/{order}/cancel.
type CancelRequest struct {
	Reason string `json:"reason,omitempty" validate:"max=500"`
}

// Place is an address with its position in degrees.
type Place struct {
	Lat     float64 `json:"lat"`
	Lon     float64 `json:"lon"`
	Address string  `json:"address,omitempty"`
}

// Item is a line of an order. Amounts are minor units of the order's currency; UnitPrice includes the options.
type Item struct {
	ItemID    string   `json:"item_id"`
	Name      string   `json:"name"`
	Quantity  int      `json:"quantity"`
	Options   []string `json:"options,omitempty"` // their names
	UnitPrice int64    `json:"unit_price"`
	Total     int64    `json:"total"`
}

// Bill is what an order costs, in minor units of Currency. Tax is contained in Total.
type Bill struct {
	Currency    string `json:"currency"`
	Subtotal    int64  `json:"subtotal"`
	DeliveryFee int64  `json:"delivery_fee"`
	SurgeFee    int64  `json:"surge_fee"`
	Discount    int64  `json:"discount"`
	Tax         int64  `json:"tax"`
	Total       int64  `json:"total"`
}

// Order is an order as its customer, kitchen, courier and the operators see it.
type Order struct {
	ID             string `json:"id"`
	CustomerID     string `json:"customer_id"`
	RestaurantID   string `json:"restaurant_id"`
	RestaurantName string `json:"restaurant_name"`
	Status         Status `json:"status"`
	Reason         string `json:"reason,omitempty"` // why it ended, a word: payment_declined, kitchen_rejected, timeout, …
	Detail         string `json:"detail,omitempty"` // why it ended, for people
	Version        int    `json:"version"`
	Items          []Item `json:"items"`
	Bill
	Promotion       string     `json:"promotion,omitempty"`
	Note            string     `json:"note,omitempty"`
	CourierNote     string     `json:"courier_note,omitempty"`
	CourierID       string     `json:"courier_id,omitempty"`
	PrepMinutes     int        `json:"prep_minutes,omitempty"`
	Pickup          Place      `json:"pickup"`
	Dropoff         Place      `json:"dropoff"`
	PlacedAt        time.Time  `json:"placed_at"`
	AcceptedAt      *time.Time `json:"accepted_at,omitempty"`
	PickedUpAt      *time.Time `json:"picked_up_at,omitempty"`
	DeliveredAt     *time.Time `json:"delivered_at,omitempty"`
	EndedAt         *time.Time `json:"ended_at,omitempty"`
	CancelRequested bool       `json:"cancel_requested,omitempty"`
}

// List is the answer of GET /v1/orders, newest first.
type List struct {
	Orders []Order `json:"orders"`
}

// EventList is the answer of GET /v1/orders/{order}/events, oldest first.
type EventList struct {
	Events []HistoryEvent `json:"events"`
}

// HistoryEvent is one event of an order's audit trail.
type HistoryEvent struct {
	ID       string    `json:"id"`
	Type     string    `json:"type"` // such as order.placed
	Sequence int       `json:"sequence"`
	Time     time.Time `json:"time"`
	// DataSchema names the message and version of the data; absent from what was written before there were any.
	DataSchema string `json:"dataschema,omitempty"`
	Data       any    `json:"data"`
}

// Client calls the order service on behalf of a caller.
type Client struct{ sidecar.Invoker }

// Get reads an order as caller may see it.
func (c Client) Get(ctx context.Context, caller web.Identity, id string) (Order, error) {
	var o Order
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodGet, Path: "/v1/orders/" + id, Out: &o, Header: as(caller)})
	return o, err
}

// Events reads the audit trail after a version.
func (c Client) Events(ctx context.Context, caller web.Identity, id string, after int) (EventList, error) {
	var l EventList
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodGet,
		Path: "/v1/orders/" + id + "/events?after=" + strconv.Itoa(after), Out: &l, Header: as(caller)})
	return l, err
}

func as(caller web.Identity) http.Header {
	h := http.Header{}
	caller.Set(h)
	return h
}
