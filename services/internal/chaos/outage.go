package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/load"
	"github.com/dishmesh/dishmesh/services/internal/platform"
)

// Outage says how a part stays away.
type Outage struct {
	Part string
	For  time.Duration
	// Rate is how many orders per second are placed, before, during and after.
	Rate float64
	Seed uint64
}

// around is for how long orders are placed before an outage, and after it.
const around = 3 * time.Second

// Broker is the name of the part that carries the events.
func (s Site) Broker(ctx context.Context) (string, error) {
	st, err := s.Supervisor.Status(ctx)
	if err != nil {
		return "", err
	}
	for _, p := range st.Processes {
		if p.Kind == platform.KindBroker {
			return p.Name, nil
		}
	}
	return "", errors.New("no process of this platform is a broker: name a part with --part")
}

// Stop kills a part, keeps it down for a while under load, and starts it again.
func (s Site) Stop(ctx context.Context, o Outage) (Result, error) {
	orders := max(1, int(o.Rate*(o.For+2*around).Seconds()))
	cfg := load.Config{
		// Customers wait for their orders: all of them may be in flight.
		Orders: orders, Concurrency: orders, Rate: o.Rate, Seed: o.Seed, Timeout: o.For + orderWithin,
		Wishes: func(i int) customer.Wish { return customer.MixedWish(o.Seed, i) },
	}
	r := Result{Fault: BrokerStopFault, Seed: o.Seed, Victim: o.Part, At: seconds(around), For: seconds(o.For)}
	return s.harm(ctx, r, cfg, func(ctx context.Context) (end time.Time, err error) {
		if err := pause(ctx, around); err != nil {
			return end, err
		}
		if err := s.Supervisor.Hold(ctx, o.Part, true); err != nil {
			return end, fmt.Errorf("stop %s: %w", o.Part, err)
		}
		waited := pause(ctx, o.For)
		// Whatever happens, it is not left down.
		release, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		if err := s.Supervisor.Release(release, o.Part); err != nil {
			return end, errors.Join(waited, fmt.Errorf("start %s again: %w", o.Part, err))
		}
		return time.Now(), waited
	})
}
