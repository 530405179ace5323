// Package load drives the platform with many orders at once, as a crowd of customers would, and measures what they
// see.
package load

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

const (
	// lookEvery is how often an order is read besides its live stream.
	lookEvery = 5 * time.Second
	// choices is how often a customer chooses again when a dish is sold out or a price has changed meanwhile.
	choices = 5
)

// Config of a Load.
type Config struct {
	Orders      int
	Enough      <-chan struct{} // once it is closed no more are begun, and those that were are all that were asked for; nil: all are
	Concurrency int             // orders in flight at most
	Rate        float64         // orders per second that are begun, whatever has ended (open loop); 0: as many as fit (closed loop)
	Mixed       bool            // a fifth of the orders meets with a mishap
	// Wishes says what befalls the i-th order; nil: nothing, or as Mixed says.
	Wishes    func(i int) customer.Wish
	Seed      uint64 // of all choices: the same seed gives the same orders
	Timeout   time.Duration
	Customers []*customer.Customer
	Town      *customer.Town
	// Journal gets every acknowledged order; nil: none is kept.
	Journal *customer.Journal
}

// Load is one run. Make it with New.
type Load struct {
	cfg   Config
	tally *tally
}

// New prepares a run. Its customers report repeated requests to it from now on.
func New(cfg Config) *Load {
	l := &Load{cfg: cfg, tally: newTally()}
	for _, c := range cfg.Customers {
		c.Retried = l.tally.retried
	}
	return l
}

// Snapshot tells how far the run is.
func (l *Load) Snapshot() Snapshot { return l.tally.snapshot(l.cfg.Orders, time.Now()) }

// Run places the orders, follows each to its end and reports. When ctx is done it begins no more, leaves those that
// are under way, and reports what there is. The error is one of the journal: without it nothing is worth anything.
func (l *Load) Run(ctx context.Context) (Report, error) {
	parent := ctx
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	slots := make(chan struct{}, l.cfg.Concurrency)
	var running sync.WaitGroup
	start := time.Now()
	asked := l.cfg.Orders
	// placing ends where no more orders are wanted; those that are under way go on by ctx.
	placing, enough := context.WithCancel(ctx)
	defer enough()
	if l.cfg.Enough != nil {
		go func() {
			select {
			case <-l.cfg.Enough:
				enough()
			case <-placing.Done():
			}
		}()
	}
	for i := range l.cfg.Orders {
		if l.cfg.Rate > 0 {
			due := start.Add(time.Duration(float64(i) / l.cfg.Rate * float64(time.Second)))
			if publicapi.Sleep(placing, time.Until(due)) && len(slots) == cap(slots) {
				l.tally.late()
			}
		}
		select {
		case slots <- struct{}{}:
		case <-placing.Done():
		}
		if placing.Err() != nil {
			if ctx.Err() == nil {
				asked = i
			}
			break
		}
		running.Go(func() {
			defer func() { <-slots }()
			if err := l.order(ctx, i); err != nil {
				stop(err)
			}
		})
	}
	running.Wait()
	r := l.tally.report(l.cfg, time.Now())
	r.Orders = asked
	r.Interrupted = parent.Err() != nil
	if cause := context.Cause(ctx); cause != nil && parent.Err() == nil {
		return r, cause
	}
	return r, nil
}

// order places the i-th order and follows it.
func (l *Load) order(ctx context.Context, i int) error {
	l.tally.began()
	defer l.tally.left()
	rng := rand.New(rand.NewPCG(l.cfg.Seed, uint64(i)))
	c := l.cfg.Customers[i%len(l.cfg.Customers)]
	wish := customer.Plain()
	switch {
	case l.cfg.Wishes != nil:
		wish = l.cfg.Wishes(i)
	case l.cfg.Mixed:
		wish = customer.MixedWish(l.cfg.Seed, i)
	}
	o, began, err := l.place(ctx, c, rng, wish)
	if err != nil {
		if ctx.Err() == nil {
			l.tally.refused(err)
		}
		return nil
	}
	if l.cfg.Journal != nil {
		if err := l.cfg.Journal.Append(o, time.Now()); err != nil {
			return err
		}
	}
	l.follow(ctx, c, wish, o, began)
	return nil
}

// place chooses, asks for a quote and places the order, and chooses again where that may help. began is when the
// request that was accepted was first sent.
func (l *Load) place(ctx context.Context, c *customer.Customer, rng *rand.Rand, wish customer.Wish) (o orderapi.Order, began time.Time, err error) {
	for range choices {
		began = time.Now()
		var quote pricingapi.Quote
		if quote, err = c.Quote(ctx, l.cfg.Town.Choose(rng)); err == nil {
			l.tally.quoted(time.Since(began))
			began = time.Now()
			o, err = c.Place(ctx, ids.New("key"), orderapi.PlaceRequest{
				Quote: quote.Token, Card: wish.Card, Note: wish.Note, CourierNote: wish.CourierNote,
			})
			if err == nil {
				l.tally.placed(began, time.Now())
				return o, began, nil
			}
		}
		if ctx.Err() != nil || !customer.ChooseAgain(err) {
			return o, began, err
		}
		l.tally.failed(err)
	}
	return o, began, err
}

// follow watches an order until it ends or the time-out, cancels it if that is the wish, and notes how it went.
func (l *Load) follow(ctx context.Context, c *customer.Customer, wish customer.Wish, o orderapi.Order, began time.Time) {
	limited, cancel := context.WithTimeout(ctx, l.cfg.Timeout+wish.Slack)
	defer cancel()
	var progress customer.Progress
	var accepted time.Time
	var cancelling sync.WaitGroup
	defer cancelling.Wait()
	point := wish.CancelAfter
	see := func(n customer.News) bool {
		if n.Event != nil {
			progress.SeeEvent(*n.Event)
		} else {
			progress.SeeOrder(*n.Order)
		}
		if accepted.IsZero() && progress.Has(customer.StepKitchenAccepted) {
			accepted = time.Now()
		}
		if point != "" && progress.CancelDue(point) {
			point = ""
			cancelling.Go(func() {
				_, err := c.Cancel(limited, o.ID, "changed my mind")
				if err != nil && limited.Err() == nil && !customer.TooLate(err) {
					l.tally.failed(err)
				}
			})
		}
		return !progress.Ended()
	}
	see(customer.News{Order: &o})
	err := c.Follow(limited, o.ID, lookEvery, see)
	switch {
	case progress.Ended():
		l.tally.ended(ending{wish: wish, progress: &progress, began: began, accepted: accepted, at: time.Now()})
	case ctx.Err() != nil:
		// Interrupted: how it would have ended is not known.
	default:
		if limited.Err() == nil {
			l.tally.failed(err)
		}
		l.tally.stuck(o.ID)
	}
}
