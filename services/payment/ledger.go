package payment

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dishmesh/dishmesh/services/internal/money"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// The chart of accounts. A positive posting is a debit, a negative one a credit; the two sides of every event sum
// to zero. What is held on a card is no money yet: it stands in a pair of accounts of its own.
//
//	account                   kind       balance says
//	acquirer:held             memo       what cards hold for us: authorized, neither captured nor voided
//	order:<id>:held           memo       the same by order, credit; zero once captured or voided
//	acquirer:receivable       asset      captured money that the acquirer owes us, less refunds
//	order:<id>:clearing       liability  captured money of an order that nobody has been given yet; zero at its end
//	restaurant:<id>:payable   liability  what we owe a restaurant: dishes less tax and commission
//	courier:<id>:payable      liability  what we owe a courier: delivery and surge fee less tax
//	tax:vat                   liability  what we owe the tax office; the platform remits for everybody
//	platform:revenue          income     the commission
//	platform:promotions       expense    discounts, which the platform bears
//
//	event      debit                                       credit
//	authorized acquirer:held                               order:held
//	voided     order:held                                  acquirer:held
//	captured   order:held, acquirer:receivable             acquirer:held, order:clearing
//	refunded   order:clearing                              acquirer:receivable
//	paid-out   order:clearing, platform:promotions         restaurant, courier, tax:vat, platform:revenue
const (
	accountHeld       = "acquirer:held"
	accountReceivable = "acquirer:receivable"
	accountTax        = "tax:vat"
	accountRevenue    = "platform:revenue"
	accountPromotions = "platform:promotions"
)

func orderHeld(order string) string              { return "order:" + order + ":held" }
func orderClearing(order string) string          { return "order:" + order + ":clearing" }
func restaurantPayable(restaurant string) string { return "restaurant:" + restaurant + ":payable" }
func courierPayable(courier string) string       { return "courier:" + courier + ":payable" }

// transfer debits one account and credits another.
func transfer(debit, credit string, amount int64) []*paymentapi.Event_Posting {
	if amount == 0 {
		return nil
	}
	return []*paymentapi.Event_Posting{{Account: debit, Amount: amount}, {Account: credit, Amount: -amount}}
}

func postAuthorized(order string, amount int64) []*paymentapi.Event_Posting {
	return transfer(accountHeld, orderHeld(order), amount)
}

func postVoided(order string, amount int64) []*paymentapi.Event_Posting {
	return transfer(orderHeld(order), accountHeld, amount)
}

func postCaptured(order string, amount int64) []*paymentapi.Event_Posting {
	return append(transfer(orderHeld(order), accountHeld, amount), transfer(accountReceivable, orderClearing(order), amount)...)
}

func postRefunded(order string, amount int64) []*paymentapi.Event_Posting {
	return transfer(orderClearing(order), accountReceivable, amount)
}

func postPaidOut(order, restaurant, courier string, amount int64, p *paymentapi.Event_Payouts) []*paymentapi.Event_Posting {
	postings := []*paymentapi.Event_Posting{
		{Account: orderClearing(order), Amount: amount},
		{Account: accountPromotions, Amount: p.Promotion},
		{Account: restaurantPayable(restaurant), Amount: -p.Restaurant},
		{Account: courierPayable(courier), Amount: -p.Courier},
		{Account: accountTax, Amount: -p.Tax},
		{Account: accountRevenue, Amount: -p.Platform},
	}
	return slices.DeleteFunc(postings, func(p *paymentapi.Event_Posting) bool { return p.Amount == 0 })
}

// split shares out a captured amount. The tax that the amount contains falls on dishes and delivery by their
// share of the undiscounted price. The restaurant gets its dishes less tax and commission, the courier delivery
// and surge fee less tax, the platform the rest, and it bears the discount. Nobody's part is negative and the
// parts add up exactly, for whatever a bill says.
func split(amount int64, bill paymentapi.Bill, commissionBP int64) *paymentapi.Event_Payouts {
	out := &paymentapi.Event_Payouts{Promotion: max(bill.Discount, 0), Tax: min(max(bill.Tax, 0), amount)}
	gross := amount + out.Promotion
	left := gross - out.Tax
	take := func(part int64) int64 {
		part = min(max(part, 0), left)
		left -= part
		return part
	}
	fees := bill.DeliveryFee + bill.SurgeFee
	out.Restaurant = take(money.Portion(lessTax(bill.Subtotal, out.Tax, gross), 10_000-commissionBP))
	out.Courier = take(lessTax(fees, out.Tax, gross))
	out.Platform = left
	return out
}

// lessTax takes from part its share of the tax on gross, rounded down. Amounts are at most money.Max, so that the
// product fits.
func lessTax(part, tax, gross int64) int64 {
	if gross <= 0 {
		return part
	}
	return part - part*tax/gross
}

// unbalanced is what postings sum to; it must be zero.
func unbalanced(postings []*paymentapi.Event_Posting) int64 {
	var sum int64
	for _, p := range postings {
		sum += p.Amount
	}
	return sum
}

// balances adds up a journal by account, without the accounts that stand at zero, in the order of their names.
func balances(journal []paymentapi.Entry) []paymentapi.Posting {
	sums := map[string]int64{}
	for _, e := range journal {
		for _, p := range e.Postings {
			sums[p.Account] += p.Amount
		}
	}
	all := []paymentapi.Posting{}
	for account, sum := range sums {
		if sum != 0 {
			all = append(all, paymentapi.Posting{Account: account, Amount: sum})
		}
	}
	slices.SortFunc(all, func(a, b paymentapi.Posting) int { return cmp.Compare(a.Account, b.Account) })
	return all
}

// checkPostings refuses an event that does not sum to zero, before it is written.
func checkPostings(kind string, postings []*paymentapi.Event_Posting) error {
	if sum := unbalanced(postings); sum != 0 {
		return fmt.Errorf("the postings of %s sum to %d, not zero", kind, sum)
	}
	return nil
}
