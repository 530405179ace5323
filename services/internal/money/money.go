// Package money has the arithmetic of amounts: integers of minor units (ISO 4217), never floats. A document
// names its currency once; all its amounts are in minor units of it.
package money

import (
	"fmt"
	"math/big"
)

// Max bounds every amount that enters the platform: one million major units.
const Max int64 = 100_000_000

// Currency is the only currency of the town.
const Currency = "EUR"

// Portion is amount × basisPoints / 10000, rounded half to even (IEEE 754 roundTiesToEven, "banker's rounding"),
// exact for every int64.
func Portion(amount, basisPoints int64) int64 {
	n := new(big.Int).Mul(big.NewInt(amount), big.NewInt(basisPoints))
	d := big.NewInt(10_000)
	q, r := new(big.Int).QuoRem(n, d, new(big.Int))
	twice := new(big.Int).Abs(r)
	twice.Lsh(twice, 1)
	if c := twice.Cmp(d); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(int64(n.Sign())))
	}
	return q.Int64()
}

// Included is the tax that is contained in a gross amount at a rate of basisPoints: gross × r / (1 + r), rounded
// half to even.
func Included(gross, basisPoints int64) int64 {
	n := new(big.Int).Mul(big.NewInt(gross), big.NewInt(basisPoints))
	d := big.NewInt(10_000 + basisPoints)
	q, r := new(big.Int).QuoRem(n, d, new(big.Int))
	twice := new(big.Int).Abs(r)
	twice.Lsh(twice, 1)
	if c := twice.Cmp(d); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(int64(n.Sign())))
	}
	return q.Int64()
}

// Format renders an amount for people: "12.34 EUR".
func Format(amount int64, currency string) string {
	sign := ""
	if amount < 0 {
		sign, amount = "-", -amount
	}
	return fmt.Sprintf("%s%d.%02d %s", sign, amount/100, amount%100, currency)
}
