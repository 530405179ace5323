package restaurantapi

import "time"

// Types of the events on the restaurant topic, without their common prefix. The subject is the order's id.
const (
	TypeTicketOpened    = "restaurant.ticket-opened"
	TypeTicketAccepted  = "restaurant.ticket-accepted"
	TypeTicketRejected  = "restaurant.ticket-rejected"
	TypeTicketReady     = "restaurant.ticket-ready"
	TypeTicketCancelled = "restaurant.ticket-cancelled"
	// TypeTicketBarred records that an order was cancelled before its ticket came; a ticket that comes later
	// is answered as cancelled. Nobody but the service needs to react.
	TypeTicketBarred = "restaurant.ticket-barred"
)

// TicketOpened is the data of TypeTicketOpened: the kitchen has to answer until the deadline.
type TicketOpened struct {
	OrderID      string    `json:"order_id"`
	RestaurantID string    `json:"restaurant_id"`
	CustomerID   string    `json:"customer_id"`
	Items        []Item    `json:"items"`
	Note         string    `json:"note,omitempty"`
	Deadline     time.Time `json:"deadline"`
}

// TicketAccepted is the data of TypeTicketAccepted.
type TicketAccepted struct {
	OrderID      string `json:"order_id"`
	RestaurantID string `json:"restaurant_id"`
	CustomerID   string `json:"customer_id"`
	PrepMinutes  int    `json:"prep_minutes"`
}

// TicketRejected is the data of TypeTicketRejected. It is the first event of a ticket that was refused at once.
type TicketRejected struct {
	OrderID      string `json:"order_id"`
	RestaurantID string `json:"restaurant_id"`
	CustomerID   string `json:"customer_id"`
	Reason       string `json:"reason"`
}

// TicketReady is the data of TypeTicketReady: the food can be fetched.
type TicketReady struct {
	OrderID      string `json:"order_id"`
	RestaurantID string `json:"restaurant_id"`
	CustomerID   string `json:"customer_id"`
}

// TicketCancelled is the data of TypeTicketCancelled.
type TicketCancelled struct {
	OrderID      string `json:"order_id"`
	RestaurantID string `json:"restaurant_id"`
	CustomerID   string `json:"customer_id"`
	Reason       string `json:"reason"`
}

// TicketBarred is the data of TypeTicketBarred.
type TicketBarred struct {
	OrderID string `json:"order_id"`
	Reason  string `json:"reason"`
}
