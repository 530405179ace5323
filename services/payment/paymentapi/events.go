package paymentapi

import "github.com/dishmesh/dishmesh/services/internal/contract"

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

// Events is the contract of the payment's events.
var Events = contract.Must(
	contract.One[*Event](EventAuthorized),
	contract.One[*Event](EventDeclined),
	contract.One[*Event](EventCaptured),
	contract.One[*Event](EventVoided),
	contract.One[*Event](EventRefundRequested),
	contract.One[*Event](EventRefunded),
	contract.One[*Event](EventPaidOut),
)

// Lines are the postings of an event as the API shows them.
func (e *Event) Lines() []Posting {
	lines := make([]Posting, 0, len(e.GetPostings()))
	for _, p := range e.GetPostings() {
		lines = append(lines, Posting{Account: p.Account, Amount: p.Amount})
	}
	return lines
}

// Message is the bill as it stands in payment.authorized.
func (b Bill) Message() *Event_Bill {
	return &Event_Bill{Subtotal: b.Subtotal, DeliveryFee: b.DeliveryFee, SurgeFee: b.SurgeFee, Discount: b.Discount, Tax: b.Tax}
}

// Bill is the inverse of Bill.Message.
func (b *Event_Bill) Bill() Bill {
	return Bill{Subtotal: b.GetSubtotal(), DeliveryFee: b.GetDeliveryFee(), SurgeFee: b.GetSurgeFee(), Discount: b.GetDiscount(), Tax: b.GetTax()}
}
