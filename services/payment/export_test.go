package payment

import (
	"context"

	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// Split is split, for the property test.
func Split(amount int64, bill paymentapi.Bill, commissionBP int64) *paymentapi.Event_Payouts {
	return split(amount, bill, commissionBP)
}

// CheckLate carries out the effect of a tombstone now, without its wait.
func CheckLate(ctx context.Context, s run.Service, order string) error {
	p := s.(*Service)
	_, err := p.execute(ctx, order, p.settleLate)
	return err
}
