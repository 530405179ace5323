package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/load"
)

const (
	// placing is the time in which the orders of a run are placed, so that they are at different steps when the victim
	// dies.
	placing = 1500 * time.Millisecond
	// instants is the time in which the victim dies, counted from the first order.
	instants = 3 * time.Second
)

// Plan is what a seed stands for.
type Plan struct {
	Seed   uint64
	Victim string
	At     time.Duration // since the first order
	Wishes []customer.Wish
}

// NewPlan makes the plan of a seed. parts are those that may be the victim, in an order that is always the same.
func NewPlan(seed uint64, parts []string, orders int) Plan {
	rng := rand.New(rand.NewPCG(seed, 0xfa17))
	return Plan{
		Seed:   seed,
		Victim: parts[rng.IntN(len(parts))],
		At:     time.Duration(rng.Int64N(int64(instants))).Round(time.Millisecond),
		Wishes: wishes(rng, orders),
	}
}

// wishes has one order for every way in which an order can end, one for a mishap on the way, and plain ones. The two
// that take longest come first, so that no run lasts longer than it must.
func wishes(rng *rand.Rand, n int) []customer.Wish {
	pick := func(names ...string) customer.Wish {
		name := names[rng.IntN(len(names))]
		all := customer.Mishaps()
		return all[slices.IndexFunc(all, func(w customer.Wish) bool { return w.Name == name })]
	}
	long := []customer.Wish{
		pick("no courier"),
		pick("card timeout-before", "card timeout-after-authorize", "card timeout-after-capture", "card slow", "card fail-2",
			"card duplicate", "kitchen slow"),
	}
	cancelled := pick("cancel after placed", "cancel after accept")
	cancelled.CourierNote = customer.SlowCourierNote // else it is delivered before the cancellation comes
	short := []customer.Wish{pick("card declined", "card insufficient"), pick("kitchen rejects"), cancelled}
	for len(long)+len(short) < n {
		short = append(short, customer.Plain())
	}
	rng.Shuffle(len(short), func(i, j int) { short[i], short[j] = short[j], short[i] })
	return append(long, short...)[:n]
}

// load is the load of a plan.
func (p Plan) load() load.Config {
	return load.Config{
		Orders: len(p.Wishes), Concurrency: len(p.Wishes), Rate: float64(len(p.Wishes)) / placing.Seconds(), Seed: p.Seed,
		Timeout: orderWithin, Wishes: func(i int) customer.Wish { return p.Wishes[i] },
	}
}

// Kill runs a plan: its victim dies by SIGKILL, and the supervisor starts it again.
func (s Site) Kill(ctx context.Context, p Plan) (Result, error) {
	return s.strike(ctx, KillFault, p, s.Supervisor.Kill)
}

// Hang runs a plan with SIGSTOP instead.
func (s Site) Hang(ctx context.Context, p Plan) (Result, error) {
	return s.strike(ctx, HangFault, p, s.Supervisor.Freeze)
}

func (s Site) strike(ctx context.Context, fault string, p Plan, do func(context.Context, string) error) (Result, error) {
	r := Result{Fault: fault, Seed: p.Seed, Victim: p.Victim, At: seconds(p.At)}
	return s.harm(ctx, r, p.load(), func(ctx context.Context) (time.Time, error) {
		before, err := s.restarts(ctx)
		if err != nil {
			return time.Time{}, err
		}
		if _, ok := before[p.Victim]; !ok {
			return time.Time{}, fmt.Errorf("the platform has no process named %s", p.Victim)
		}
		if err := pause(ctx, p.At); err != nil {
			return time.Time{}, err
		}
		struck := time.Now()
		if err := do(ctx, p.Victim); err != nil {
			return struck, fmt.Errorf("%s %s: %w", fault, p.Victim, err)
		}
		return struck, s.startedAgain(ctx, p.Victim, before)
	})
}

// startedAgain waits until a part was started once more than before. Until then it may pass for healthy.
func (s Site) startedAgain(ctx context.Context, part string, before map[string]int) error {
	err := s.poll(ctx, healthyWithin, func() (bool, error) {
		now, err := s.restarts(ctx)
		return now[part] > before[part], err
	})
	if errors.Is(err, errNotInTime) {
		return fmt.Errorf("%s was not started again within %s", part, healthyWithin)
	}
	return err
}

// restarts is how often each part was started again.
func (s Site) restarts(ctx context.Context) (map[string]int, error) {
	st, err := s.Supervisor.Status(ctx)
	if err != nil {
		return nil, err
	}
	n := map[string]int{}
	for _, p := range st.Processes {
		n[p.Name] = p.Restarts
	}
	return n, nil
}
