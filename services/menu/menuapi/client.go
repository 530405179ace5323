package menuapi

import (
	"context"
	"net/http"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// Client calls the menu service from another service.
type Client struct{ sidecar.Invoker }

// Lookup gives a restaurant and those of the items that it has, sold out or not; without item ids its whole menu.
// The problem is not-found for a restaurant that does not exist.
func (c Client) Lookup(ctx context.Context, req LookupRequest) (Menu, error) {
	var menu Menu
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodPost, Path: "/internal/menu/lookup", In: req, Out: &menu})
	return menu, err
}
