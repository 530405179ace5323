package load

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// Report is the result of a run. Its JSON keys are stable.
type Report struct {
	Orders          int     `json:"orders"`  // asked for
	Placed          int     `json:"placed"`  // acknowledged
	Ended           int     `json:"ended"`   // in a terminal state
	Stuck           int     `json:"stuck"`   // not terminal within the time-out after they were placed
	Refused         int     `json:"refused"` // never acknowledged
	Seconds         float64 `json:"seconds"` // from the first placement to the last end
	OrdersPerSecond float64 `json:"orders_per_second"`
	Concurrency     int     `json:"concurrency"`
	Rate            float64 `json:"rate"` // asked for, 0: closed loop
	Late            int     `json:"late"` // orders of an open loop that had to wait for one of the places in flight
	Customers       int     `json:"customers"`
	Seed            uint64  `json:"seed"`
	Interrupted     bool    `json:"interrupted"`

	// Latencies as customers see them: a quote; the request to place the order until 201; the same until the
	// customer hears that the kitchen has accepted, and that it was delivered.
	Quote     Latency `json:"quote_ms"`
	Accept    Latency `json:"accept_ms"`
	Accepted  Latency `json:"accepted_ms"`
	Delivered Latency `json:"delivered_ms"`
	// Steps has, by step, the time from placed to the step by the platform's own clock.
	Steps map[string]Latency `json:"steps_ms"`

	Outcomes   map[orderapi.Status]int `json:"outcomes"`   // by terminal state
	Unexpected map[string]int          `json:"unexpected"` // "<wish>: <state>" that the wish can't lead to
	Errors     map[string]int          `json:"errors"`     // answers by problem type, those that a repetition mended too
	Retries    int                     `json:"retries"`
	// StuckOrders has the first 20.
	StuckOrders []string `json:"stuck_orders"`
}

// Latency has quantiles in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

func (l *latency) quantiles() Latency {
	ms := func(us int64) float64 { return float64(us) / 1000 }
	return Latency{
		Count: l.h.TotalCount(),
		P50:   ms(l.h.ValueAtQuantile(50)), P90: ms(l.h.ValueAtQuantile(90)), P99: ms(l.h.ValueAtQuantile(99)),
		Max: ms(l.h.Max()),
	}
}

func (t *tally) report(cfg Config, now time.Time) Report {
	defer t.lock()()
	r := Report{
		Orders: cfg.Orders, Placed: t.nPlaced, Ended: t.nEnded, Stuck: t.nStuck, Refused: t.nRefused, Late: t.nLate,
		Concurrency: cfg.Concurrency, Rate: cfg.Rate, Customers: len(cfg.Customers), Seed: cfg.Seed,
		Quote: t.quote.quantiles(), Accept: t.accept.quantiles(), Accepted: t.toAccepted.quantiles(),
		Delivered: t.toDelivered.quantiles(), Steps: map[string]Latency{},
		Outcomes: maps.Clone(t.outcomes), Unexpected: maps.Clone(t.unexpected), Errors: maps.Clone(t.errors),
		Retries: t.nRetries, StuckOrders: append([]string{}, t.stuckOrders...),
	}
	for name, l := range t.steps {
		r.Steps[name] = l.quantiles()
	}
	if t.nEnded > 0 {
		took := t.last.Sub(t.first)
		r.Seconds = math.Round(took.Seconds()*1000) / 1000
		r.OrdersPerSecond = math.Round(perSecond(t.nEnded, took)*100) / 100
	}
	return r
}

// OK reports whether every order that was asked for came to an end that was to be expected.
func (r Report) OK() bool {
	return r.Stuck == 0 && r.Refused == 0 && len(r.Unexpected) == 0 && (r.Interrupted || r.Ended == r.Orders)
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) error {
	loop := fmt.Sprintf("closed loop, %d in flight", r.Concurrency)
	if r.Rate > 0 {
		loop = fmt.Sprintf("open loop, %g per s, at most %d in flight, %d had to wait for that", r.Rate, r.Concurrency, r.Late)
	}
	ew := &errWriter{w: w}
	ew.printf("%d orders asked for, %d placed, %d ended, %d stuck, %d refused (%s)\n", r.Orders, r.Placed, r.Ended, r.Stuck, r.Refused, loop)
	if r.Interrupted {
		ew.printf("interrupted: %d orders were left on their way\n", r.Placed-r.Ended-r.Stuck)
	}
	ew.printf("%.2f orders per s over %.1f s\n\n", r.OrdersPerSecond, r.Seconds)

	tw := tabwriter.NewWriter(ew, 0, 0, 2, ' ', tabwriter.AlignRight)
	row := func(name string, l Latency) {
		if l.Count == 0 {
			fmt.Fprintf(tw, "%s\t0\t\t\t\t\t\n", name)
			return
		}
		fmt.Fprintf(tw, "%s\t%d\t%s\t%s\t%s\t%s\t\n", name, l.Count, ms(l.P50), ms(l.P90), ms(l.P99), ms(l.Max))
	}
	fmt.Fprint(tw, "latency, ms\tcount\tp50\tp90\tp99\tmax\t\n")
	row("quote", r.Quote)
	row("order accepted (201)", r.Accept)
	row("kitchen accepted", r.Accepted)
	row("delivered", r.Delivered)
	fmt.Fprint(tw, "\t\t\t\t\t\t\nfrom placed to\t\t\t\t\t\t\n")
	for _, step := range customer.HappyPath()[1:] {
		row(step, r.Steps[step])
	}
	ew.fail(tw.Flush())

	counts(ew, "\nended as", r.Outcomes)
	counts(ew, "unexpected ends", r.Unexpected)
	counts(ew, fmt.Sprintf("errors (%d retries)", r.Retries), r.Errors)
	for _, id := range r.StuckOrders {
		ew.printf("stuck: %s\n", id)
	}
	return ew.err
}

func ms(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// counts writes one line, the most frequent first; nothing if there is nothing.
func counts[K ~string](ew *errWriter, title string, n map[K]int) {
	keys := slices.SortedFunc(maps.Keys(n), func(a, b K) int {
		if n[a] != n[b] {
			return n[b] - n[a]
		}
		if a < b {
			return -1
		}
		return 1
	})
	for i, k := range keys {
		if i == 0 {
			ew.printf("%s: ", title)
		} else {
			ew.printf(", ")
		}
		ew.printf("%s %d", string(k), n[k])
	}
	if len(keys) > 0 {
		ew.printf("\n")
	}
}

// errWriter keeps the first error, so that the lines above need not look at it.
type errWriter struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (e *errWriter) Write(p []byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	n, err := e.w.Write(p)
	e.fail(err)
	return n, err
}

func (e *errWriter) printf(format string, args ...any) { fmt.Fprintf(e, format, args...) }

func (e *errWriter) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}
