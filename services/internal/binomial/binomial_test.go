package binomial_test

import (
	"math/rand/v2"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/binomial"
)

// The bounds were computed with exact integers.
func TestAround(t *testing.T) {
	for _, tt := range []struct {
		n          int
		p, c       float64
		low, high  int
		name, text string
	}{
		{10, 0.5, 0.95, 2, 8, "a coin", "2 to 8 of 10 (binomial, p = 0.5, 95 %)"},
		{100, 0.1, 0.95, 5, 16, "a tenth", "5 to 16 of 100 (binomial, p = 0.1, 95 %)"},
		{20, 0.5, 0.99, 4, 16, "a coin, surer", "4 to 16 of 20 (binomial, p = 0.5, 99 %)"},
		{400, 0, 0.999, 0, 0, "never", "0 to 0 of 400 (binomial, p = 0, 99.9 %)"},
		{400, 1, 0.999, 400, 400, "always", "400 to 400 of 400 (binomial, p = 1, 99.9 %)"},
		{1, 0.5, 0.999, 0, 1, "once", "0 to 1 of 1 (binomial, p = 0.5, 99.9 %)"},
		{0, 0.5, 0.9, 0, 0, "nothing", "0 to 0 of 0 (binomial, p = 0.5, 90 %)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := binomial.Around(tt.n, tt.p, tt.c)
			if got.Low != tt.low || got.High != tt.high || got.String() != tt.text {
				t.Errorf("got %s, want %s", got, tt.text)
			}
			if !got.Holds(tt.low) || !got.Holds(tt.high) || got.Holds(tt.low-1) || got.Holds(tt.high+1) {
				t.Error("the ends belong to it, and nothing beyond")
			}
		})
	}
}

// What is drawn by lot lies in the interval as often as it says, for counts of which the tests make use.
func TestAroundHoldsWhatIsDrawn(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range []float64{0.1, 0.5, 0.9} {
		i := binomial.Around(400, p, 0.99)
		outside := 0
		const runs = 4000
		for range runs {
			count := 0
			for range i.N {
				if rng.Float64() < p {
					count++
				}
			}
			if !i.Holds(count) {
				outside++
			}
		}
		if outside > runs*13/1000 || outside == 0 {
			t.Errorf("p = %g: %d of %d outside %s", p, outside, runs, i)
		}
		if even := binomial.Around(400, 0.5, 0.999); p != 0.5 && (even.Holds(40) || even.Holds(360)) {
			t.Errorf("%s does not tell a tenth from a half", even)
		}
	}
}
