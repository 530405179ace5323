package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// Plan is what a benchmark measures.
type Plan struct {
	Orders      int   // of each run
	Concurrency []int // of each closed loop
	Noops       int   // workflows of each measurement of the runtime alone; 0: none
	// EventRate is the pace of orders per second at which the lag of events is measured; 0: it is not.
	EventRate float64
}

// Bench is the result of a benchmark. Its JSON keys are stable.
type Bench struct {
	TimeScale float64  `json:"time_scale"` // of the city; other than 0, its pauses are a part of the figures
	Closed    []Closed `json:"closed"`
	// Half is an open loop at half the best rate of the closed ones.
	Half Half `json:"half"`
	// Events is an open loop at a steady pace; null: not measured.
	Events *Events `json:"events"`
	// NoopProblem says why there are no figures of no-op workflows; "" if there are.
	NoopProblem string `json:"noop_problem"`
}

// Closed is a closed loop with as many orders in flight as no-op workflows.
type Closed struct {
	Concurrency     int     `json:"concurrency"`
	Orders          int     `json:"orders"`
	Ended           int     `json:"ended"`
	Stuck           int     `json:"stuck"`
	OrdersPerSecond float64 `json:"orders_per_second"`
	Accept          Latency `json:"accept_ms"`
	Delivered       Latency `json:"delivered_ms"`
	Noops           *Noops  `json:"noops"` // null: not measured
	// Ratio is orders per second through no-op workflows per second.
	Ratio float64 `json:"ratio"`
}

// Half is an open loop.
type Half struct {
	Rate            float64 `json:"rate"` // orders per second that were placed
	Orders          int     `json:"orders"`
	Ended           int     `json:"ended"`
	Stuck           int     `json:"stuck"`
	Late            int     `json:"late"`
	OrdersPerSecond float64 `json:"orders_per_second"`
	Accept          Latency `json:"accept_ms"`
}

// Drive runs a load.
type Drive func(ctx context.Context, cfg Config) (Report, error)

// openLoopPlaces is how many orders of the open loop may be in flight: more than there are unless the platform falls
// behind, and no more than the live streams that its customers may have open.
const openLoopPlaces = 100

// Measure runs the plan: first a short load that warms everything up and does not count, then the closed loops, each
// with its no-op workflows, then the open loop, then the lag of events. say hears what is being done.
func Measure(ctx context.Context, plan Plan, cfg Config, drive Drive, noops NoopRunner, meter LagMeter, say func(string)) (Bench, error) {
	b := Bench{Closed: []Closed{}}
	if plan.Noops == 0 {
		b.NoopProblem = "not asked for"
	}
	run := func(what string, orders, concurrency int, rate float64) (Report, error) {
		say(what)
		cfg.Orders, cfg.Concurrency, cfg.Rate = orders, concurrency, rate
		cfg.Seed++ // other orders each time
		r, err := drive(ctx, cfg)
		if err == nil && r.Interrupted {
			err = context.Cause(ctx)
		}
		return r, err
	}
	if _, err := run("warming up", max(1, plan.Orders/10), plan.Concurrency[0], 0); err != nil {
		return b, err
	}
	best := 0.0
	for _, n := range plan.Concurrency {
		r, err := run(fmt.Sprintf("closed loop, %d in flight", n), plan.Orders, n, 0)
		if err != nil {
			return b, err
		}
		best = max(best, r.OrdersPerSecond)
		c := Closed{
			Concurrency: n, Orders: r.Orders, Ended: r.Ended, Stuck: r.Stuck, OrdersPerSecond: r.OrdersPerSecond,
			Accept: r.Accept, Delivered: r.Delivered,
		}
		if b.NoopProblem == "" {
			say(fmt.Sprintf("no-op workflows, %d in flight", n))
			w, err := noops.RunNoops(ctx, plan.Noops, n)
			switch {
			case ctx.Err() != nil:
				return b, context.Cause(ctx)
			case problem.Of(err) == problem.NotFound:
				b.NoopProblem = "the order service offers none: start the platform with `dishmesh up --set order.BENCH=1`"
			case err != nil:
				b.NoopProblem = err.Error()
			default:
				c.Noops = &w
				if w.PerSecond > 0 {
					c.Ratio = math.Round(r.OrdersPerSecond/w.PerSecond*1000) / 1000
				}
			}
		}
		b.Closed = append(b.Closed, c)
	}
	if best == 0 {
		return b, errors.New("no order ended: see `dishmesh status` and `dishmesh logs order`")
	}
	rate := math.Round(best/2*100) / 100
	r, err := run(fmt.Sprintf("open loop, %g per s", rate), plan.Orders, openLoopPlaces, rate)
	if err != nil {
		return b, err
	}
	b.Half = Half{
		Rate: rate, Orders: r.Orders, Ended: r.Ended, Stuck: r.Stuck, Late: r.Late,
		OrdersPerSecond: r.OrdersPerSecond, Accept: r.Accept,
	}
	if plan.EventRate == 0 {
		return b, nil
	}
	before, err := meter.Lags(ctx)
	if err != nil {
		return b, err
	}
	r, err = run(fmt.Sprintf("events, open loop, %g per s", plan.EventRate), plan.Orders, openLoopPlaces, plan.EventRate)
	if err != nil {
		return b, err
	}
	after, err := meter.Lags(ctx)
	if err != nil {
		return b, err
	}
	b.Events = &Events{Rate: plan.EventRate, Orders: r.Orders, Ended: r.Ended, Late: r.Late, Consumers: after.since(before)}
	return b, nil
}

// Print writes the result as a Markdown table.
func (b Bench) Print(w io.Writer) error {
	ew := &errWriter{w: w}
	ew.printf("| load | orders | stuck | orders per s | no-op workflows per s | ratio | accepted p50 / p99, ms | delivered p50 / p99, ms |\n")
	ew.printf("| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, c := range b.Closed {
		noops, ratio := "–", "–"
		if c.Noops != nil {
			noops, ratio = fmt.Sprintf("%.1f", c.Noops.PerSecond), fmt.Sprintf("%.2f", c.Ratio)
		}
		ew.printf("| closed loop, %d in flight | %d | %d | %.1f | %s | %s | %s / %s | %s / %s |\n", c.Concurrency, c.Ended, c.Stuck,
			c.OrdersPerSecond, noops, ratio, ms(c.Accept.P50), ms(c.Accept.P99), ms(c.Delivered.P50), ms(c.Delivered.P99))
	}
	ew.printf("| open loop at half the best rate, %g per s | %d | %d | %.1f | – | – | %s / %s | – |\n", b.Half.Rate, b.Half.Ended,
		b.Half.Stuck, b.Half.OrdersPerSecond, ms(b.Half.Accept.P50), ms(b.Half.Accept.P99))
	if b.Events != nil {
		b.Events.Print(ew)
	}
	if b.NoopProblem != "" {
		ew.printf("\nNo-op workflows were not measured: %s.\n", b.NoopProblem)
	}
	if b.TimeScale != 0 {
		ew.printf("\nThe city runs at time scale %g: its pauses are a part of the figures; measure with `dishmesh up --time-scale 0`.\n", b.TimeScale)
	}
	return ew.err
}
