package pricingapi

import (
	"context"
	"time"

	"connectrpc.com/connect"

	"github.com/dishmesh/dishmesh/services/internal/rpc"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// Client calls the pricing service from another service, through the sidecar. From elsewhere, use
// NewPricingServiceClient.
type Client struct {
	hurried PricingServiceClient // for what somebody waits for
	patient PricingServiceClient
}

// confirmWithin bounds a confirmation. A customer waits for it at the gateway, which gives up after 5 s: the caller
// must be told before that, or it could not tell the customer.
const confirmWithin = 3 * time.Second

// NewClient gives a client that goes through the sidecar of invoker.
func NewClient(invoker sidecar.Invoker) Client {
	return Client{
		hurried: NewPricingServiceClient(rpc.Door{Invoker: invoker, App: App, Within: confirmWithin}, "", rpc.ClientOptions()),
		patient: NewPricingServiceClient(rpc.Door{Invoker: invoker, App: App}, "", rpc.ClientOptions()),
	}
}

// Quote asks for a quote on behalf of a customer.
func (c Client) Quote(ctx context.Context, customerID string, req QuoteRequest) (Quote, error) {
	resp, err := c.hurried.MakeQuote(ctx, connect.NewRequest(NewMakeQuoteRequest(customerID, req)))
	if err != nil {
		return Quote{}, rpc.Problem(err)
	}
	return resp.Msg.GetQuote().Quote(), nil
}

// Confirm checks that a quote is genuine, the customer's, not expired and still right, and redeems its promotion
// for the order, once. The same order may confirm again and gets the same answer. The problems are quote-invalid,
// quote-not-yours, quote-expired, price-changed, item-unavailable, promotion-invalid and promotion-exhausted.
func (c Client) Confirm(ctx context.Context, req ConfirmRequest) (Quote, error) {
	resp, err := c.hurried.ConfirmQuote(ctx, connect.NewRequest(&ConfirmQuoteRequest{Token: req.Token, OrderId: req.OrderID, CustomerId: req.CustomerID}))
	if err != nil {
		return Quote{}, rpc.Problem(err)
	}
	return resp.Msg.GetQuote().Quote(), nil
}

// Release gives the promotion back that an order redeemed; an order without one, or released before, is no error.
func (c Client) Release(ctx context.Context, req ReleaseRequest) (ReleaseResult, error) {
	resp, err := c.patient.ReleaseQuote(ctx, connect.NewRequest(&ReleaseQuoteRequest{OrderId: req.OrderID}))
	if err != nil {
		return ReleaseResult{}, rpc.Problem(err)
	}
	return ReleaseResult{Released: resp.Msg.GetReleased()}, nil
}
