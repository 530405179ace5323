// Package deliveryapi is the contract of the delivery service: couriers, the dispatch of orders to them, tracking,
// its events, and the calls that other services make.
package deliveryapi

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// App is the Dapr app id of the service.
const App = "delivery"

// Status is where a delivery stands.
type Status string

// The states of a delivery. Delivered, Unavailable and Released are final.
const (
	Requested   Status = "requested" // a courier is being looked for
	Assigned    Status = "assigned"
	PickedUp    Status = "picked_up"
	Delivered   Status = "delivered"
	Unavailable Status = "unavailable" // no courier was to be had
	Released    Status = "released"    // given up on request before the pick-up
)

// Reasons why no courier was to be had.
const (
	ReasonNoneOnline  = "none_online"  // nobody works within reach
	ReasonAllDeclined = "all_declined" // everybody within reach was asked and said no
	ReasonDeadline    = "deadline"     // nobody became free, or nobody answered, in time
)

// Place is a position with what a courier needs to find the door.
type Place struct {
	geo.Point
	Address string `json:"address,omitempty" validate:"max=300"`
}

// DispatchRequest asks for a courier. Repeating it is harmless.
type DispatchRequest struct {
	RestaurantID string    `json:"restaurant_id" validate:"required,max=64"`
	CustomerID   string    `json:"customer_id" validate:"required,max=64"`
	Pickup       Place     `json:"pickup" validate:"required"`
	Dropoff      Place     `json:"dropoff" validate:"required"`
	CourierNote  string    `json:"courier_note,omitempty" validate:"max=1000"`
	Deadline     time.Time `json:"deadline,omitzero"` // until when to search; zero: the service's default
}

// DispatchResult says where the delivery stands: Requested at first, Unavailable with a reason if there is nobody
// to ask, Released if the release was here first, and whatever it has become when the call is repeated.
type DispatchResult struct {
	Status    Status `json:"status"`
	CourierID string `json:"courier_id,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// ReleaseRequest gives a delivery up. Repeating it is harmless, and so is releasing what never was.
type ReleaseRequest struct {
	Reason string `json:"reason,omitempty" validate:"max=200"`
}

// ReleaseResult says whether the order is without a courier now, or, the pick-up being the point of no return,
// that it is on its way. Exactly one of the two holds.
type ReleaseResult struct {
	Released bool `json:"released,omitempty"`
	PickedUp bool `json:"picked_up,omitempty"`
}

// Tracking is a delivery as its customer, its courier and the operator see it.
type Tracking struct {
	OrderID      string     `json:"order_id"`
	CustomerID   string     `json:"customer_id"`
	RestaurantID string     `json:"restaurant_id"`
	Status       Status     `json:"status"`
	Reason       string     `json:"reason,omitempty"`
	CourierID    string     `json:"courier_id,omitempty"`
	Courier      *geo.Point `json:"courier,omitempty"` // where the courier was last seen
	ETA          time.Time  `json:"eta,omitzero"`      // when it is expected at the door
	Ready        bool       `json:"ready"`             // the kitchen is done
	Pickup       Place      `json:"pickup"`
	Dropoff      Place      `json:"dropoff"`
	CourierNote  string     `json:"courier_note,omitempty"`
	RequestedAt  time.Time  `json:"requested_at"`
	AssignedAt   time.Time  `json:"assigned_at,omitzero"`
	PickedUpAt   time.Time  `json:"picked_up_at,omitzero"`
	DeliveredAt  time.Time  `json:"delivered_at,omitzero"`
}

// Offer is a delivery offered to a courier, who has until ExpiresAt to accept it.
type Offer struct {
	OrderID      string    `json:"order_id"`
	CustomerID   string    `json:"customer_id"`
	RestaurantID string    `json:"restaurant_id"`
	Pickup       Place     `json:"pickup"`
	Dropoff      Place     `json:"dropoff"`
	CourierNote  string    `json:"courier_note,omitempty"`
	ExpiresAt    time.Time `json:"expires_at"`
}

// Courier is a courier as the platform knows it.
type Courier struct {
	CourierID string     `json:"courier_id"`
	Online    bool       `json:"online"`
	Position  *geo.Point `json:"position,omitempty"`
	OrderID   string     `json:"order_id,omitempty"` // what is being carried or fetched
}

// CourierView is all that a courier's app shows: who I am, what I am offered, what I carry.
type CourierView struct {
	Courier  Courier   `json:"courier"`
	Offers   []Offer   `json:"offers"`
	Delivery *Tracking `json:"delivery,omitempty"`
}

// PresenceRequest says whether a courier works, and where. The position is needed to go online.
type PresenceRequest struct {
	Online *bool    `json:"online" validate:"required"`
	Lat    *float64 `json:"lat" validate:"required_with=Lon,omitempty,gte=-90,lte=90"`
	Lon    *float64 `json:"lon" validate:"required_with=Lat,omitempty,gte=-180,lte=180"`
}

// PositionRequest says where a courier is.
type PositionRequest struct {
	Lat *float64 `json:"lat" validate:"required,gte=-90,lte=90"`
	Lon *float64 `json:"lon" validate:"required,gte=-180,lte=180"`
}

// Client calls the delivery service.
type Client struct{ sidecar.Invoker }

// Dispatch starts the search for a courier. That there is none is a result, not an error.
func (c Client) Dispatch(ctx context.Context, order string, in DispatchRequest) (DispatchResult, error) {
	var out DispatchResult
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodPost, Path: path(order) + "/dispatch", In: in, Out: &out})
	return out, err
}

// Release gives the delivery of an order up, whether or not it was ever asked for. That it is picked up already
// is a result, not an error.
func (c Client) Release(ctx context.Context, order string, in ReleaseRequest) (ReleaseResult, error) {
	var out ReleaseResult
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodPost, Path: path(order) + "/release", In: in, Out: &out})
	return out, err
}

// Get gives the delivery of an order; problem.NotFound if it has none.
func (c Client) Get(ctx context.Context, order string) (Tracking, error) {
	var out Tracking
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodGet, Path: path(order), Out: &out})
	return out, err
}

func path(order string) string { return "/internal/deliveries/" + url.PathEscape(order) }
