package restaurantapi

import "github.com/dishmesh/dishmesh/services/internal/contract"

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

// Events is the contract of the tickets' events.
var Events = contract.Must(
	contract.One[*TicketOpened](TypeTicketOpened),
	contract.One[*TicketAccepted](TypeTicketAccepted),
	contract.One[*TicketRejected](TypeTicketRejected),
	contract.One[*TicketReady](TypeTicketReady),
	contract.One[*TicketCancelled](TypeTicketCancelled),
	contract.One[*TicketBarred](TypeTicketBarred),
)

// Lines are the items as the API shows them.
func (m *TicketOpened) Lines() []Item {
	var items []Item
	for _, it := range m.GetItems() {
		items = append(items, Item{ItemID: it.ItemId, Name: it.Name, Quantity: int(it.Quantity), Options: it.Options})
	}
	return items
}

// Message is the item as it stands in restaurant.ticket-opened.
func (it Item) Message() *TicketOpened_Item {
	return &TicketOpened_Item{ItemId: it.ItemID, Name: it.Name, Quantity: int32(it.Quantity), Options: it.Options}
}
