package menuapi

import (
	"context"
	"net/http"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// Client calls the menu service from another service.
type Client struct{ sidecar.Invoker }

// lookupWithin bounds a lookup. Somebody who asks for a price waits for it, and whoever looks up may have an older menu
// to go by: it must be left with time to do so (see confirmWithin in pricingapi).
const lookupWithin = 2 * time.Second

// Lookup gives a restaurant and those of the items that it has, sold out or not; without item ids its whole menu.
// The problem is not-found for a restaurant that does not exist.
func (c Client) Lookup(ctx context.Context, req LookupRequest) (Menu, error) {
	var menu Menu
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodPost, Path: "/internal/menu/lookup", In: req, Out: &menu, Within: lookupWithin})
	return menu, err
}
