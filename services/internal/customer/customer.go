// Package customer is a demo customer of the platform: it has an account, chooses dishes, orders them and follows
// the order, all through the public API. The commands order, load and bench are made of it.
package customer

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// Customer is an account that is logged in. It is safe for use by several goroutines.
type Customer struct {
	API  *publicapi.Client
	User publicapi.User
	// Patience is how long a request is repeated while the platform does not answer or says that it can't just now.
	Patience time.Duration
	// Retried hears of each answer that led to a repetition; nil: nobody does.
	Retried func(error)
}

// Quote asks what a basket costs.
func (c *Customer) Quote(ctx context.Context, in pricingapi.QuoteRequest) (pricingapi.Quote, error) {
	var q pricingapi.Quote
	err := c.persist(ctx, func() error { return c.API.Do(ctx, http.MethodPost, "/v1/quotes", in, &q) })
	return q, err
}

// Place places an order. The key is what makes it safe to repeat the request after a time-out or a crash: however
// often it is sent, there is one order.
func (c *Customer) Place(ctx context.Context, key string, in orderapi.PlaceRequest) (orderapi.Order, error) {
	var o orderapi.Order
	err := c.persist(ctx, func() error {
		return c.API.Do(ctx, http.MethodPost, "/v1/orders", in, &o, publicapi.IdempotencyKey(key))
	})
	return o, err
}

// Cancel asks to cancel an order. After pick-up the answer is problem.TooLate.
func (c *Customer) Cancel(ctx context.Context, id, reason string) (orderapi.Order, error) {
	var o orderapi.Order
	err := c.persist(ctx, func() error {
		return c.API.Do(ctx, http.MethodPost, "/v1/orders/"+id+"/cancel", orderapi.CancelRequest{Reason: reason}, &o)
	})
	return o, err
}

// Order reads an order.
func (c *Customer) Order(ctx context.Context, id string) (orderapi.Order, error) {
	var o orderapi.Order
	err := c.persist(ctx, func() error { return c.API.Do(ctx, http.MethodGet, "/v1/orders/"+id, nil, &o) })
	return o, err
}

// persist repeats f with growing, jittered pauses (0.1 to 2 s) until it succeeds, is refused for good, or the
// customer's patience is at its end.
func (c *Customer) persist(ctx context.Context, f func() error) error {
	return persist(ctx, c.Patience, c.Retried, f)
}

func persist(ctx context.Context, patience time.Duration, retried func(error), f func() error) error {
	end := time.Now().Add(patience)
	for pause := 100 * time.Millisecond; ; pause = min(2*time.Second, 2*pause) {
		err := f()
		if err == nil || ctx.Err() != nil || problem.Permanent(err) {
			return err
		}
		wait := pause/2 + rand.N(pause/2)
		var p *problem.Error
		if !errors.As(err, &p) {
			return err // no answer of the platform: a fault of this program
		}
		wait = max(wait, p.RetryAfter)
		if time.Now().Add(wait).After(end) {
			return err
		}
		if retried != nil {
			retried(err)
		}
		if !publicapi.Sleep(ctx, wait) {
			return err
		}
	}
}
