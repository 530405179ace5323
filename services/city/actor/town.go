package actor

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

const (
	// loginsAtOnce bounds the logins in flight: a password hash is slow on purpose.
	loginsAtOnce = 2
	// reconcileEvery is how often an actor looks at what it should be doing, in case it missed an event.
	// Live streams say when events may have been missed, so this is the last resort and costs little.
	reconcileEvery = 15 * time.Second
	// worthAWarning is how often in a row something has to fail before the log hears of it: a platform that
	// starts or was killed is nothing unusual.
	worthAWarning = 20
)

// Town is what all actors have in common.
type Town struct {
	Pace Pace
	Log  *slog.Logger

	gateway string
	http    *http.Client
	logins  chan struct{}

	absent atomic.Int32 // actors that are expected and not on duty yet

	mu          sync.Mutex
	restaurants []geo.Point
}

// Expect tells that n more actors will come on duty.
func (t *Town) Expect(n int) { t.absent.Add(int32(n)) }

// OnDuty tells that an actor works; each tells it once.
func (t *Town) OnDuty() { t.absent.Add(-1) }

// Complete reports whether everybody who is expected works.
func (t *Town) Complete() bool { return t.absent.Load() <= 0 }

// NewTown makes a town whose platform is reached at gateway.
func NewTown(gateway string, hc *http.Client, pace Pace, log *slog.Logger) *Town {
	return &Town{Pace: pace, Log: log, gateway: gateway, http: hc, logins: make(chan struct{}, loginsAtOnce)}
}

// Enter logs an account in, and tries until that works: the platform may not be there yet. ok is false when
// ctx is done.
func (t *Town) Enter(ctx context.Context, a Account) (api *publicapi.Client, user publicapi.User, ok bool) {
	api = publicapi.New(t.gateway, t.http, publicapi.LoginsAtMost(t.logins))
	ok = t.Until(ctx, "log in "+a.Email, func() (err error) {
		user, err = api.Login(ctx, a.Email, a.Password)
		return err
	})
	return api, user, ok
}

// Until calls f until it succeeds, with growing, jittered pauses of up to 2 s, and reports whether it did
// before ctx was done.
func (t *Town) Until(ctx context.Context, what string, f func() error) bool {
	for n := 1; ; n++ {
		err := f()
		if err == nil {
			return true
		}
		if n%worthAWarning == 0 && ctx.Err() == nil {
			t.Log.Warn("still trying", "what", what, "attempts", n, "err", err)
		}
		pause := min(2*time.Second, 100*time.Millisecond<<min(n, 8))
		if !publicapi.Sleep(ctx, pause/2+rand.N(pause/2)) {
			return false
		}
	}
}

// Feed is what reaches an actor: live events, and the moments to reconcile.
type Feed struct {
	Events    <-chan publicapi.Event
	Reconcile <-chan struct{} // on every (re)connect and every 15 s or so; never more than one is waiting
}

// Follow keeps the live stream at path open until ctx is done.
func (t *Town) Follow(ctx context.Context, api *publicapi.Client, path string) Feed {
	events := make(chan publicapi.Event, 64)
	reconcile := make(chan struct{}, 1)
	nudge := func() {
		select {
		case reconcile <- struct{}{}:
		default:
		}
	}
	go func() {
		t.Until(ctx, "follow "+path, func() error {
			err := api.Live(ctx, path, "", func(e publicapi.Event) error {
				select {
				case events <- e:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			}, publicapi.OnConnect(nudge))
			if err == nil {
				err = fmt.Errorf("%s ended", path)
			}
			return err
		})
	}()
	go func() {
		for publicapi.Sleep(ctx, reconcileEvery-reconcileEvery/10+rand.N(reconcileEvery/5)) {
			nudge()
		}
	}()
	return Feed{Events: events, Reconcile: reconcile}
}

// Restaurants tells where the restaurants are, by asking the platform once.
func (t *Town) Restaurants(ctx context.Context, api *publicapi.Client) ([]geo.Point, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.restaurants != nil {
		return t.restaurants, nil
	}
	var list menuapi.List
	if err := api.Do(ctx, http.MethodGet, "/v1/restaurants?limit=100", nil, &list); err != nil {
		return nil, err
	}
	var places []geo.Point
	for _, r := range list.Restaurants {
		places = append(places, r.Point())
	}
	if len(places) == 0 {
		return nil, problem.New(problem.Unavailable, "there are no restaurants yet")
	}
	t.restaurants = places
	return places, nil
}
