package analytics

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/dishmesh/dishmesh/services/analytics/analyticsapi"
	"github.com/dishmesh/dishmesh/services/internal/money"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// stats are counters over documents: a sum, so that shards of it can be added up.
type stats struct {
	Statuses    map[string]int64         `json:"statuses,omitempty"`
	Days        map[string]tally         `json:"days,omitempty"` // by date (UTC) on which the order was placed
	Restaurants map[string]tally         `json:"restaurants,omitempty"`
	Names       map[string]string        `json:"names,omitempty"`      // of the restaurants
	Intervals   map[string]map[int]int64 `json:"intervals,omitempty"`  // counts by bucket
	Milestones  map[string]int64         `json:"milestones,omitempty"` // orders that got as far
	Accounts    map[string]int64         `json:"accounts,omitempty"`   // by role
	AsOf        time.Time                `json:"as_of"`                // of the newest event that is counted
}

type tally struct {
	Orders    int64 `json:"orders,omitempty"`
	Delivered int64 `json:"delivered,omitempty"`
	Gross     int64 `json:"gross,omitempty"` // minor units
	Refunded  int64 `json:"refunded,omitempty"`
}

func (t tally) plus(o tally, sign int64) tally {
	return tally{t.Orders + sign*o.Orders, t.Delivered + sign*o.Delivered, t.Gross + sign*o.Gross, t.Refunded + sign*o.Refunded}
}

// funnel are the milestones that an order passes on its way, in order.
var funnel = []string{placed, accepted, ready, pickedUp, delivered}

// intervals are the lead times: from one milestone to another.
var intervals = []struct{ name, from, to string }{
	{"placed_to_accepted", placed, accepted},
	{"placed_to_assigned", placed, assigned},
	{"accepted_to_ready", accepted, ready},
	{"ready_to_picked_up", ready, pickedUp},
	{"picked_up_to_delivered", pickedUp, delivered},
	{"placed_to_delivered", placed, delivered},
}

// contribution is what one document adds to the counters. An order counts from order.placed on: what comes in
// before that waits in its document.
func contribution(d doc) stats {
	if d.Role != "" {
		return stats{Accounts: map[string]int64{d.Role: 1}}
	}
	at, ok := d.At[placed]
	if !ok {
		return stats{}
	}
	t := tally{Orders: 1, Gross: sum(d.Captures), Refunded: sum(d.Refunds)}
	if d.End != nil && d.End.Status == orderapi.Delivered {
		t.Delivered = 1
	}
	s := stats{
		Statuses:    map[string]int64{d.status(): 1},
		Days:        map[string]tally{at.UTC().Format(time.DateOnly): t},
		Restaurants: map[string]tally{d.RestaurantID: t},
		Names:       map[string]string{d.RestaurantID: d.RestaurantName},
		Milestones:  map[string]int64{},
		Intervals:   map[string]map[int]int64{},
	}
	for _, m := range funnel {
		if d.at(m) != nil {
			s.Milestones[m] = 1
		}
	}
	for _, i := range intervals {
		if from, to := d.at(i.from), d.at(i.to); from != nil && to != nil {
			s.Intervals[i.name] = map[int]int64{bucket(to.Sub(*from)): 1}
		}
	}
	return s
}

// add adds sign × o. Counters at zero are dropped, so that the same documents give the same counters.
func (s *stats) add(o stats, sign int64) {
	addCounts(&s.Statuses, o.Statuses, sign)
	addCounts(&s.Milestones, o.Milestones, sign)
	addCounts(&s.Accounts, o.Accounts, sign)
	addTallies(&s.Days, o.Days, sign)
	addTallies(&s.Restaurants, o.Restaurants, sign)
	for name, counts := range o.Intervals {
		have := s.Intervals[name]
		addCounts(&have, counts, sign)
		put(&s.Intervals, name, have)
	}
	if sign > 0 {
		for id, name := range o.Names {
			put(&s.Names, id, name)
		}
		if o.AsOf.After(s.AsOf) {
			s.AsOf = o.AsOf
		}
	}
}

func addCounts[K comparable](to *map[K]int64, from map[K]int64, sign int64) {
	for k, n := range from {
		if n = (*to)[k] + sign*n; n == 0 {
			delete(*to, k)
		} else {
			put(to, k, n)
		}
	}
}

func addTallies(to *map[string]tally, from map[string]tally, sign int64) {
	for k, t := range from {
		if t = (*to)[k].plus(t, sign); t == (tally{}) {
			delete(*to, k)
		} else {
			put(to, k, t)
		}
	}
}

// Buckets of intervals grow by 5 percent from 10 ms on; the middle of one is within 2.5 percent of what is in it.
const (
	growth     = 1.05
	firstLimit = 10.0 // ms
)

func bucket(d time.Duration) int {
	ms := float64(d) / float64(time.Millisecond)
	if ms < firstLimit { // also negative, when two clocks differ
		return 0
	}
	return 1 + int(math.Log(ms/firstLimit)/math.Log(growth))
}

// seconds is the middle of a bucket.
func seconds(bucket int) float64 {
	if bucket == 0 {
		return firstLimit / 2 / 1000
	}
	return math.Round(firstLimit*math.Pow(growth, float64(bucket)-0.5)) / 1000
}

func leadTime(counts map[int]int64) analyticsapi.LeadTime {
	order := slices.Sorted(maps.Keys(counts))
	total := sum(counts)
	quantile := func(q float64) float64 {
		rank, seen := int64(math.Ceil(q*float64(total))), int64(0)
		for _, b := range order {
			if seen += counts[b]; seen >= rank {
				return seconds(b)
			}
		}
		return 0
	}
	return analyticsapi.LeadTime{Count: total, P50: quantile(0.5), P90: quantile(0.9), P99: quantile(0.99)}
}

func (s *stats) summary() analyticsapi.Summary {
	out := analyticsapi.Summary{
		AsOf: s.asOf(), Consistency: analyticsapi.Eventual, Currency: money.Currency,
		Orders:    analyticsapi.Orders{Total: sum(s.Statuses), ByStatus: map[string]int64{}},
		Revenue:   analyticsapi.Revenue{Currency: money.Currency},
		ByDay:     []analyticsapi.Day{},
		LeadTimes: map[string]analyticsapi.LeadTime{}, Accounts: map[string]int64{},
		Restaurants: []analyticsapi.Restaurant{}, Funnel: []analyticsapi.FunnelStep{},
	}
	maps.Copy(out.Orders.ByStatus, s.Statuses)
	maps.Copy(out.Accounts, s.Accounts)
	for _, date := range slices.Backward(slices.Sorted(maps.Keys(s.Days))) {
		t := s.Days[date]
		out.Revenue.Gross += t.Gross
		out.Revenue.Refunded += t.Refunded
		if len(out.ByDay) < maxDays {
			out.ByDay = append(out.ByDay, analyticsapi.Day{Date: date, Orders: t.Orders, Gross: t.Gross, Refunded: t.Refunded, Net: t.Gross - t.Refunded})
		}
	}
	out.Revenue.Net = out.Revenue.Gross - out.Revenue.Refunded
	for _, id := range slices.Sorted(maps.Keys(s.Restaurants)) {
		t := s.Restaurants[id]
		out.Restaurants = append(out.Restaurants, analyticsapi.Restaurant{
			RestaurantID: id, Name: s.Names[id], Orders: t.Orders, Delivered: t.Delivered,
			Gross: t.Gross, Refunded: t.Refunded, Net: t.Gross - t.Refunded,
		})
	}
	slices.SortStableFunc(out.Restaurants, func(a, b analyticsapi.Restaurant) int { return int(min(1, max(-1, b.Gross-a.Gross))) })
	for _, i := range intervals {
		if counts := s.Intervals[i.name]; len(counts) > 0 {
			out.LeadTimes[i.name] = leadTime(counts)
		}
	}
	for _, m := range funnel {
		step := analyticsapi.FunnelStep{Step: m, Orders: s.Milestones[m]}
		if all := s.Milestones[placed]; all > 0 {
			step.Share = math.Round(1000*float64(step.Orders)/float64(all)) / 1000
		}
		out.Funnel = append(out.Funnel, step)
	}
	return out
}

// maxDays bounds how many days a summary lists.
const maxDays = 90

func (s *stats) asOf() *time.Time {
	if s.AsOf.IsZero() {
		return nil
	}
	return &s.AsOf
}
