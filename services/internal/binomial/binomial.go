// Package binomial says what a share that was measured by counting can tell. A proxy that sends a tenth of its requests
// to a canary draws lots for each, so the count of n requests is binomially distributed, and no exact number can be
// asked of it: only that it lies where nearly all such counts lie.
package binomial

import (
	"fmt"
	"math"
)

// Interval is the range of counts, both ends included, in which the count of N draws lies with at least Confidence if
// each hits with probability P. At most half of the rest lies on either side.
type Interval struct {
	N          int
	P          float64
	Confidence float64
	Low, High  int
}

// Around computes the interval exactly, by summing the distribution. P must be from 0 to 1 and confidence below 1.
func Around(n int, p, confidence float64) Interval {
	i := Interval{N: n, P: p, Confidence: confidence, High: n}
	tail := (1 - confidence) / 2
	for sum := 0.0; i.Low < n; i.Low++ {
		if sum += mass(i.Low, n, p); sum > tail {
			break
		}
	}
	for sum := 0.0; i.High > 0; i.High-- {
		if sum += mass(i.High, n, p); sum > tail {
			break
		}
	}
	return i
}

// Holds tells whether a count is one to be expected.
func (i Interval) Holds(count int) bool { return i.Low <= count && count <= i.High }

// String is the interval as people read it.
func (i Interval) String() string {
	return fmt.Sprintf("%d to %d of %d (binomial, p = %g, %g %%)", i.Low, i.High, i.N, i.P, math.Round(i.Confidence*1e6)/1e4)
}

// mass is the probability of exactly k hits, by logarithms so that large n do no harm.
func mass(k, n int, p float64) float64 {
	switch {
	case p <= 0:
		return one(k == 0)
	case p >= 1:
		return one(k == n)
	}
	return math.Exp(choose(n, k) + float64(k)*math.Log(p) + float64(n-k)*math.Log1p(-p))
}

func one(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// choose is the logarithm of the number of ways to choose k of n.
func choose(n, k int) float64 {
	return factorial(n) - factorial(k) - factorial(n-k)
}

func factorial(n int) float64 {
	v, _ := math.Lgamma(float64(n) + 1)
	return v
}
