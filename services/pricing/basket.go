package pricing

import (
	"fmt"
	"math"

	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/money"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// Rates of the VAT that prices include, in basis points (§ 12 UStG: food 7 %, drinks and delivery 19 %).
const (
	foodRate     = 700
	standardRate = 1900
)

// basket is what a customer chose, at the menu's prices. Gross is the subtotal by tax rate.
type basket struct {
	items    []pricingapi.Item
	subtotal int64
	food     int64 // the part of subtotal at foodRate; the rest is at standardRate
}

// fill looks the lines up in the menu. The error names every fault of its kind, the graver kind first.
func fill(m *knownMenu, lines []pricingapi.ItemLine) (basket, error) {
	var b basket
	var unknown, choice, soldOut []problem.Field
	for n, line := range lines {
		at := fmt.Sprintf("items[%d]", n)
		item, ok := m.items[line.ItemID]
		if !ok {
			unknown = append(unknown, problem.Field{Name: at + ".item_id", Reason: fmt.Sprintf("%.40q is not on the menu", line.ItemID)})
			continue
		}
		if !item.Available {
			soldOut = append(soldOut, problem.Field{Name: at + ".item_id", Reason: item.Name + " is sold out"})
		}
		options, noSuch, broken := choose(item, line.Options, at+".options")
		unknown, choice = append(unknown, noSuch...), append(choice, broken...)
		q := pricingapi.Item{ItemID: item.ID, Name: item.Name, Quantity: line.Quantity, Options: options, UnitPrice: item.Price}
		for _, o := range options {
			q.UnitPrice += o.Price
		}
		q.Total = q.UnitPrice * int64(q.Quantity)
		b.items = append(b.items, q)
		b.subtotal += q.Total
		if item.TaxClass == menuapi.TaxFood {
			b.food += q.Total
		}
	}
	switch {
	case len(unknown) > 0:
		return b, problem.New(problem.UnknownItem, "%s does not offer this", m.Restaurant.Name).WithFields(unknown...)
	case len(choice) > 0:
		return b, problem.New(problem.InvalidRequest, "%d faulty field(s)", len(choice)).WithFields(choice...)
	case len(soldOut) > 0:
		return b, problem.New(problem.ItemUnavailable, "").WithFields(soldOut...)
	}
	return b, nil
}

// choose looks chosen options up, in the menu's order, and holds the groups' rules.
func choose(item *menuapi.Item, ids []string, at string) (options []pricingapi.Option, unknown, broken []problem.Field) {
	chosen := make(map[string]bool, len(ids))
	for _, id := range ids {
		chosen[id] = true
	}
	options = []pricingapi.Option{}
	for _, g := range item.OptionGroups {
		n := 0
		for _, o := range g.Options {
			if chosen[o.ID] {
				delete(chosen, o.ID)
				n++
				options = append(options, pricingapi.Option{ID: o.ID, Name: o.Name, Price: o.Price})
			}
		}
		switch {
		case n < g.Min:
			broken = append(broken, problem.Field{Name: at, Reason: fmt.Sprintf("must have at least %d of %s", g.Min, g.Name)})
		case n > g.Max:
			broken = append(broken, problem.Field{Name: at, Reason: fmt.Sprintf("must have at most %d of %s", g.Max, g.Name)})
		}
	}
	for _, id := range ids {
		if chosen[id] {
			unknown = append(unknown, problem.Field{Name: at, Reason: fmt.Sprintf("%s has no option %.40q", item.Name, id)})
		}
	}
	return options, unknown, broken
}

// metres between two places, rounded half to even; all that depends on distance depends on this number.
func metres(a, b geo.Point) int64 { return int64(math.RoundToEven(geo.Distance(a, b))) }

// tariff is what delivery costs, in minor units.
type tariff struct{ base, perKm int64 }

// fee for a distance, rounded half to even.
func (t tariff) fee(metres int64) int64 {
	return t.base + money.Portion(t.perKm, metres*10) // 10 000 basis points are 1000 m
}

// settle fills in the amounts of a quote: fees, discount, total and the tax within.
//
//	surge_fee = delivery_fee × surge
//	total     = subtotal + delivery_fee + surge_fee − discount
//
// The discount lowers the grosses of the two tax rates in proportion to their shares of the subtotal; the fees are
// taxed at the standard rate. Each division is rounded half to even, and the standard rate takes what is left of
// the discount, so that the parts always add up.
func settle(q *pricingapi.Quote, b basket, deliveryFee, surgeBP int64, promo *promotion) {
	q.Items, q.Subtotal = b.items, b.subtotal
	q.DeliveryFee, q.SurgeBP, q.SurgeFee = deliveryFee, surgeBP, money.Portion(deliveryFee, surgeBP)
	if promo != nil {
		q.Promotion, q.Discount = promo.Code, promo.discount(b.subtotal)
	}
	q.Total = q.Subtotal + q.DeliveryFee + q.SurgeFee - q.Discount

	food := b.food - share(q.Discount, b.food, b.subtotal)
	q.Tax, q.TaxParts = 0, []pricingapi.TaxPart{}
	for _, part := range []pricingapi.TaxPart{{RateBP: foodRate, Gross: food}, {RateBP: standardRate, Gross: q.Total - food}} {
		if part.Gross > 0 {
			part.Tax = money.Included(part.Gross, part.RateBP)
			q.Tax += part.Tax
			q.TaxParts = append(q.TaxParts, part)
		}
	}
}

// share is amount × part / whole, rounded half to even; all are at most money.Max, so that nothing overflows.
func share(amount, part, whole int64) int64 {
	if whole == 0 {
		return 0
	}
	n := amount * part
	q, r := n/whole, n%whole
	if 2*r > whole || 2*r == whole && q%2 == 1 {
		q++
	}
	return q
}

// unchanged holds a quote against the menu of now.
func unchanged(m *knownMenu, q pricingapi.Quote) error {
	var gone, dearer []problem.Field
	for n, line := range q.Items {
		at := fmt.Sprintf("items[%d]", n)
		item, ok := m.items[line.ItemID]
		if !ok || !item.Available {
			gone = append(gone, problem.Field{Name: at, Reason: line.Name + " is sold out"})
			continue
		}
		ids := make([]string, len(line.Options))
		for i, o := range line.Options {
			ids[i] = o.ID
		}
		options, unknown, _ := choose(item, ids, at)
		if len(unknown) > 0 {
			gone = append(gone, unknown...)
			continue
		}
		price := item.Price
		for _, o := range options {
			price += o.Price
		}
		if price != line.UnitPrice {
			dearer = append(dearer, problem.Field{Name: at + ".unit_price", Reason: fmt.Sprintf("%s costs %s now, not %s",
				line.Name, money.Format(price, q.Currency), money.Format(line.UnitPrice, q.Currency))})
		}
	}
	switch {
	case len(gone) > 0:
		return problem.New(problem.ItemUnavailable, "").WithFields(gone...)
	case len(dearer) > 0:
		return problem.New(problem.PriceChanged, "").WithFields(dearer...)
	}
	return nil
}
