package deliveryapi

import (
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/geo"
)

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

// Events is the contract of the deliveries' events.
var Events = contract.Must(
	contract.One[*RequestedData](TypeRequested),
	contract.One[*OfferedData](TypeOffered),
	contract.One[*OfferEndedData](TypeOfferDeclined),
	contract.One[*OfferEndedData](TypeOfferExpired),
	contract.One[*CourierAssignedData](TypeCourierAssigned),
	contract.One[*CourierUnavailableData](TypeCourierUnavailable),
	contract.One[*ReleasedData](TypeReleased),
	contract.One[*PickedUpData](TypePickedUp),
	contract.One[*DeliveredData](TypeDelivered),
	contract.One[*BarredData](TypeBarred),
	contract.Event{Name: TypeLocationUpdated, Entity: LocationEntity, Versions: []contract.Version{
		contract.Newest[*LocationUpdatedData](),
	}},
)

// Parties are those whom a delivery concerns. Every event on the delivery topic names them.
type Parties struct {
	OrderID      string `json:"order_id"`
	CustomerID   string `json:"customer_id"`
	RestaurantID string `json:"restaurant_id"`
}

// Place is the stop as the API shows it.
func (s *Stop) Place() Place {
	return Place{Point: geo.Point{Lat: s.GetLat(), Lon: s.GetLon()}, Address: s.GetAddress()}
}

// Message is the place as it stands in the events.
func (p Place) Message() *Stop { return &Stop{Lat: p.Lat, Lon: p.Lon, Address: p.Address} }
