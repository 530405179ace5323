package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/crash"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
)

// Owners lists the services that own streams which an order writes to; each is crashed at every point.
func Owners() []string { return []string{"order", "payment", "restaurant", "delivery", "notification"} }

func pointList() string { return strings.Join(outbox.Points(), ", ") }

// Crash is a point at which services die, each at its own pass of it.
type Crash struct {
	Point string
	// Services die one independently of the other, in the same load.
	Services []string
	// Folder is where the points are armed; see package crash.
	Folder string
	Seed   uint64
	Orders int
}

// passesAtMost bounds the pass at which a service dies: each makes more of them in the load of a run.
const passesAtMost = 4

// crashWithin is how long a service may take to come to the point.
const crashWithin = 30 * time.Second

// Crash arms a point in the services, places orders, and waits until each service has come to it and died.
func (s Site) Crash(ctx context.Context, c Crash) (Result, error) {
	rng := rand.New(rand.NewPCG(c.Seed, 0xc4a5))
	before, err := s.restarts(ctx)
	if err != nil {
		return Result{}, err
	}
	r := Result{Fault: CrashFault + " " + c.Point, Seed: c.Seed, Victim: strings.Join(c.Services, ",")}
	for _, service := range c.Services {
		if err := crash.Arm(c.Folder, instance(service), c.Point, 1+rng.IntN(passesAtMost)); err != nil {
			return r, err
		}
	}
	defer func() {
		for _, service := range c.Services {
			_ = crash.Disarm(c.Folder, instance(service)) // it has come to it, unless the run has failed
		}
	}()
	plan := Plan{Seed: c.Seed, Wishes: wishes(rng, c.Orders)}
	return s.harm(ctx, r, plan.load(), func(ctx context.Context) (time.Time, error) {
		began := time.Now()
		for _, service := range c.Services {
			err := s.poll(ctx, crashWithin, func() (bool, error) {
				armed, err := crash.Armed(c.Folder, instance(service))
				return !armed, err
			})
			if errors.Is(err, errNotInTime) {
				return began, fmt.Errorf("%s did not come to the point %s within %s", service, c.Point, crashWithin)
			}
			if err == nil {
				err = s.startedAgain(ctx, service, before)
			}
			if err != nil {
				return began, err
			}
		}
		return time.Now(), nil
	})
}

// instance is the stable name of a service's only replica on this machine.
func instance(service string) string { return service + "-0" }
