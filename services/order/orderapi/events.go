package orderapi

import (
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/order/orderapi/orderv2"
)

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

// Events is the contract of the order's events.
var Events = contract.Must(
	contract.One[*PlacedEvent](EventPlaced),
	contract.One[*AcceptedEvent](EventAccepted),
	contract.One[*EndedEvent](EventRejected),
	contract.One[*PickedUpEvent](EventPickedUp),
	contract.Event{Name: EventDelivered, Versions: []contract.Version{
		contract.Older(deliveredUp, deliveredDown),
		contract.Newest[*orderv2.DeliveredEvent](),
	}},
	contract.One[*CancelEvent](EventCancelRequested),
	contract.One[*CancelEvent](EventCancelRefused),
	contract.One[*EndedEvent](EventCancelled),
	contract.One[*EndedEvent](EventFailed),
)

// deliveredUp gathers the parts of the bill, which version 1 had among the ids.
func deliveredUp(m *DeliveredEvent) *orderv2.DeliveredEvent {
	return &orderv2.DeliveredEvent{
		OrderId: m.OrderId, CustomerId: m.CustomerId, RestaurantId: m.RestaurantId, CourierId: m.CourierId,
		Bill: &orderv2.Bill{Currency: m.Currency, Subtotal: m.Subtotal, DeliveryFee: m.DeliveryFee, SurgeFee: m.SurgeFee,
			Discount: m.Discount, Tax: m.Tax, Total: m.Total},
	}
}

func deliveredDown(m *orderv2.DeliveredEvent) *DeliveredEvent {
	b := m.GetBill()
	return &DeliveredEvent{
		OrderId: m.OrderId, CustomerId: m.CustomerId, RestaurantId: m.RestaurantId, CourierId: m.CourierId,
		Currency: b.GetCurrency(), Subtotal: b.GetSubtotal(), DeliveryFee: b.GetDeliveryFee(), SurgeFee: b.GetSurgeFee(),
		Discount: b.GetDiscount(), Tax: b.GetTax(), Total: b.GetTotal(),
	}
}

// Message is the bill as it stands in version 2 of order.delivered.
func (b Bill) Message() *orderv2.Bill {
	return &orderv2.Bill{Currency: b.Currency, Subtotal: b.Subtotal, DeliveryFee: b.DeliveryFee, SurgeFee: b.SurgeFee,
		Discount: b.Discount, Tax: b.Tax, Total: b.Total}
}

// Bill is what the order costs.
func (m *PlacedEvent) Bill() Bill {
	return Bill{Currency: m.Currency, Subtotal: m.Subtotal, DeliveryFee: m.DeliveryFee, SurgeFee: m.SurgeFee,
		Discount: m.Discount, Tax: m.Tax, Total: m.Total}
}

// Lines are the items as the API shows them.
func (m *PlacedEvent) Lines() []Item {
	var items []Item
	for _, it := range m.GetItems() {
		items = append(items, Item{ItemID: it.ItemId, Name: it.Name, Quantity: int(it.Quantity), Options: it.Options,
			UnitPrice: it.UnitPrice, Total: it.Total})
	}
	return items
}

// Message is the item as it stands in order.placed.
func (it Item) Message() *PlacedEvent_Item {
	return &PlacedEvent_Item{ItemId: it.ItemID, Name: it.Name, Quantity: int32(it.Quantity), Options: it.Options,
		UnitPrice: it.UnitPrice, Total: it.Total}
}

// Place is the stop as the API shows it.
func (s *Stop) Place() Place { return Place{Lat: s.GetLat(), Lon: s.GetLon(), Address: s.GetAddress()} }

// Message is the place as it stands in the events.
func (p Place) Message() *Stop { return &Stop{Lat: p.Lat, Lon: p.Lon, Address: p.Address} }
