package deliveryapi

import "time"

// Types of the events on the delivery topic, without their common prefix. The subject is the order's id.
const (
	TypeRequested          = "delivery.requested"
	TypeOffered            = "delivery.offered"
	TypeOfferDeclined      = "delivery.offer-declined"
	TypeOfferExpired       = "delivery.offer-expired"
	TypeCourierAssigned    = "delivery.courier-assigned"
	TypeCourierUnavailable = "delivery.courier-unavailable"
	TypeReleased           = "delivery.released"
	TypePickedUp           = "delivery.picked-up"
	TypeDelivered          = "delivery.delivered"
	// TypeBarred records that an order was released before its delivery was asked for; a dispatch that comes
	// later is answered as released. Nobody but the service needs to react.
	TypeBarred = "delivery.barred"
	// TypeLocationUpdated has a topic of its own (LocationEntity), for it is frequent and may be lost.
	TypeLocationUpdated = "delivery.location-updated"
)

// LocationEntity names the topic of TypeLocationUpdated: cloudevent.Topic(LocationEntity).
const LocationEntity = "delivery.location"

// Parties are in the data of every event on the delivery topic: those whom it concerns.
type Parties struct {
	OrderID      string `json:"order_id"`
	CustomerID   string `json:"customer_id"`
	RestaurantID string `json:"restaurant_id"`
}

// RequestedData is the data of TypeRequested.
type RequestedData struct {
	Parties
	Pickup      Place     `json:"pickup"`
	Dropoff     Place     `json:"dropoff"`
	CourierNote string    `json:"courier_note,omitempty"`
	Deadline    time.Time `json:"deadline"`
}

// OfferedData is the data of TypeOffered: one courier is asked, who has until ExpiresAt.
type OfferedData struct {
	Parties
	CourierID   string    `json:"courier_id"`
	ExpiresAt   time.Time `json:"expires_at"`
	Pickup      Place     `json:"pickup"`
	Dropoff     Place     `json:"dropoff"`
	CourierNote string    `json:"courier_note,omitempty"`
	Round       int       `json:"round"`    // of the widening search, from 1
	Distance    int       `json:"distance"` // courier to pick-up, metres as the crow flies
}

// OfferEndedData is the data of TypeOfferDeclined and TypeOfferExpired.
type OfferEndedData struct {
	Parties
	CourierID string `json:"courier_id"`
}

// CourierAssignedData is the data of TypeCourierAssigned. ETA is when the order is expected at the door.
type CourierAssignedData struct {
	Parties
	CourierID string    `json:"courier_id"`
	ETA       time.Time `json:"eta"`
}

// CourierUnavailableData is the data of TypeCourierUnavailable.
type CourierUnavailableData struct {
	Parties
	Reason string `json:"reason"`
}

// ReleasedData is the data of TypeReleased. CourierID is who had the order or an open offer of it, if anybody.
type ReleasedData struct {
	Parties
	CourierID string `json:"courier_id,omitempty"`
	Reason    string `json:"reason,omitempty"`
}

// PickedUpData is the data of TypePickedUp.
type PickedUpData struct {
	Parties
	CourierID string    `json:"courier_id"`
	ETA       time.Time `json:"eta"`
}

// DeliveredData is the data of TypeDelivered.
type DeliveredData struct {
	Parties
	CourierID string `json:"courier_id"`
}

// BarredData is the data of TypeBarred.
type BarredData struct {
	OrderID string `json:"order_id"`
	Reason  string `json:"reason,omitempty"`
}

// LocationUpdatedData is the data of TypeLocationUpdated, sent while a courier has an order.
type LocationUpdatedData struct {
	Parties
	CourierID string    `json:"courier_id"`
	Lat       float64   `json:"lat"`
	Lon       float64   `json:"lon"`
	ETA       time.Time `json:"eta"`
}
