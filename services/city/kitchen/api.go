package kitchen

import (
	"context"
	"net/http"
	"net/url"

	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// list asks for the tickets in a state.
func (k *kitchen) list(ctx context.Context, state restaurantapi.Status) ([]restaurantapi.Ticket, error) {
	var l restaurantapi.TicketList
	path := "/v1/restaurants/" + url.PathEscape(k.restaurant) + "/tickets?state=" + string(state)
	err := k.api.Do(ctx, http.MethodGet, path, nil, &l)
	return l.Tickets, err
}

// post changes a ticket. A repeat does no harm: a change that was made already is answered with 409.
func (k *kitchen) post(ctx context.Context, order string, a action) error {
	var body any // ready takes none
	switch a {
	case accept:
		body = restaurantapi.AcceptRequest{PrepMinutes: k.prepMinutes(order)}
	case reject:
		body = restaurantapi.RejectRequest{Reason: "the kitchen can't make this tonight"}
	}
	path := "/v1/tickets/" + url.PathEscape(order) + "/" + string(a)
	return k.api.Do(ctx, http.MethodPost, path, body, nil, publicapi.Retry(callRetries))
}
