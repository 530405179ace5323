package pricingapi

import (
	"context"
	"net/http"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// Client calls the pricing service from another service.
type Client struct{ sidecar.Invoker }

// confirmWithin bounds a confirmation. A customer waits for it at the gateway, which gives up after 5 s: the caller
// must be told before that, or it could not tell the customer.
const confirmWithin = 3 * time.Second

// Quote asks for a quote on behalf of a customer.
func (c Client) Quote(ctx context.Context, customerID string, req QuoteRequest) (Quote, error) {
	h := http.Header{}
	web.Identity{Subject: customerID, Role: web.RoleCustomer}.Set(h)
	var q Quote
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodPost, Path: "/v1/quotes", Header: h, In: req, Out: &q, Within: confirmWithin})
	return q, err
}

// Confirm checks that a quote is genuine, the customer's, not expired and still right, and redeems its promotion
// for the order, once. The same order may confirm again and gets the same answer. The problems are quote-invalid,
// quote-not-yours, quote-expired, price-changed, item-unavailable, promotion-invalid and promotion-exhausted.
func (c Client) Confirm(ctx context.Context, req ConfirmRequest) (Quote, error) {
	var q Quote
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodPost, Path: "/internal/quotes/confirm", In: req, Out: &q, Within: confirmWithin})
	return q, err
}

// Release gives the promotion back that an order redeemed; an order without one, or released before, is no error.
func (c Client) Release(ctx context.Context, req ReleaseRequest) (ReleaseResult, error) {
	var res ReleaseResult
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodPost, Path: "/internal/quotes/release", In: req, Out: &res})
	return res, err
}
