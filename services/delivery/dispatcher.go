package delivery

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery/geoindex"
	"github.com/dishmesh/dishmesh/services/internal/geo"
)

// dispatcher is what this process knows of couriers and searches, in memory: who is free, who waits, what is due.
// It only proposes. What it proposes is checked and written with ETags, so that a dispatcher that is out of date,
// or the one of another replica, can do no harm.
type dispatcher struct {
	index  geoindex.Index
	radii  []float64
	pause  time.Duration // before a courier who let an offer expire is asked again
	signal chan struct{}

	mu       sync.Mutex
	ready    bool // couriers and searches were read once
	couriers map[string]*view
	searches map[string]*search
}

// view is a courier as last seen.
type view struct {
	courier
	at       geo.Point
	located  bool
	reserved string    // the order for which an offer is being written
	saved    time.Time // when the position was last written to the store
	told     time.Time // when the position was last published
	carried  delivery  // what is being carried, as last read
	readAt   time.Time // when carried was read
}

func (v *view) available(now time.Time) bool {
	return v.located && v.reserved == "" && v.free("", now)
}

// search is a delivery that has no courier yet.
type search struct {
	d       delivery
	due     bool
	running bool
	with    string // the courier reserved for it by match
	timer   *time.Timer
}

// tick is added to what falls due, so that the moment has surely passed when it is looked at.
const tick = 2 * time.Millisecond

// saw keeps a courier's record that was read or written, unless a newer one is known.
func (x *dispatcher) saw(c courier) *view {
	v := x.couriers[c.ID]
	if v == nil {
		v = &view{courier: c}
		x.couriers[c.ID] = v
	} else if c.Version >= v.Version {
		if c.OrderID != v.OrderID {
			v.carried, v.readAt = delivery{}, time.Time{}
		}
		v.courier = c
	}
	return v
}

// track keeps a search as it stands now, or forgets it when it is over, and sets its timer. grace is what another
// replica, whose search it may be, gets before this one acts.
func (x *dispatcher) track(d delivery, grace time.Duration) {
	s := x.searches[d.OrderID]
	if !d.searching() {
		if s != nil {
			x.unreserve(s)
			if s.timer != nil {
				s.timer.Stop()
			}
			delete(x.searches, d.OrderID)
		}
		return
	}
	if s == nil {
		s = &search{}
		x.searches[d.OrderID] = s
	}
	s.d = d
	now := time.Now()
	at := d.Deadline
	if d.Offer != nil {
		at = d.Offer.ExpiresAt
	}
	for _, missed := range d.Missed {
		if again := missed.Add(x.pause); d.Offer == nil && again.After(now) && again.Before(at) {
			at = again
		}
	}
	x.wakeAfter(s, at.Sub(now)+tick+grace)
}

// wakeAfter makes a search due after d, and not before unless something happens.
func (x *dispatcher) wakeAfter(s *search, d time.Duration) {
	if s.timer != nil {
		s.timer.Stop()
	}
	s.timer = time.AfterFunc(max(d, 0), func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.searches[s.d.OrderID] == s {
			s.due = true
			x.wake()
		}
	})
}

func (x *dispatcher) wake() {
	select {
	case x.signal <- struct{}{}:
	default:
	}
}

// match gives couriers that are free to searches that wait, the oldest search first and the nearest courier to
// it. It runs whenever either side changes, before anybody else can take the courier, so that a new order never
// overtakes one that waits.
func (x *dispatcher) match() {
	var waiting []*search
	for _, s := range x.searches {
		if s.d.waiting() && !s.due && !s.running && s.with == "" {
			waiting = append(waiting, s)
		}
	}
	if len(waiting) == 0 || !x.ready {
		return
	}
	slices.SortFunc(waiting, older)
	now := time.Now()
	var free []*view
	for _, v := range x.couriers {
		if v.available(now) {
			free = append(free, v)
		}
	}
	for _, s := range waiting {
		best, nearest := -1, x.radii[len(x.radii)-1]
		for i, v := range free {
			if v == nil || !s.d.may(v.ID, now, x.pause) {
				continue
			}
			if d := geo.Distance(s.d.Pickup.Point, v.at); d <= nearest {
				best, nearest = i, d
			}
		}
		if best >= 0 {
			free[best].reserved, s.with, s.due = s.d.OrderID, free[best].ID, true
			free[best] = nil
			x.wake()
		}
	}
}

func older(a, b *search) int { return a.d.RequestedAt.Compare(b.d.RequestedAt) }

// next gives the oldest search that is due, or waits for one.
func (x *dispatcher) next(ctx context.Context) (order string, ok bool) {
	for {
		x.mu.Lock()
		var first *search
		more := false
		for _, s := range x.searches {
			if !s.due || s.running {
				continue
			}
			more = first != nil
			if first == nil || older(s, first) < 0 {
				first = s
			}
		}
		if more {
			x.wake() // another worker takes the rest
		}
		if first != nil {
			first.due, first.running = false, true
			x.mu.Unlock()
			return first.d.OrderID, true
		}
		x.mu.Unlock()
		select {
		case <-ctx.Done():
			return "", false
		case <-x.signal:
		}
	}
}

// done ends what next began. A search that failed is due again after retry.
func (x *dispatcher) done(order string, retry time.Duration) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s := x.searches[order]; s != nil {
		s.running = false
		if retry > 0 {
			x.wakeAfter(s, retry)
		} else if s.due {
			x.wake()
		}
	}
	x.match()
}

func (x *dispatcher) unreserve(s *search) {
	if v := x.couriers[s.with]; v != nil && v.reserved == s.d.OrderID {
		v.reserved = ""
	}
	s.with = ""
}

// hold is a courier reserved for an order while the offer is being written.
type hold struct {
	x       *dispatcher
	order   string
	courier string
}

// hold takes over what match reserved for the order.
func (x *dispatcher) hold(order string) *hold {
	x.mu.Lock()
	defer x.mu.Unlock()
	h := &hold{x: x, order: order}
	if s := x.searches[order]; s != nil {
		h.courier, s.with = s.with, ""
	}
	return h
}

// release makes the courier free for others.
func (h *hold) release() {
	h.x.mu.Lock()
	defer h.x.mu.Unlock()
	h.drop()
}

func (h *hold) drop() {
	if v := h.x.couriers[h.courier]; v != nil && v.reserved == h.order {
		v.reserved = ""
	}
	h.courier = ""
}

// prospect is what a look around gives: somebody to ask, or whether it makes sense to wait.
type prospect struct {
	round    int  // of the widening search in which the courier was found, from 1
	busy     bool // somebody within reach may be asked later
	anybody  bool // somebody works within reach
	distance float64
}

// look reserves the nearest free courier for d who may be asked, in a search that widens by rounds. Nobody is
// reserved if h.courier is empty afterwards.
func (h *hold) look(ctx context.Context, d delivery, now time.Time) (prospect, error) {
	var p prospect
	x := h.x
	if h.courier != "" { // match has looked already
		x.mu.Lock()
		defer x.mu.Unlock()
		if v := x.couriers[h.courier]; v != nil && d.may(v.ID, now, x.pause) {
			p.distance = geo.Distance(d.Pickup.Point, v.at)
			p.round = 1 + slices.IndexFunc(x.radii, func(r float64) bool { return p.distance <= r })
			return p, nil
		}
		h.drop()
		p.busy = true
		return p, nil
	}
	for round, radius := range x.radii {
		hits, err := x.index.Near(ctx, d.Pickup.Point, radius)
		if err != nil {
			return p, err
		}
		x.mu.Lock()
		if !x.ready {
			x.mu.Unlock()
			p.busy = true
			return p, nil
		}
		for _, hit := range hits {
			p.anybody = true
			v := x.couriers[hit.ID]
			// A courier whom this process does not know yet will be known after the next refresh.
			p.busy = p.busy || !slices.Contains(d.Declined, hit.ID)
			if v != nil && d.may(hit.ID, now, x.pause) && v.available(now) {
				v.reserved, h.courier = h.order, hit.ID
				p.round, p.distance = round+1, hit.Distance
				x.mu.Unlock()
				return p, nil
			}
		}
		x.mu.Unlock()
	}
	return p, nil
}
