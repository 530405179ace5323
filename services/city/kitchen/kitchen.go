// Package kitchen plays a restaurant's kitchen: it accepts the tickets that are opened, cooks, and says when
// the food is ready, all through the public API.
package kitchen

import (
	"context"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/city/actor"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

const (
	callRetries = 4
	// callsAtOnce bounds a kitchen's calls in flight, so that a rush in one restaurant is not a rush at the gateway.
	callsAtOnce = 4
	// remembered is how long a finished ticket is known: longer than its last event can be late.
	remembered = 30 * time.Second
)

// action is the last part of a ticket's path.
type action string

const (
	accept action = "accept"
	reject action = "reject"
	ready  action = "ready"
	none   action = ""
)

// job is a ticket in hand, or a finished one that is still remembered.
type job struct {
	next     action // none: finished
	note     string
	finished time.Time
}

// kitchen is one actor. Its maps belong to the goroutine of run; calls are made by others, which report back.
type kitchen struct {
	api        *publicapi.Client
	pace       actor.Pace
	log        *slog.Logger
	restaurant string

	jobs   map[string]*job
	due    chan string
	done   chan outcome
	lists  chan snapshot
	slots  chan struct{}
	busy   bool // a reconciliation is under way
	duty   sync.Once
	onDuty func() // told once, when the kitchen works
}

// outcome is how a call ended.
type outcome struct {
	order  string
	action action
	err    error
}

// snapshot is what the platform says is to be done.
type snapshot struct {
	open, accepted []restaurantapi.Ticket
	err            error
}

// Run plays the kitchen of an account until ctx is done.
func Run(ctx context.Context, town *actor.Town, account actor.Account) {
	api, _, ok := town.Enter(ctx, account)
	if !ok {
		return
	}
	k := &kitchen{
		api: api, pace: town.Pace, log: town.Log.With("kitchen", account.RestaurantID), restaurant: account.RestaurantID,
		jobs: map[string]*job{}, due: make(chan string), done: make(chan outcome), lists: make(chan snapshot),
		slots: make(chan struct{}, callsAtOnce), onDuty: town.OnDuty,
	}
	k.log.Info("the kitchen is open")
	k.run(ctx, town.Follow(ctx, api, "/v1/restaurants/"+url.PathEscape(account.RestaurantID)+"/live"))
}

func (k *kitchen) run(ctx context.Context, feed actor.Feed) {
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-feed.Events:
			k.hear(ctx, e)
		case order := <-k.due:
			k.call(ctx, order)
		case o := <-k.done:
			k.settle(ctx, o)
		case <-feed.Reconcile:
			k.look(ctx)
		case s := <-k.lists:
			k.reconcile(ctx, s)
		}
	}
}

// hear takes a live event.
func (k *kitchen) hear(ctx context.Context, e publicapi.Event) {
	switch e.Type {
	case restaurantapi.TypeTicketOpened:
		m, err := e.Payload(restaurantapi.Events)
		t, ok := m.(*restaurantapi.TicketOpened)
		if !ok || t.OrderId == "" {
			k.log.Warn("an event can't be read", "type", e.Type, "id", e.ID, "err", err)
			return
		}
		k.open(ctx, t.OrderId, t.Note, contract.Time(t.Deadline))
	case restaurantapi.TypeTicketRejected, restaurantapi.TypeTicketReady, restaurantapi.TypeTicketCancelled:
		k.finish(e.Subject)
	}
}

// open takes a new ticket in hand.
func (k *kitchen) open(ctx context.Context, order, note string, deadline time.Time) {
	if k.jobs[order] != nil {
		return
	}
	j := &job{next: accept, note: note}
	k.jobs[order] = j
	switch actor.Directive(note, actor.RoleKitchen) {
	case "ignore":
		k.finish(order)
		return
	case "reject":
		j.next = reject
	}
	d := k.pace.Between(order, "kitchen accepts", time.Second, 3*time.Second)
	if !deadline.IsZero() {
		d = min(d, time.Until(deadline)/2) // however slow the town is, the platform does not wait for long
	}
	k.after(ctx, order, d)
}

// cook takes an accepted ticket in hand, unless it is already.
func (k *kitchen) cook(ctx context.Context, order, note string) {
	if k.jobs[order] != nil {
		return
	}
	k.jobs[order] = &job{next: ready, note: note}
	k.after(ctx, order, k.cookingTime(order, note))
}

func (k *kitchen) cookingTime(order, note string) time.Duration {
	const least, most = 5 * time.Second, 8 * time.Second
	if actor.Directive(note, actor.RoleKitchen) == "slow" {
		return k.pace.Slow(order, "kitchen cooks", least, most)
	}
	return k.pace.Between(order, "kitchen cooks", least, most)
}

// prepMinutes is what the kitchen tells the customer, in minutes of the town's own time.
func (k *kitchen) prepMinutes(order string) int {
	return 10 + k.pace.Rand(order, "kitchen promises").IntN(11)
}

// finish remembers a ticket as done with.
func (k *kitchen) finish(order string) {
	k.jobs[order] = &job{next: none, finished: time.Now()}
}

// after makes the ticket's next step due.
func (k *kitchen) after(ctx context.Context, order string, d time.Duration) {
	if d <= 0 {
		k.call(ctx, order)
		return
	}
	time.AfterFunc(d, func() {
		select {
		case k.due <- order:
		case <-ctx.Done():
		}
	})
}

// call makes the next step of a ticket, unless it was finished meanwhile.
func (k *kitchen) call(ctx context.Context, order string) {
	j := k.jobs[order]
	if j == nil || j.next == none {
		return
	}
	go func(a action) {
		select {
		case k.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		err := k.post(ctx, order, a)
		<-k.slots
		select {
		case k.done <- outcome{order, a, err}:
		case <-ctx.Done():
		}
	}(j.next)
}

// settle goes on after a call.
func (k *kitchen) settle(ctx context.Context, o outcome) {
	j := k.jobs[o.order]
	if j == nil || j.next != o.action {
		return // cancelled meanwhile
	}
	switch {
	case o.err == nil && o.action == accept:
		j.next = ready
		k.after(ctx, o.order, k.cookingTime(o.order, j.note))
	case o.err == nil:
		k.finish(o.order)
	default:
		// Refused, because the ticket has moved on, or not to be had: forget it, the next reconciliation tells.
		delete(k.jobs, o.order)
		if !problem.Permanent(o.err) {
			k.log.Warn("a ticket has to wait", "order_id", o.order, "action", o.action, "err", o.err)
		}
	}
}

// look asks what is to be done, in the background and once at a time.
func (k *kitchen) look(ctx context.Context) {
	if k.busy {
		return
	}
	k.busy = true
	go func() {
		var s snapshot
		if s.open, s.err = k.list(ctx, restaurantapi.Open); s.err == nil {
			s.accepted, s.err = k.list(ctx, restaurantapi.Accepted)
		}
		select {
		case k.lists <- s:
		case <-ctx.Done():
		}
	}()
}

// reconcile takes in hand what the platform has and the kitchen has not, and forgets what is long finished.
func (k *kitchen) reconcile(ctx context.Context, s snapshot) {
	k.busy = false
	for order, j := range k.jobs {
		if j.next == none && time.Since(j.finished) > remembered {
			delete(k.jobs, order)
		}
	}
	if s.err != nil {
		return // the next one is soon
	}
	k.duty.Do(k.onDuty)
	for _, t := range s.open {
		k.open(ctx, t.OrderID, t.Note, t.Deadline)
	}
	for _, t := range s.accepted {
		k.cook(ctx, t.OrderID, t.Note)
	}
}
