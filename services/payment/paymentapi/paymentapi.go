// Package paymentapi is the contract of the payment service: its wire types, its events and its client.
package paymentapi

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// App is the service's app id.
const App = "payment"

// Status is where the payment of an order stands.
type Status string

// The states of a payment. Voided, declined, refunded and paid_out are final.
const (
	None       Status = ""           // nothing has happened yet
	Authorized Status = "authorized" // the amount is held on the card
	Declined   Status = "declined"   // the issuer said no
	Captured   Status = "captured"   // the money is ours to pass on
	Voided     Status = "voided"     // the hold was set free, or the payment was called off before there was one
	Refunding  Status = "refunding"  // it is being given back; nothing else may be done with it
	Refunded   Status = "refunded"   // all of it was given back
	PaidOut    Status = "paid_out"   // shared out between restaurant, courier, platform and tax
)

// Step names a command; <order id>/<step> is its idempotency key, here and at the acquirer.
type Step string

// The steps.
const (
	StepAuthorize Step = "authorize"
	StepCapture   Step = "capture"
	StepVoid      Step = "void"
	StepRefund    Step = "refund"
)

// Key is the idempotency key of a step of an order.
func Key(order string, step Step) string { return order + "/" + string(step) }

// Bill is how an amount comes about, in minor units of its currency: amount = subtotal + delivery_fee + surge_fee
// − discount. Tax is contained in the amount. The payout is made by it.
type Bill struct {
	Subtotal    int64 `json:"subtotal" validate:"gte=0,lte=100000000"`
	DeliveryFee int64 `json:"delivery_fee" validate:"gte=0,lte=100000000"`
	SurgeFee    int64 `json:"surge_fee" validate:"gte=0,lte=100000000"`
	Discount    int64 `json:"discount" validate:"gte=0,lte=100000000"`
	Tax         int64 `json:"tax" validate:"gte=0,lte=100000000"`
}

// AuthorizeRequest is the body of POST /internal/payments/{order}/authorize.
type AuthorizeRequest struct {
	Amount       int64  `json:"amount" validate:"gt=0,lte=99999999"` // minor units; the acquirer takes eight digits
	Currency     string `json:"currency" validate:"len=3,uppercase"`
	Card         string `json:"card" validate:"required,max=64,printascii"` // a token; kept are its last 4 characters
	CustomerID   string `json:"customer_id" validate:"required,max=64"`
	RestaurantID string `json:"restaurant_id" validate:"required,max=64"`
	Bill
}

// RefundRequest is the body of POST /internal/payments/{order}/refund.
type RefundRequest struct {
	Reason string `json:"reason" validate:"max=500"`
}

// Result answers a command. A refusal of the card is a result (declined, with its reason), never an error.
type Result struct {
	Status Status `json:"status"`
	Reason string `json:"reason,omitempty"`
}

// Posting is one line of the ledger: a debit of an account if the amount is positive, else a credit, in minor
// units. The postings of an event sum to zero.
type Posting struct {
	Account string `json:"account"`
	Amount  int64  `json:"amount"`
}

// Entry is what one event did to the ledger.
type Entry struct {
	Sequence          int       `json:"sequence"`
	Type              string    `json:"type"` // such as payment.captured
	Time              time.Time `json:"time"`
	Amount            int64     `json:"amount"`
	AcquirerReference string    `json:"acquirer_reference,omitempty"`
	Reason            string    `json:"reason,omitempty"`
	Postings          []Posting `json:"postings"`
}

// Payment answers GET /v1/payments/{order} and GET /internal/payments/{order}: where the payment stands and the
// whole journal behind it, oldest first.
type Payment struct {
	OrderID      string    `json:"order_id"`
	CustomerID   string    `json:"customer_id,omitempty"`
	RestaurantID string    `json:"restaurant_id,omitempty"`
	Status       Status    `json:"status"`
	Reason       string    `json:"reason,omitempty"`
	Currency     string    `json:"currency,omitempty"`
	Amount       int64     `json:"amount"`
	Card         string    `json:"card,omitempty"` // the last 4 characters of the token
	Version      int       `json:"version"`
	Journal      []Entry   `json:"journal"`
	Balances     []Posting `json:"balances"` // of the accounts, over the journal; those at zero are left out
}

// Client calls the payment service.
type Client struct{ sidecar.Invoker }

// Authorize holds the amount on the card. A declined card is a Result.
func (c Client) Authorize(ctx context.Context, order string, r AuthorizeRequest) (Result, error) {
	return c.do(ctx, order, StepAuthorize, r)
}

// Capture takes the money that is held.
func (c Client) Capture(ctx context.Context, order string) (Result, error) {
	return c.do(ctx, order, StepCapture, nil)
}

// Void sets free what is held. It may come when nothing is held, and holds against an authorization that comes
// late.
func (c Client) Void(ctx context.Context, order string) (Result, error) {
	return c.do(ctx, order, StepVoid, nil)
}

// Refund gives back what was captured; if nothing was, it sets free what is held.
func (c Client) Refund(ctx context.Context, order, reason string) (Result, error) {
	return c.do(ctx, order, StepRefund, RefundRequest{Reason: reason})
}

// Get reads the payment of an order with its journal.
func (c Client) Get(ctx context.Context, order string) (Payment, error) {
	var p Payment
	err := c.Invoke(ctx, sidecar.Call{App: App, Method: http.MethodGet, Path: path(order), Out: &p})
	return p, err
}

func (c Client) do(ctx context.Context, order string, step Step, in any) (Result, error) {
	var r Result
	err := c.Invoke(ctx, sidecar.Call{
		App: App, Method: http.MethodPost, Path: path(order) + "/" + string(step), In: in, Out: &r,
		Header: http.Header{web.IdempotencyKeyHeader: {Key(order, step)}},
	})
	return r, err
}

func path(order string) string { return "/internal/payments/" + url.PathEscape(order) }
