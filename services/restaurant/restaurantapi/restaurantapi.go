// Package restaurantapi is the contract of the restaurant service: the tickets that kitchens work by, its events,
// and the calls that other services make.
package restaurantapi

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// App is the Dapr app id of the service.
const App = "restaurant"

// Stream is the name of the tickets' event streams, as it stands in the ids of their events.
const Stream = "ticket"

// Status is where a ticket stands.
type Status string

// The states of a ticket. Rejected and Cancelled are final; Ready ends the kitchen's part.
const (
	Open      Status = "open"
	Accepted  Status = "accepted"
	Ready     Status = "ready"
	Rejected  Status = "rejected"
	Cancelled Status = "cancelled"
)

// Reasons of a rejection that the service gives itself; a kitchen writes its own.
const (
	ReasonClosed   = "closed"      // outside the opening hours
	ReasonPaused   = "paused"      // the kitchen takes no orders for now
	ReasonCapacity = "at_capacity" // as many tickets are open or accepted as the kitchen can do
	ReasonTimeout  = "timeout"     // nobody answered before the deadline
)

// Item is a line of a ticket, as the kitchen reads it.
type Item struct {
	ItemID   string   `json:"item_id" validate:"required,max=64"`
	Name     string   `json:"name" validate:"required,max=200"`
	Quantity int      `json:"quantity" validate:"min=1,max=1000"`
	Options  []string `json:"options,omitempty" validate:"max=50,dive,max=200"`
}

// OpenRequest asks a kitchen to cook an order. Repeating it is harmless.
type OpenRequest struct {
	RestaurantID string    `json:"restaurant_id" validate:"required,max=64"`
	CustomerID   string    `json:"customer_id" validate:"required,max=64"`
	Items        []Item    `json:"items" validate:"required,min=1,max=200,dive"`
	Note         string    `json:"note,omitempty" validate:"max=1000"`
	Deadline     time.Time `json:"deadline,omitzero"` // until when the kitchen must answer; zero: the service's default
}

// OpenResult says where the ticket stands: Open at first, Rejected with a reason if the kitchen can't take it,
// Cancelled if the cancellation was here first, and whatever it has become when the call is repeated.
type OpenResult struct {
	Status Status `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// CancelRequest withdraws a ticket. Repeating it is harmless, and so is cancelling what never was.
type CancelRequest struct {
	Reason string `json:"reason" validate:"required,max=200"`
}

// CancelResult says how the ticket ended: Cancelled, or Rejected if the kitchen had said no before.
type CancelResult struct {
	Status Status `json:"status"`
}

// AcceptRequest is a kitchen's yes. PrepMinutes is how long it will take.
type AcceptRequest struct {
	PrepMinutes int `json:"prep_minutes" validate:"required,min=1,max=180"`
}

// RejectRequest is a kitchen's no.
type RejectRequest struct {
	Reason string `json:"reason" validate:"required,max=200"`
}

// Ticket is an order as the kitchen sees it.
type Ticket struct {
	OrderID      string    `json:"order_id"`
	RestaurantID string    `json:"restaurant_id"`
	CustomerID   string    `json:"customer_id"`
	Status       Status    `json:"status"`
	Reason       string    `json:"reason,omitempty"`
	Items        []Item    `json:"items,omitempty"`
	Note         string    `json:"note,omitempty"`
	PrepMinutes  int       `json:"prep_minutes,omitempty"`
	OpenedAt     time.Time `json:"opened_at"`
	Deadline     time.Time `json:"deadline,omitzero"`
	AcceptedAt   time.Time `json:"accepted_at,omitzero"`
	ReadyAt      time.Time `json:"ready_at,omitzero"`
	EndedAt      time.Time `json:"ended_at,omitzero"` // rejected or cancelled
}

// TicketList is the answer to a kitchen's question what there is to do, the oldest first.
type TicketList struct {
	Tickets []Ticket `json:"tickets"`
}

// Opening is a span of a week in which a kitchen takes orders. A span whose Close is not after its Open ends on
// the next day; 00:00 to 24:00 is the whole day.
type Opening struct {
	Day   string `json:"day" validate:"required,oneof=mon tue wed thu fri sat sun"`
	Open  string `json:"open" validate:"required,len=5"`
	Close string `json:"close" validate:"required,len=5"`
}

// Hours are a kitchen's opening hours. An empty list means that it never closes.
type Hours struct {
	Timezone string    `json:"timezone" validate:"required,max=64"` // IANA name, such as Europe/Berlin
	Openings []Opening `json:"openings" validate:"max=50,dive"`
}

// Capacity is how many tickets a kitchen works on at a time, open and accepted, and whether it takes any.
type Capacity struct {
	Capacity int  `json:"capacity" validate:"min=1,max=10000"`
	Paused   bool `json:"paused"`
}

// Kitchen is what a restaurant has set, and how busy it is.
type Kitchen struct {
	RestaurantID string `json:"restaurant_id"`
	Hours        Hours  `json:"hours"`
	Capacity
	Active int `json:"active"` // tickets that count against the capacity
}

// Client calls the restaurant service.
type Client struct{ sidecar.Invoker }

// Open opens the ticket of an order. That the kitchen can't take it is a result, not an error.
func (c Client) Open(ctx context.Context, order string, in OpenRequest) (OpenResult, error) {
	var out OpenResult
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodPost, Path: path(order) + "/open", In: in, Out: &out})
	return out, err
}

// Cancel withdraws the ticket of an order, whether or not it was ever opened.
func (c Client) Cancel(ctx context.Context, order string, in CancelRequest) (CancelResult, error) {
	var out CancelResult
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodPost, Path: path(order) + "/cancel", In: in, Out: &out})
	return out, err
}

// Get gives the ticket of an order; problem.NotFound if it has none.
func (c Client) Get(ctx context.Context, order string) (Ticket, error) {
	var out Ticket
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodGet, Path: path(order), Out: &out})
	return out, err
}

func path(order string) string { return "/internal/tickets/" + url.PathEscape(order) }
