package pricing

import (
	"context"

	"connectrpc.com/connect"

	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// calls serves the typed calls. Who calls was let in by the sidecar's access list or has the app's token: it is
// trusted to name the customer.
type calls struct{ s *Service }

// customerOf is what a typed call must say beyond the body of POST /v1/quotes.
type customerOf struct {
	CustomerID string `json:"customer_id" validate:"required,max=64"`
}

// MakeQuote implements pricingapi.PricingServiceHandler.
func (c calls) MakeQuote(ctx context.Context, r *connect.Request[pricingapi.MakeQuoteRequest]) (*connect.Response[pricingapi.MakeQuoteResponse], error) {
	q, err := c.makeQuote(ctx, r.Msg)
	c.s.quotes.WithLabelValues(outcome(err)).Inc()
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&pricingapi.MakeQuoteResponse{Quote: pricingapi.NewSignedQuote(q)}), nil
}

func (c calls) makeQuote(ctx context.Context, m *pricingapi.MakeQuoteRequest) (pricingapi.Quote, error) {
	if err := web.Validate(&customerOf{m.GetCustomerId()}); err != nil {
		return pricingapi.Quote{}, err
	}
	req := m.Request()
	if err := web.Validate(&req); err != nil {
		return pricingapi.Quote{}, err
	}
	return c.s.quote(ctx, m.GetCustomerId(), req)
}

// ConfirmQuote implements pricingapi.PricingServiceHandler.
func (c calls) ConfirmQuote(ctx context.Context, r *connect.Request[pricingapi.ConfirmQuoteRequest]) (*connect.Response[pricingapi.ConfirmQuoteResponse], error) {
	req := pricingapi.ConfirmRequest{Token: r.Msg.GetToken(), OrderID: r.Msg.GetOrderId(), CustomerID: r.Msg.GetCustomerId()}
	if err := web.Validate(&req); err != nil {
		return nil, err
	}
	q, err := c.s.confirm(ctx, req)
	c.s.confirms.WithLabelValues(outcome(err)).Inc()
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&pricingapi.ConfirmQuoteResponse{Quote: pricingapi.NewSignedQuote(q)}), nil
}

// ReleaseQuote implements pricingapi.PricingServiceHandler.
func (c calls) ReleaseQuote(ctx context.Context, r *connect.Request[pricingapi.ReleaseQuoteRequest]) (*connect.Response[pricingapi.ReleaseQuoteResponse], error) {
	req := pricingapi.ReleaseRequest{OrderID: r.Msg.GetOrderId()}
	if err := web.Validate(&req); err != nil {
		return nil, err
	}
	released, err := c.s.release(ctx, req.OrderID)
	if err != nil {
		return nil, err
	}
	return connect.NewResponse(&pricingapi.ReleaseQuoteResponse{Released: released}), nil
}
