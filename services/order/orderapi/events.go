package orderapi

// The types of the order's events, on the topic fooddelivery.order.
const (
	EventPlaced          = "order.placed"
	EventAccepted        = "order.accepted"
	EventRejected        = "order.rejected"
	EventPickedUp        = "order.picked-up"
	EventDelivered       = "order.delivered"
	EventCancelRequested = "order.cancel-requested"
	EventCancelRefused   = "order.cancel-refused"
	EventCancelled       = "order.cancelled"
	EventFailed          = "order.failed"
)

// PlacedEvent is the payload of order.placed. It holds no card data.
type PlacedEvent struct {
	OrderID        string `json:"order_id"`
	CustomerID     string `json:"customer_id"`
	RestaurantID   string `json:"restaurant_id"`
	RestaurantName string `json:"restaurant_name"`
	QuoteID        string `json:"quote_id"`
	Items          []Item `json:"items"`
	Bill
	Promotion   string `json:"promotion,omitempty"`
	Note        string `json:"note,omitempty"`
	CourierNote string `json:"courier_note,omitempty"`
	Pickup      Place  `json:"pickup"`
	Dropoff     Place  `json:"dropoff"`
	RequestHash string `json:"request_hash"` // SHA-256 of the request, to tell a repeat from a reuse of the key
}

// AcceptedEvent is the payload of order.accepted.
type AcceptedEvent struct {
	OrderID      string `json:"order_id"`
	CustomerID   string `json:"customer_id"`
	RestaurantID string `json:"restaurant_id"`
	PrepMinutes  int    `json:"prep_minutes"`
}

// PickedUpEvent is the payload of order.picked-up.
type PickedUpEvent struct {
	OrderID      string `json:"order_id"`
	CustomerID   string `json:"customer_id"`
	RestaurantID string `json:"restaurant_id"`
	CourierID    string `json:"courier_id"`
}

// DeliveredEvent is the payload of order.delivered; the payout follows from it.
type DeliveredEvent struct {
	OrderID      string `json:"order_id"`
	CustomerID   string `json:"customer_id"`
	RestaurantID string `json:"restaurant_id"`
	CourierID    string `json:"courier_id"`
	Bill
}

// CancelEvent is the payload of order.cancel-requested and order.cancel-refused.
type CancelEvent struct {
	OrderID    string `json:"order_id"`
	CustomerID string `json:"customer_id"`
	Reason     string `json:"reason,omitempty"`
}

// EndedEvent is the payload of order.rejected, order.cancelled and order.failed. Status is the terminal state
// that the order takes.
type EndedEvent struct {
	OrderID      string `json:"order_id"`
	CustomerID   string `json:"customer_id"`
	RestaurantID string `json:"restaurant_id"`
	Status       Status `json:"status"`
	Reason       string `json:"reason"`
	Detail       string `json:"detail,omitempty"`
}
