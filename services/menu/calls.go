package menu

import (
	"context"
	"slices"

	"connectrpc.com/connect"

	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

// calls serves the typed calls.
type calls struct{ s *Service }

// lookup is what is asked of a lookup, in the words of the validator.
type lookup struct {
	RestaurantID string   `json:"restaurant_id" validate:"required,max=40"`
	ItemIDs      []string `json:"item_ids" validate:"max=100,dive,required,max=40"`
}

// LookupMenu implements menuapi.MenuServiceHandler.
func (c calls) LookupMenu(_ context.Context, r *connect.Request[menuapi.LookupMenuRequest]) (*connect.Response[menuapi.LookupMenuResponse], error) {
	req := lookup{r.Msg.GetRestaurantId(), r.Msg.GetItemIds()}
	if err := web.Validate(&req); err != nil {
		return nil, err
	}
	e, err := c.s.restaurant(req.RestaurantID)
	if err != nil {
		return nil, err
	}
	menu := e.menu(c.s.now())
	if len(req.ItemIDs) > 0 {
		var items []menuapi.Item
		for _, i := range menu.Items {
			if slices.Contains(req.ItemIDs, i.ID) {
				items = append(items, i)
			}
		}
		menu.Items = items
	}
	return connect.NewResponse(menuapi.NewLookupMenuResponse(menu)), nil
}
