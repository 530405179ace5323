package money_test

import (
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/dishmesh/dishmesh/services/internal/money"
)

func TestPortion(t *testing.T) {
	for _, tt := range []struct{ amount, bp, want int64 }{
		{0, 1900, 0}, {100, 1900, 19}, {1000, 10_000, 1000}, {1, 5000, 0}, {3, 5000, 2}, {5, 5000, 2}, {7, 5000, 4},
		{-1, 5000, 0}, {-3, 5000, -2}, {-5, 5000, -2}, {1, 5001, 1}, {1, 4999, 0}, {math.MaxInt64, 10_000, math.MaxInt64},
		{math.MinInt64, 10_000, math.MinInt64}, {math.MaxInt64, 5000, 4611686018427387904},
	} {
		if got := money.Portion(tt.amount, tt.bp); got != tt.want {
			t.Errorf("Portion(%d, %d) = %d, want %d", tt.amount, tt.bp, got, tt.want)
		}
	}
}

func TestIncluded(t *testing.T) {
	for _, tt := range []struct{ gross, bp, want int64 }{
		{0, 1900, 0}, {119, 1900, 19}, {107, 700, 7}, {1000, 0, 0}, {2, 10_000, 1}, {1, 10_000, 0}, {3, 10_000, 2},
	} {
		if got := money.Included(tt.gross, tt.bp); got != tt.want {
			t.Errorf("Included(%d, %d) = %d, want %d", tt.gross, tt.bp, got, tt.want)
		}
	}
}

// distance is |got × d − n|: how far got is from n/d, times d.
func distance(got, n, m, d int64) *big.Int {
	x := new(big.Int).Mul(big.NewInt(got), big.NewInt(d))
	x.Sub(x, new(big.Int).Mul(big.NewInt(n), big.NewInt(m)))
	return x.Abs(x)
}

// The result is the nearest integer; of two that are as near, the even one. It is odd in the sense of f(−x) = −f(x).
func TestRounding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Int64Range(-money.Max, money.Max).Draw(t, "amount")
		bp := rapid.Int64Range(0, 20_000).Draw(t, "basis points")
		for name, f := range map[string]struct {
			got, neg, d int64
		}{
			"Portion":  {money.Portion(amount, bp), money.Portion(-amount, bp), 10_000},
			"Included": {money.Included(amount, bp), money.Included(-amount, bp), 10_000 + bp},
		} {
			twice := new(big.Int).Lsh(distance(f.got, amount, bp, f.d), 1)
			if c := twice.Cmp(big.NewInt(f.d)); c > 0 || c == 0 && f.got%2 != 0 {
				t.Fatalf("%s(%d, %d) = %d is not the nearest, or the odd one of two", name, amount, bp, f.got)
			}
			if f.neg != -f.got {
				t.Fatalf("%s(%d, %d) = %d but %d for the negative", name, amount, bp, f.got, f.neg)
			}
		}
	})
}

// A tax taken out of a gross amount is the tax on the net that is left, to a unit.
func TestIncludedAgreesWithPortion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		gross := rapid.Int64Range(0, money.Max).Draw(t, "gross")
		bp := rapid.Int64Range(0, 10_000).Draw(t, "basis points")
		tax := money.Included(gross, bp)
		if diff := money.Portion(gross-tax, bp) - tax; diff < -1 || diff > 1 || tax < 0 || tax > gross {
			t.Fatalf("gross %d at %d: tax %d, but %d on the net", gross, bp, tax, tax+diff)
		}
	})
}

func TestFormat(t *testing.T) {
	for amount, want := range map[int64]string{0: "0.00 EUR", 5: "0.05 EUR", 1234: "12.34 EUR", -1: "-0.01 EUR", -1234: "-12.34 EUR", money.Max: "1000000.00 EUR"} {
		if got := money.Format(amount, money.Currency); got != want {
			t.Errorf("Format(%d) = %q, want %q", amount, got, want)
		}
	}
}
