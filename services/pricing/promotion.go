package pricing

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/dishmesh/dishmesh/services/internal/money"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

//go:embed promotions.yaml
var promotionsYAML []byte

// promotion is a code that takes something off the subtotal.
type promotion struct {
	Code        string    `json:"code" validate:"required,max=32,uppercase,alphanum"`
	PercentBP   int64     `json:"percent_bp" validate:"min=0,max=10000"`
	Amount      int64     `json:"amount" validate:"min=0,max=100000000"`
	MinSubtotal int64     `json:"min_subtotal" validate:"min=0"`
	Total       int       `json:"total" validate:"min=0"`        // redemptions in all; 0: no limit
	PerCustomer int       `json:"per_customer" validate:"min=0"` // redemptions of one customer; 0: no limit
	From        time.Time `json:"from"`
	Until       time.Time `json:"until"` // zero: for ever
}

// promotions are the codes that exist.
type promotions map[string]promotion

func readPromotions(text []byte) (promotions, error) {
	var list []promotion
	if err := yaml.UnmarshalStrict(text, &list); err != nil {
		return nil, fmt.Errorf("promotions.yaml: %w", err)
	}
	all := promotions{}
	var errs []error
	for _, p := range list {
		if err := web.Validate(&p); err != nil {
			errs = append(errs, fmt.Errorf("promotions.yaml: %s: %w", p.Code, err))
		}
		if (p.PercentBP > 0) == (p.Amount > 0) {
			errs = append(errs, fmt.Errorf("promotions.yaml: %s: set one of percent_bp and amount", p.Code))
		}
		if _, ok := all[p.Code]; ok {
			errs = append(errs, fmt.Errorf("promotions.yaml: %s is there twice", p.Code))
		}
		all[p.Code] = p
	}
	return all, errors.Join(errs...)
}

// find gives the promotion of a code as customers write it: in any case, with spaces around.
func (ps promotions) find(code string) (promotion, error) {
	p, ok := ps[strings.ToUpper(strings.TrimSpace(code))]
	if !ok {
		return p, problem.New(problem.PromotionInvalid, "there is no promotion %q", code)
	}
	return p, nil
}

// applies says why the promotion does not hold for an order of subtotal at a time.
func (p promotion) applies(subtotal int64, now time.Time) error {
	switch {
	case now.Before(p.From):
		return problem.New(problem.PromotionInvalid, "%s begins on %s", p.Code, p.From.Format(time.DateOnly))
	case !p.Until.IsZero() && now.After(p.Until):
		return problem.New(problem.PromotionInvalid, "%s ended on %s", p.Code, p.Until.Format(time.DateOnly))
	case subtotal < p.MinSubtotal:
		return problem.New(problem.PromotionInvalid, "%s needs an order of %s at least, without delivery", p.Code,
			money.Format(p.MinSubtotal, money.Currency))
	}
	return nil
}

// discount is what it takes off a subtotal, never more than that; a percentage is rounded half to even.
func (p promotion) discount(subtotal int64) int64 {
	if p.PercentBP > 0 {
		return money.Portion(subtotal, p.PercentBP)
	}
	return min(p.Amount, subtotal)
}

// within says that limits are reached by what was redeemed so far.
func (p promotion) within(inAll, byCustomer int) error {
	switch {
	case p.Total > 0 && inAll >= p.Total:
		return problem.New(problem.PromotionExhausted, "%s was redeemed %d time(s), as often as it can be", p.Code, p.Total)
	case p.PerCustomer > 0 && byCustomer >= p.PerCustomer:
		return problem.New(problem.PromotionExhausted, "a customer can redeem %s %d time(s)", p.Code, p.PerCustomer)
	}
	return nil
}
