package actor

import (
	"encoding/binary"
	"hash/fnv"
	"math/rand/v2"
	"time"
)

// Pace turns the work of the city into time. The same seed, order and piece of work always take as long.
type Pace struct {
	Scale float64 // 1: an order takes about 20 s; 0: nothing takes any time
	Seed  int64
}

// Instant reports whether nothing takes any time.
func (p Pace) Instant() bool { return p.Scale == 0 }

// Scaled is d at the city's time scale.
func (p Pace) Scaled(d time.Duration) time.Duration {
	return time.Duration(float64(d) * p.Scale)
}

// Between gives the scaled time, from least to most, that a piece of work takes for an order.
func (p Pace) Between(order, work string, least, most time.Duration) time.Duration {
	if p.Instant() {
		return 0
	}
	return p.Scaled(least + time.Duration(p.Rand(order, work).Int64N(int64(most-least)+1)))
}

// Slow is Between for who was told to be slow: three times as long, and never less than 3 s, so that the
// directive shows at every time scale.
func (p Pace) Slow(order, work string, least, most time.Duration) time.Duration {
	return max(3*time.Second, p.Between(order, work, 3*least, 3*most))
}

// Rand is a source of random numbers that depends on the seed, the subject and the work alone.
func (p Pace) Rand(subject, work string) *rand.Rand {
	h := fnv.New64a()
	_, _ = h.Write([]byte(subject + "\x00" + work)) // a hash never fails
	var seed [8]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(p.Seed))
	g := fnv.New64a()
	_, _ = g.Write(seed[:])
	return rand.New(rand.NewPCG(h.Sum64(), g.Sum64()))
}
