package pricing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// step is a surcharge from a number of open orders on.
type step struct {
	open int
	bp   int64
}

type steps []step

// maxSurge bounds the surcharge: three times the delivery fee.
const maxSurge = 30_000

// parseSteps reads "200:2500,400:5000": from 200 open orders on 25 %, from 400 on 50 %. "off" is no surge.
func parseSteps(text string) (steps, error) {
	if text == "" || text == "off" {
		return nil, nil
	}
	var all steps
	for part := range strings.SplitSeq(text, ",") {
		open, bp, _ := strings.Cut(strings.TrimSpace(part), ":")
		n, err1 := strconv.Atoi(open)
		b, err2 := strconv.ParseInt(bp, 10, 64)
		if err1 != nil || err2 != nil || n < 1 || b < 1 || b > maxSurge {
			return nil, fmt.Errorf("SURGE_STEPS: %q: write open orders:basis points such as 200:2500, or off", part)
		}
		if k := len(all) - 1; k >= 0 && (n <= all[k].open || b <= all[k].bp) {
			return nil, fmt.Errorf("SURGE_STEPS: %q: each step must be higher than the one before", text)
		}
		all = append(all, step{n, b})
	}
	return all, nil
}

// at is the surcharge that goes with a number of open orders.
func (s steps) at(open int) int64 {
	bp := int64(0)
	for _, step := range s {
		if open >= step.open {
			bp = step.bp
		}
	}
	return bp
}

// next is the surcharge that follows current. It falls only when the open orders are a fifth below the step, so
// that it does not flutter.
func (s steps) next(open int, current int64) int64 {
	return max(s.at(open), min(current, s.at(open+open/4)))
}

// openOrders are the orders that were placed and have not ended, by their events. Repeats and events out of order
// do no harm.
type openOrders struct {
	mu     sync.Mutex
	placed map[string]time.Time
	ended  map[string]time.Time // so that a late order.placed does not open it again
}

// After these an order does not count as open any more, whatever became of it, and its end is forgotten.
const (
	openAtMost  = 2 * time.Hour
	rememberEnd = 10 * time.Minute
)

func newOpenOrders() *openOrders {
	return &openOrders{placed: map[string]time.Time{}, ended: map[string]time.Time{}}
}

func (o *openOrders) place(id string, at time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, over := o.ended[id]; !over {
		o.placed[id] = at
	}
}

func (o *openOrders) end(id string, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.placed, id)
	o.ended[id] = now
}

// count forgets what is too old and counts the rest.
func (o *openOrders) count(now time.Time) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, at := range o.placed {
		if now.Sub(at) > openAtMost {
			delete(o.placed, id)
		}
	}
	for id, at := range o.ended {
		if now.Sub(at) > rememberEnd {
			delete(o.ended, id)
		}
	}
	return len(o.placed)
}

// zone is the aggregate whose events tell the surcharge.
type zone struct {
	SurgeBP int64 `json:"surge_bp"`
}

func applyZone(z zone, e cloudevent.Event) (zone, error) {
	if e.Name() == pricingapi.SurgeChangedEvent {
		var c pricingapi.SurgeChanged
		if err := pricingapi.Events.Into(e, &c); err != nil {
			return z, err
		}
		z.SurgeBP = c.SurgeBp
	}
	return z, nil
}

// loadKey is where the replicas add up what each sees: every order's events reach one of them.
const loadKey = "load/" + pricingapi.Zone

// reportAge is how long a replica's last report counts.
const reportAge = 3 * time.Minute

type load struct {
	Replicas map[string]report `json:"replicas"`
}

type report struct {
	Open int       `json:"open"`
	At   time.Time `json:"at"`
}

// surge decides the surcharge from the open orders of all replicas.
type surge struct {
	steps    steps
	orders   *openOrders
	state    sidecar.Store
	zones    *eventstore.Store[zone]
	instance string
	now      func() time.Time
	bp       atomic.Int64
}

// current surcharge in basis points.
func (s *surge) current() int64 { return s.bp.Load() }

// update reports this replica's open orders, if they changed noticeably, and moves the surcharge if all of them
// together call for it.
func (s *surge) update(ctx context.Context) error {
	if len(s.steps) == 0 {
		return nil
	}
	open, err := s.report(ctx)
	if err != nil {
		return err
	}
	z, _, err := s.zones.Load(ctx, pricingapi.Zone)
	if err != nil {
		return err
	}
	if s.steps.next(open, z.SurgeBP) != z.SurgeBP {
		z, _, err = s.zones.Update(ctx, pricingapi.Zone, func(z zone, _ int) (eventstore.Change, error) {
			next := s.steps.next(open, z.SurgeBP)
			if next == z.SurgeBP {
				return eventstore.Change{}, nil
			}
			return eventstore.Change{Events: []eventstore.Event{{Type: pricingapi.SurgeChangedEvent,
				Data: &pricingapi.SurgeChanged{Zone: pricingapi.Zone, SurgeBp: next}}}}, nil
		})
		if err != nil {
			return err
		}
	}
	s.bp.Store(z.SurgeBP)
	return nil
}

// report gives the open orders of all replicas.
func (s *surge) report(ctx context.Context) (int, error) {
	now := s.now().UTC()
	own := s.orders.count(now)
	item, err := s.state.Get(ctx, loadKey)
	if err != nil {
		return 0, err
	}
	all := load{Replicas: map[string]report{}}
	if item.Exists() {
		if err := json.Unmarshal(item.Value, &all); err != nil {
			return 0, fmt.Errorf("load: %w", err)
		}
	}
	last := all.Replicas[s.instance]
	for instance, r := range all.Replicas {
		if now.Sub(r.At) > reportAge {
			delete(all.Replicas, instance)
		}
	}
	grain := max(1, s.steps[0].open/20)
	if diff := own - last.Open; diff >= grain || -diff >= grain || own == 0 && last.Open > 0 || last.Open > 0 && now.Sub(last.At) > reportAge/3 {
		all.Replicas[s.instance] = report{own, now}
		value, err := json.Marshal(all)
		if err != nil {
			return 0, fmt.Errorf("load: %w", err)
		}
		err = s.state.Transact(ctx, sidecar.Op{Key: loadKey, Value: value, ETag: item.ETag, Create: !item.Exists()})
		if err != nil && !errors.Is(err, sidecar.ErrConflict) { // on a conflict the next round reports
			return 0, err
		}
	}
	sum := own
	for instance, r := range all.Replicas {
		if instance != s.instance {
			sum += r.Open
		}
	}
	return sum, nil
}
