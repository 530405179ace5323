// Package courier plays a courier: online near a restaurant, it takes offers, travels, waits for the food,
// carries it, and reports where it is, all through the public API.
package courier

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/city/actor"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// How long the parts of a delivery take at time scale 1.
const (
	leastDecide, mostDecide = 500 * time.Millisecond, 1500 * time.Millisecond
	leastToFood, mostToFood = 2 * time.Second, 4 * time.Second
	leastToDoor, mostToDoor = 4 * time.Second, 7 * time.Second
	reportEvery             = time.Second            // at time scale 1
	reportAtMost            = 250 * time.Millisecond // however fast time goes

	longPast  = time.Minute     // for an order that was delivered or declined: longer than its last event is late
	shortPast = 3 * time.Second // for one that was refused: it may be offered again
)

// phase is what the courier is doing.
type phase int

const (
	idle     phase = iota
	deciding       // about an offer
	toFood         // on the way to the restaurant
	waiting        // at the restaurant
	toDoor         // on the way to the customer
)

// job is the order that the courier deals with; there is never more than one.
type job struct {
	order    string
	pickup   geo.Point
	dropoff  geo.Point
	slow     bool // the customer wants it slow
	refuse   bool // the customer wants no courier to take it
	ready    bool // the food can be picked up
	phase    phase
	from     geo.Point // where the way began
	began    time.Time
	arrives  time.Time
	checks   int // how often the courier asked whether the food is ready
	failures int // of the step that is next, in a row
}

// courier is one actor. Everything belongs to the goroutine of run.
type courier struct {
	api  *publicapi.Client
	pace actor.Pace
	log  *slog.Logger

	at       geo.Point
	placed   bool // at is where the platform saw the courier last, or has been told
	reported time.Time
	job      *job
	missed   bool                 // an offer came while there was no time for it
	past     map[string]time.Time // until when late news of an order is no news: it is done, or was refused
	timer    *time.Timer
	duty     sync.Once
	onDuty   func() // told once, when the courier works
}

// Run plays the courier of an account until ctx is done. number spreads couriers over the town.
func Run(ctx context.Context, town *actor.Town, account actor.Account, number int) {
	api, _, ok := town.Enter(ctx, account)
	if !ok {
		return
	}
	c := &courier{
		api: api, pace: town.Pace, log: town.Log.With("courier", account.Email),
		past: map[string]time.Time{}, timer: time.NewTimer(time.Hour), onDuty: town.OnDuty,
	}
	defer c.timer.Stop()
	ok = town.Until(ctx, "find the restaurants", func() error {
		places, err := town.Restaurants(ctx, api)
		if err == nil {
			c.at = home(town.Pace, places, account.Email, number)
		}
		return err
	})
	if !ok {
		return
	}
	c.run(ctx, town.Follow(ctx, api, "/v1/couriers/me/live"))
}

// home is a seeded place within some 500 m of a restaurant; couriers in turn take the restaurants in turn.
func home(pace actor.Pace, places []geo.Point, email string, number int) geo.Point {
	const degrees = 0.009 // 1 km north to south
	rng := pace.Rand(email, "courier lives")
	p := places[number%len(places)]
	return geo.Point{Lat: p.Lat + (rng.Float64()-0.5)*degrees, Lon: p.Lon + (rng.Float64()-0.5)*degrees}
}

func (c *courier) run(ctx context.Context, feed actor.Feed) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-feed.Events:
			c.hear(ctx, e)
		case <-feed.Reconcile:
			c.reconcile(ctx)
		case <-c.timer.C:
			c.step(ctx)
		}
	}
}

// hear takes a live event.
func (c *courier) hear(ctx context.Context, e publicapi.Event) {
	mine := c.job != nil && c.job.order == e.Subject
	switch {
	case e.Type == deliveryapi.TypeOffered:
		m, err := e.Payload(deliveryapi.Events)
		o, ok := m.(*deliveryapi.OfferedData)
		if !ok || o.OrderId == "" {
			c.log.Warn("an event can't be read", "type", e.Type, "id", e.ID, "err", err)
			return
		}
		c.consider(deliveryapi.Offer{
			OrderID: o.OrderId, Pickup: o.Pickup.Place(), Dropoff: o.Dropoff.Place(), CourierNote: o.CourierNote, ExpiresAt: contract.Time(o.ExpiresAt),
		})
	case e.Type == deliveryapi.TypeCourierAssigned && c.job == nil && !c.isPast(e.Subject):
		c.reconcile(ctx) // an acceptance whose answer was lost
	case e.Type == deliveryapi.TypeReleased && mine:
		c.drop("released")
	case e.Type == restaurantapi.TypeTicketReady && mine:
		c.job.ready = true
		if c.job.phase == waiting {
			c.after(0)
		}
	}
}

// consider thinks about an offer, if there is time for one.
func (c *courier) consider(o deliveryapi.Offer) {
	switch {
	case c.isPast(o.OrderID), time.Now().After(o.ExpiresAt):
		return
	case c.job != nil:
		c.missed = c.missed || c.job.order != o.OrderID
		return
	}
	c.job = newJob(o.OrderID, o.Pickup, o.Dropoff, o.CourierNote)
	// However slow the town is, an offer does not wait.
	c.after(min(c.pace.Between(o.OrderID, "courier decides", leastDecide, mostDecide), time.Until(o.ExpiresAt)/2))
}

func newJob(order string, pickup, dropoff deliveryapi.Place, note string) *job {
	directive := actor.Directive(note, actor.RoleCourier)
	return &job{
		order: order, pickup: pickup.Point, dropoff: dropoff.Point,
		slow: directive == "slow", refuse: directive == "none", phase: deciding,
	}
}

// after makes the next step due. Even a step that is due now goes through the loop, so that live events are
// heard in between.
func (c *courier) after(d time.Duration) { c.timer.Reset(max(0, d)) }

// step does what is due.
func (c *courier) step(ctx context.Context) {
	switch {
	case c.job == nil && c.missed:
		c.missed = false
		c.reconcile(ctx)
		return
	case c.job == nil:
		return
	}
	switch c.job.phase {
	case deciding:
		c.decide(ctx)
	case toFood, toDoor:
		c.move(ctx)
	case waiting:
		c.check(ctx)
	}
}

// decide answers the offer.
func (c *courier) decide(ctx context.Context) {
	j := c.job
	if j.refuse {
		if _, err := c.post(ctx, j.order, "decline"); err != nil && !problem.Permanent(err) {
			c.log.Warn("an offer could not be declined", "order_id", j.order, "err", err)
		}
		c.finish(longPast)
		return
	}
	t, err := c.post(ctx, j.order, "accept")
	if err != nil {
		// Lost to another courier, which is normal; or not known, which the next reconciliation tells.
		c.missed = c.missed || problem.Of(err) == problem.CourierBusy
		c.finish(shortPast)
		return
	}
	j.ready = j.ready || t.Ready
	c.travel(toFood)
}

// travel sets out for the restaurant or the customer.
func (c *courier) travel(p phase) {
	j := c.job
	least, most, work := leastToFood, mostToFood, "courier fetches"
	if p == toDoor {
		least, most, work = leastToDoor, mostToDoor, "courier carries"
	}
	d := c.pace.Between(j.order, work, least, most)
	if j.slow {
		d = c.pace.Slow(j.order, work, least, most)
	}
	j.phase, j.from, j.began, j.failures = p, c.at, time.Now(), 0
	j.arrives = j.began.Add(d)
	c.reported = j.began
	c.after(min(d, c.reportPause()))
}

// reportPause is the time between two positions.
func (c *courier) reportPause() time.Duration {
	return max(reportAtMost, c.pace.Scaled(reportEvery))
}

// move goes a bit of the way, says where it is, and acts on arrival.
func (c *courier) move(ctx context.Context) {
	j := c.job
	target := j.pickup
	if j.phase == toDoor {
		target = j.dropoff
	}
	now := time.Now()
	if now.Before(j.arrives) {
		c.at = geo.Move(j.from, target, float64(now.Sub(j.began))/float64(j.arrives.Sub(j.began)))
		if now.Sub(c.reported) >= c.reportPause() {
			c.reported = now
			c.report(ctx)
		}
		c.after(max(time.Millisecond, min(time.Until(j.arrives), c.reportPause())))
		return
	}
	c.at = target
	if j.phase == toDoor {
		c.deliver(ctx)
		return
	}
	j.phase = waiting
	if j.ready {
		c.after(0)
		return
	}
	c.after(c.checkPause())
}

// checkPause is the time until the courier asks whether the food is ready. The live event tells sooner; asking
// is for the case that it went by before the courier had the order, so the first time is soon.
func (c *courier) checkPause() time.Duration {
	pauses := []time.Duration{200 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second}
	return pauses[min(c.job.checks, len(pauses)-1)]
}

// check picks up the food if it is ready, and otherwise asks whether it is.
func (c *courier) check(ctx context.Context) {
	if !c.job.ready {
		c.job.checks++
		t, err := c.fetchDelivery(ctx, c.job.order)
		c.job.ready = err == nil && t.Ready
	}
	if !c.job.ready {
		c.after(c.checkPause())
		return
	}
	c.pickUp(ctx)
}

// pickUp takes the food. A refusal means that it isn't ready after all, or that the order is dead: the
// reconciliation or a released event tells which.
func (c *courier) pickUp(ctx context.Context) {
	_, err := c.post(ctx, c.job.order, "pickup")
	if err == nil {
		c.travel(toDoor)
		return
	}
	c.job.ready = false
	c.tryAgain(ctx, "pickup", err)
}

// deliver hands the food over.
func (c *courier) deliver(ctx context.Context) {
	_, err := c.post(ctx, c.job.order, "deliver")
	if err == nil {
		c.finish(longPast)
		return
	}
	c.tryAgain(ctx, "deliver", err)
}

// tryAgain makes the same step due again. After a refusal it looks first what the platform thinks.
func (c *courier) tryAgain(ctx context.Context, step string, err error) {
	j := c.job
	j.failures++
	if !problem.Permanent(err) {
		c.log.Warn("a step has to wait", "order_id", j.order, "step", step, "err", err)
	}
	c.after(min(3*time.Second, 250*time.Millisecond<<min(j.failures, 4)))
	if problem.Permanent(err) {
		c.reconcile(ctx)
	}
}

// drop lets go of an order that is not the courier's any more.
func (c *courier) drop(why string) {
	c.log.Info("the order is gone", "order_id", c.job.order, "why", why)
	c.free()
}

// finish is done with an order, and hears no news of it for a while.
func (c *courier) finish(deaf time.Duration) {
	now := time.Now()
	if len(c.past) > 1000 {
		maps.DeleteFunc(c.past, func(_ string, until time.Time) bool { return until.Before(now) })
	}
	c.past[c.job.order] = now.Add(deaf)
	c.free()
}

func (c *courier) isPast(order string) bool { return time.Now().Before(c.past[order]) }

// free makes the courier ready for the next offer, and looks for one that came at a bad time.
func (c *courier) free() {
	c.job = nil
	c.timer.Stop()
	if c.missed {
		c.after(0)
	}
}

// reconcile does what the platform says and the courier does not know: after a start, and when events got lost.
func (c *courier) reconcile(ctx context.Context) {
	s, err := c.fetchSelf(ctx)
	if err != nil && problem.Of(err) != problem.NotFound {
		c.log.Debug("can't tell what is to be done", "err", err)
		return // the next time is soon
	}
	if at := s.Courier.Position; at != nil && s.Courier.Online && !c.placed {
		c.at = *at
	}
	c.placed = true
	if err != nil || !s.Courier.Online {
		if err := c.goOnline(ctx); err != nil {
			c.log.Debug("can't go online", "err", err)
			return
		}
	}
	c.duty.Do(c.onDuty)
	carrying := c.job != nil && c.job.phase != deciding
	switch {
	case s.Delivery != nil:
		c.adopt(*s.Delivery)
	case carrying:
		c.drop("not among the platform's deliveries")
	}
	for _, offer := range s.Offers {
		c.consider(offer)
	}
}

// adopt takes up the delivery that the platform says the courier has.
func (c *courier) adopt(d deliveryapi.Tracking) {
	same := c.job != nil && c.job.order == d.OrderID && c.job.phase != deciding
	pickedUp := d.Status == deliveryapi.PickedUp
	switch {
	case same && c.job.phase == waiting && d.Ready && c.job.failures == 0 && !pickedUp:
		c.job.ready = true
		c.after(0)
	case same && pickedUp == (c.job.phase == toDoor):
		// all is well, or the next step is due in a moment
	default:
		c.job = newJob(d.OrderID, d.Pickup, d.Dropoff, d.CourierNote)
		c.job.ready = d.Ready
		if pickedUp {
			c.travel(toDoor)
		} else {
			c.travel(toFood)
		}
	}
}
