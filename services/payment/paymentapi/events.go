package paymentapi

// The types of the payment's events, on the topic fooddelivery.payment. The stream is "payment", the aggregate's
// id is the order's.
const (
	EventAuthorized      = "payment.authorized"
	EventDeclined        = "payment.declined"
	EventCaptured        = "payment.captured"
	EventVoided          = "payment.voided"
	EventRefundRequested = "payment.refund-requested"
	EventRefunded        = "payment.refunded"
	EventPaidOut         = "payment.paid-out"
)

// Event is the payload of every payment event. Which fields are set depends on the type:
//
//	payment.authorized  customer, restaurant, amount, card, bill, acquirer_reference (an authorization)
//	payment.declined    the same and reason
//	payment.captured    amount, acquirer_reference (a capture)
//	payment.voided      amount, acquirer_reference (the authorization); amount 0: there was nothing to set free,
//	                    the payment was called off before it came about
//	payment.refund-requested  amount, reason: no money has moved yet
//	payment.refunded    amount, reason, acquirer_reference (a refund)
//	payment.paid-out    amount, courier, restaurant, payouts
//
// All but the first may lack the customer's id when the authorization itself was lost to the ledger and was found
// at the acquirer.
type Event struct {
	OrderID           string    `json:"order_id"`
	CustomerID        string    `json:"customer_id,omitempty"`
	RestaurantID      string    `json:"restaurant_id,omitempty"`
	CourierID         string    `json:"courier_id,omitempty"`
	Amount            int64     `json:"amount"` // minor units of Currency
	Currency          string    `json:"currency,omitempty"`
	Reason            string    `json:"reason,omitempty"`
	Card              string    `json:"card,omitempty"` // the last 4 characters of the token
	AcquirerReference string    `json:"acquirer_reference,omitempty"`
	Bill              *Bill     `json:"bill,omitempty"`
	Payouts           *Payouts  `json:"payouts,omitempty"`
	Postings          []Posting `json:"postings"` // what the event does to the ledger; they sum to zero
}

// Payouts is how a captured amount was shared out, in minor units: restaurant + courier + platform + tax −
// promotion is the amount.
type Payouts struct {
	Restaurant int64 `json:"restaurant"`
	Courier    int64 `json:"courier"`
	Platform   int64 `json:"platform"`
	Tax        int64 `json:"tax"`
	Promotion  int64 `json:"promotion"` // the discount, which the platform bears
}
