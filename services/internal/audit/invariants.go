package audit

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/city/acquirer"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// judge checks the invariants against the facts.
func (f *facts) judge() (Report, error) {
	r := Report{OK: true, Orders: map[string]int{}, Notes: f.notes}
	told := len(f.notes)
	r.Invariants = []Invariant{f.ended(&r), f.settled(&r), f.balanced(), f.carried(), f.sequenced(), f.arrived()}
	noticed, err := f.noticed()
	if err != nil {
		return Report{}, err
	}
	r.Invariants = append(r.Invariants, noticed, f.booked())
	r.Pending, r.Notes = f.pending, append(r.Notes, f.notes[told:]...)
	for i := range r.Invariants {
		r.OK = r.OK && r.Invariants[i].OK
	}
	for _, o := range f.orders {
		r.Orders[string(o.Status)]++
	}
	return r, nil
}

func invariant(id int, name, unit string) Invariant {
	return Invariant{ID: id, Name: name, Unit: unit, OK: true, Violations: []string{}}
}

// sorted gives the keys of a map in order, so that reports can be compared.
func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// open reports whether an order may still change: it has not ended, and is not overdue.
func (f *facts) open(o orderFact) bool { return !o.Status.Terminal() && !f.overdue(o.at) }

// overdue reports whether something that last moved at a time should be done by now.
func (f *facts) overdue(at time.Time) bool {
	return f.cfg.Strict || f.cfg.Now().Sub(at) > f.cfg.Patience
}

// young reports whether something that began at a time may belong to an order placed after the orders were read.
func (f *facts) young(first time.Time) bool { return !first.Before(f.read) }

// ended is invariant 1: every acknowledged order exists, as it was acknowledged, and reaches a terminal state.
func (f *facts) ended(r *Report) Invariant {
	v := invariant(1, "every acknowledged order exists and ends", "orders")
	v.Checked = len(f.orders)
	for _, a := range f.journal {
		o, ok := f.orders[a.OrderID]
		switch {
		case !ok:
			v.Checked++
			v.violate("%s: was acknowledged at %s and does not exist", a.OrderID, a.AcknowledgedAt.Format(time.RFC3339))
		case o.CustomerID != a.CustomerID || o.Total != a.Total || o.Currency != a.Currency:
			v.violate("%s: was acknowledged to %s for %d %s, and is %s's for %d %s",
				a.OrderID, a.CustomerID, a.Total, a.Currency, o.CustomerID, o.Total, o.Currency)
		}
	}
	for _, id := range sorted(f.orders) {
		o := f.orders[id]
		if o.Status.Terminal() {
			continue
		}
		r.InFlight++
		if f.overdue(o.at) {
			v.violate("%s: is %s since %s and has not ended", id, o.Status, o.at.Format(time.RFC3339))
		}
	}
	return v
}

// settled is invariant 2: the money of an order is what its final state allows, and is never captured twice.
func (f *facts) settled(r *Report) Invariant {
	v := invariant(2, "the money of every order is what its end allows", "orders")
	v.Checked = len(f.orders)
	for _, id := range sorted(f.orders) {
		o, p := f.orders[id], f.payments[id]
		if p == nil {
			p = &paymentFact{}
		}
		authorized, _ := p.sum(acquirer.Authorize)
		captured, captures := p.sum(acquirer.Capture)
		voided, _ := p.sum(acquirer.Void)
		refunded, _ := p.sum(acquirer.Refund)
		kept, held := captured-refunded, authorized-captured-voided
		if captures > 1 {
			v.violate("%s: was captured %d times", id, captures)
		}
		switch {
		case !o.Status.Terminal():
		case o.Status == orderapi.CompensationFailed:
			r.Notes = append(r.Notes, fmt.Sprintf("%s: ended as compensation_failed (%s), with %d %s kept and %d held: an operator must look",
				id, o.Detail, kept, o.Currency, held))
		case o.Status == orderapi.Delivered:
			if kept != o.Total || captured != o.Total || held != 0 {
				v.violate("%s: was delivered for %d, but %d are captured, %d refunded, %d held", id, o.Total, captured, refunded, held)
			} else if p.status != paymentapi.PaidOut {
				r.InFlight++
				if f.overdue(o.at) {
					v.violate("%s: was delivered at %s and is not paid out", id, o.at.Format(time.RFC3339))
				}
			}
		case kept != 0 || held != 0:
			v.violate("%s: ended as %s, but %d are kept and %d held", id, o.Status, kept, held)
		}
	}
	for _, id := range sorted(f.payments) {
		if _, ok := f.orders[id]; !ok && !f.young(f.payments[id].first) {
			v.Checked++
			v.violate("%s: has a payment (%s), but there is no such order", id, f.payments[id].status)
		}
	}
	return v
}

// balanced is invariant 3: the ledger sums to zero, by event, by order and in all; and heads follow from events.
func (f *facts) balanced() Invariant {
	v := invariant(3, "the ledger sums to zero, and heads follow from events", "streams")
	v.Checked = f.streams
	for _, fault := range f.ledgerFaults {
		v.violate("%s", fault)
	}
	for _, id := range sorted(f.payments) {
		p := f.payments[id]
		var sum int64
		for _, amount := range p.balances {
			sum += amount
		}
		if sum != 0 {
			v.violate("%s: its ledger sums to %d", id, sum)
		}
		held, clearing := p.balances["order:"+id+":held"], p.balances["order:"+id+":clearing"]
		switch p.status {
		case paymentapi.Voided, paymentapi.Refunded, paymentapi.PaidOut, paymentapi.Declined:
			if held != 0 || clearing != 0 {
				v.violate("%s: is %s, but %d are held and %d in clearing", id, p.status, held, clearing)
			}
		}
	}
	var sum int64
	for _, amount := range f.accounts {
		sum += amount
	}
	if sum != 0 {
		v.violate("the whole ledger sums to %d", sum)
	}
	return v
}

// carried is invariant 4: a courier has one order at a time, and a dead order holds neither courier nor ticket.
func (f *facts) carried() Invariant {
	v := invariant(4, "a courier has one order at a time; a dead order holds nobody", "deliveries and tickets")
	v.Checked = len(f.deliveries) + len(f.tickets)
	for _, courier := range sorted(f.shifts) {
		shifts := f.shifts[courier]
		slices.SortFunc(shifts, func(a, b shift) int { return cmp.Or(a.from.Compare(b.from), cmp.Compare(a.order, b.order)) })
		for i := 1; i < len(shifts); i++ {
			if before := shifts[i-1]; before.to.IsZero() || before.to.After(shifts[i].from) {
				v.violate("courier %s: got %s at %s while having %s", courier, shifts[i].order, shifts[i].from.Format(time.RFC3339Nano), before.order)
			}
		}
	}
	for _, courier := range sorted(f.couriers) {
		order := f.couriers[courier]
		if d := f.deliveries[order]; order != "" && (d.courier != courier || d.status != deliveryapi.Assigned && d.status != deliveryapi.PickedUp) {
			v.violate("courier %s: is down as having %s, which is %s with %q", courier, order, cmp.Or(d.status, "unknown"), d.courier)
		}
	}
	for _, id := range sorted(f.deliveries) {
		d := f.deliveries[id]
		if (d.status == deliveryapi.Assigned || d.status == deliveryapi.PickedUp) && f.couriers[d.courier] != id {
			v.violate("%s: is %s with courier %s, who is down as having %q", id, d.status, d.courier, f.couriers[d.courier])
		}
		o, ok := f.orders[id]
		switch {
		case !ok && !f.young(d.first):
			v.violate("%s: has a delivery (%s), but there is no such order", id, d.status)
		case o.Status == orderapi.Delivered && d.status != deliveryapi.Delivered:
			v.violate("%s: the order is delivered, its delivery is %s", id, d.status)
		case dead(o.Status) && d.status != deliveryapi.Released && d.status != deliveryapi.Unavailable:
			v.violate("%s: ended as %s, but its delivery is %s", id, o.Status, d.status)
		}
	}
	for _, id := range sorted(f.tickets) {
		t := f.tickets[id]
		o, ok := f.orders[id]
		switch {
		case !ok && !f.young(t.first):
			v.violate("%s: has a ticket (%s), but there is no such order", id, t.status)
		case dead(o.Status) && t.status != restaurantapi.Rejected && t.status != restaurantapi.Cancelled:
			v.violate("%s: ended as %s, but its ticket is %s", id, o.Status, t.status)
		}
	}
	for _, id := range sorted(f.boards) {
		if o := f.orders[id]; dead(o.Status) {
			v.violate("%s: ended as %s, but is work on the board of %s", id, o.Status, f.boards[id])
		}
	}
	return v
}

// dead says that an order ended without being delivered, and that what it held was given back.
func dead(s orderapi.Status) bool {
	return s.Terminal() && s != orderapi.Delivered && s != orderapi.CompensationFailed
}

// booked is invariant 8: the acquirer's book and the ledger tell the same story.
func (f *facts) booked() Invariant {
	v := invariant(8, "the acquirer's book equals the ledger", "operations")
	v.Checked = f.bookTotal
	all := map[string]bool{}
	for id := range f.book {
		all[id] = true
	}
	for id := range f.payments {
		all[id] = true
	}
	for _, id := range sorted(all) {
		var ledger []movement
		if p := f.payments[id]; p != nil {
			ledger = p.movements
		}
		for _, kind := range []acquirer.Kind{acquirer.Authorize, acquirer.Capture} {
			if n := count(f.book[id], kind); n > 1 {
				v.violate("%s: the acquirer has %d operations to %s", id, n, kind)
			}
		}
		inLedger, inBook := without(ledger, f.book[id]), without(f.book[id], ledger)
		if len(inLedger) > 0 { // the book was read later, so that it can't lag behind
			v.violate("%s: not in the acquirer's book: %s", id, list(inLedger))
		}
		// A call may have been made and not be recorded yet: as long as its order is open, or was not seen, or the
		// call is so fresh that whoever made it still works on it.
		inBook = slices.DeleteFunc(inBook, func(m movement) bool {
			o, ok := f.orders[id]
			fresh := f.cfg.Now().Sub(m.at) < doubt
			return !f.cfg.Strict && (ok && f.open(o) || !ok && f.young(m.at) || fresh)
		})
		if len(inBook) > 0 {
			v.violate("%s: in the acquirer's book, but not in the ledger: %s", id, list(inBook))
		}
	}
	return v
}

// doubt is how long an operation may be in the book and not in the ledger: a call, its time-out, the saga's retry.
const doubt = 30 * time.Second

func count(ms []movement, kind acquirer.Kind) (n int) {
	for _, m := range ms {
		if m.kind == kind {
			n++
		}
	}
	return n
}

// without gives what is in a and not in b; what is twice in a must be twice in b.
func without(a, b []movement) []movement {
	left := map[string]int{}
	for _, m := range b {
		left[m.String()]++
	}
	var rest []movement
	for _, m := range a {
		if left[m.String()] > 0 {
			left[m.String()]--
		} else {
			rest = append(rest, m)
		}
	}
	return rest
}

func list(ms []movement) string {
	words := make([]string, len(ms))
	for i, m := range ms {
		words[i] = m.String()
	}
	return strings.Join(words, ", ")
}
