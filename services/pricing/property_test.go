package pricing

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/dishmesh/dishmesh/services/internal/money"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// chosen is a drawn menu with a choice from it.
type chosen struct {
	menu  *knownMenu
	lines []pricingapi.ItemLine
	km    int64 // metres
	surge int64
	promo *promotion
	fees  tariff
}

func drawChosen(t *rapid.T) chosen {
	var c chosen
	menu := menuapi.Menu{Currency: "EUR", Restaurant: menuapi.Restaurant{TimeZone: "UTC"}}
	for i := range rapid.IntRange(1, 5).Draw(t, "dishes") {
		item := menuapi.Item{ID: "itm_" + string(rune('a'+i)), Name: "Dish", Available: true,
			Price:    rapid.Int64Range(1, 20_000).Draw(t, "price"),
			TaxClass: rapid.SampledFrom([]string{menuapi.TaxFood, menuapi.TaxStandard}).Draw(t, "class"),
		}
		for o := range rapid.IntRange(0, 3).Draw(t, "options") {
			item.OptionGroups = append(item.OptionGroups, menuapi.OptionGroup{ID: "g", Name: "Group", Max: 1, Options: []menuapi.Option{
				{ID: string(rune('a' + o)), Name: "Option", Price: rapid.Int64Range(0, 2_000).Draw(t, "option price")}}})
		}
		menu.Items = append(menu.Items, item)
	}
	var err error
	if c.menu, err = know(menu, noon); err != nil {
		t.Fatal(err)
	}
	for range rapid.IntRange(1, 8).Draw(t, "lines") {
		item := rapid.SampledFrom(menu.Items).Draw(t, "item")
		line := pricingapi.ItemLine{ItemID: item.ID, Quantity: rapid.IntRange(1, 50).Draw(t, "quantity")}
		for _, g := range item.OptionGroups {
			if rapid.Bool().Draw(t, "chosen") {
				line.Options = append(line.Options, g.Options[0].ID)
			}
		}
		c.lines = append(c.lines, line)
	}
	c.km = rapid.Int64Range(0, 10_000).Draw(t, "metres")
	c.surge = rapid.Int64Range(0, maxSurge).Draw(t, "surge")
	c.fees = tariff{base: rapid.Int64Range(0, 1000).Draw(t, "base"), perKm: rapid.Int64Range(0, 500).Draw(t, "per km")}
	switch rapid.IntRange(0, 2).Draw(t, "promotion") {
	case 1:
		c.promo = &promotion{Code: "P", PercentBP: rapid.Int64Range(1, 10_000).Draw(t, "percent")}
	case 2:
		c.promo = &promotion{Code: "F", Amount: rapid.Int64Range(1, 200_000).Draw(t, "amount")}
	}
	return c
}

func (c chosen) quote(t *rapid.T) pricingapi.Quote {
	b, err := fill(c.menu, c.lines)
	if err != nil {
		t.Fatal(err)
	}
	var q pricingapi.Quote
	settle(&q, b, c.fees.fee(c.km), c.surge, c.promo)
	return q
}

func TestPartsAddUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		q := drawChosen(t).quote(t)
		sum := int64(0)
		for _, i := range q.Items {
			unit := i.UnitPrice
			for _, o := range i.Options {
				if o.Price > unit {
					t.Fatalf("an option costs more than the dish with it: %+v", i)
				}
			}
			if i.Total != unit*int64(i.Quantity) {
				t.Fatalf("line %+v does not add up", i)
			}
			sum += i.Total
		}
		if q.Subtotal != sum {
			t.Fatalf("subtotal %d, lines %d", q.Subtotal, sum)
		}
		if q.Total != q.Subtotal+q.DeliveryFee+q.SurgeFee-q.Discount {
			t.Fatalf("total does not add up: %+v", q)
		}
		for name, v := range map[string]int64{"subtotal": q.Subtotal, "delivery": q.DeliveryFee, "surge": q.SurgeFee,
			"discount": q.Discount, "tax": q.Tax, "total": q.Total, "subtotal less discount": q.Subtotal - q.Discount} {
			if v < 0 {
				t.Fatalf("%s is %d", name, v)
			}
		}
	})
}

func TestTaxPartsAreConsistent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawChosen(t)
		q := c.quote(t)
		gross, tax := int64(0), int64(0)
		for _, p := range q.TaxParts {
			if p.Gross <= 0 || p.Tax < 0 || p.Tax > p.Gross {
				t.Fatalf("part %+v", p)
			}
			// Half a cent from the exact tax at most: |tax × (1+r) − gross × r| ≤ (1+r)/2.
			if d := 2 * (p.Tax*(10_000+p.RateBP) - p.Gross*p.RateBP); d > 10_000+p.RateBP || -d > 10_000+p.RateBP {
				t.Fatalf("part %+v is not the tax within", p)
			}
			gross += p.Gross
			tax += p.Tax
		}
		if gross != q.Total || tax != q.Tax {
			t.Fatalf("parts are %d with tax %d, the quote says %d with %d", gross, tax, q.Total, q.Tax)
		}
		b, err := fill(c.menu, c.lines)
		if err != nil {
			t.Fatal(err)
		}
		if off := share(q.Discount, b.food, b.subtotal); off > b.food || q.Discount-off > b.subtotal-b.food || off < 0 || off > q.Discount {
			t.Fatalf("discount %d: %d of the food's %d", q.Discount, off, b.food)
		}
	})
}

func TestMoreNeverCostsLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawChosen(t)
		before := c.quote(t)
		n := rapid.IntRange(0, len(c.lines)-1).Draw(t, "line")
		c.lines[n].Quantity += rapid.IntRange(1, 50).Draw(t, "more")
		if after := c.quote(t); after.Total < before.Total || after.Subtotal <= before.Subtotal {
			t.Fatalf("%d became %d", before.Total, after.Total)
		}
	})
}

func TestFartherNeverCostsLess(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawChosen(t)
		before := c.quote(t)
		c.km += rapid.Int64Range(0, 5000).Draw(t, "farther")
		c.surge += rapid.Int64Range(0, 5000).Draw(t, "surge")
		if after := c.quote(t); after.DeliveryFee < before.DeliveryFee || after.Total < before.Total {
			t.Fatalf("%+v became %+v", before, after)
		}
	})
}

func TestAQuoteStandsWhileTheMenuDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := drawChosen(t)
		q := c.quote(t)
		if err := unchanged(c.menu, q); err != nil {
			t.Fatal(err)
		}
		c.menu.items[q.Items[0].ItemID].Price++
		if err := unchanged(c.menu, q); err == nil {
			t.Fatal("a dearer dish went unnoticed")
		}
	})
}

func TestShareRoundsHalfToEven(t *testing.T) {
	tests := []struct{ amount, part, whole, want int64 }{
		{0, 1, 2, 0}, {1, 1, 2, 0}, {3, 1, 2, 2}, {5, 1, 2, 2}, {7, 1, 2, 4}, {10, 1, 3, 3}, {20, 1, 3, 7},
		{0, 0, 0, 0}, {money.Max, money.Max, money.Max, money.Max}, {money.Max, money.Max - 1, money.Max, money.Max - 1},
	}
	for _, tt := range tests {
		if got := share(tt.amount, tt.part, tt.whole); got != tt.want {
			t.Errorf("share(%d, %d, %d) = %d, want %d", tt.amount, tt.part, tt.whole, got, tt.want)
		}
	}
}
