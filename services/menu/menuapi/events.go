package menuapi

// Types of the events on topic fooddelivery.menu, without the common prefix. The subject is the restaurant.
const (
	MenuPublished   = "menu.published"
	MenuItemChanged = "menu.item-changed"
)

// Published is the payload of menu.published: the restaurant and all that it offers from now on.
type Published struct {
	RestaurantID string     `json:"restaurant_id"`
	Name         string     `json:"name"`
	Restaurant   Restaurant `json:"restaurant"`
	Items        []Item     `json:"items"`
}

// ItemChanged is the payload of menu.item-changed: the price and availability that hold from now on.
type ItemChanged struct {
	RestaurantID string `json:"restaurant_id"`
	ItemID       string `json:"item_id"`
	Price        int64  `json:"price"`
	Available    bool   `json:"available"`
}
