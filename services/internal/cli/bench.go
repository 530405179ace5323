package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/load"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

func init() { register(newBench) }

func newBench() *cobra.Command {
	var plan load.Plan
	var customers int
	var seed uint64
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "bench",
		GroupID: groupCheck,
		Short:   "Measure how many orders the running platform takes",
		Long: `Measures the running platform, in one go:
  - orders per second in closed loops, whole saga, durable;
  - no-op workflows per second with as many activities and waits, on the same store, and the ratio of the two. For this the
    order service must be started with BENCH=1: ` + "`dishmesh up --time-scale 0 --set order.BENCH=1`" + `;
  - how long it takes until an order is accepted, in an open loop at half the best rate;
  - how late consumers get events, in an open loop at --event-rate, from the metrics of the services.
A short load before them warms everything up and does not count. The city should not wait: time scale 0.

Prints a Markdown table. JSON keys: time_scale, closed [{concurrency, orders, ended, stuck, orders_per_second, accept_ms,
delivered_ms {count, p50, p90, p99, max}, noops {workflows, ended, seconds, per_second}, ratio}], half {rate, orders, ended, stuck,
late, orders_per_second, accept_ms}, events {rate, orders, ended, late, consumers [{consumer, topic, count, p50_ms, p99_ms}]},
noop_problem.
Exit codes: 0 measured and no order stuck, 1 otherwise, 2 wrong flag, 3 no platform is running, 130 interrupted.`,
		Args: cobra.NoArgs,
	}
	site := addSiteFlags(cmd)
	fl := cmd.Flags()
	fl.IntVar(&plan.Orders, "orders", 200, "orders of each run")
	fl.IntSliceVar(&plan.Concurrency, "concurrency", []int{10, 40}, "orders in flight of each closed loop")
	fl.IntVar(&plan.Noops, "noops", 200, "no-op workflows of each measurement; 0: none")
	fl.Float64Var(&plan.EventRate, "event-rate", 5, "orders per second at which the lag of events is measured; 0: it is not")
	fl.IntVar(&customers, "customers", 10, "how many customers the orders are of")
	fl.Uint64Var(&seed, "seed", 1, "of all choices")
	fl.BoolVar(&asJSON, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if plan.Orders < 1 || plan.Noops < 0 || plan.EventRate < 0 || customers < 1 || len(plan.Concurrency) == 0 {
			return usageError("--orders, --customers and --concurrency must be at least 1, --noops and --event-rate not negative")
		}
		for _, n := range plan.Concurrency {
			if n < 1 {
				return usageError("--concurrency must be at least 1, not %d", n)
			}
		}
		b, err := runBench(cmd, plan, customers, seed, site)
		switch {
		case cmd.Context().Err() != nil:
			return &ExitError{Code: exitInterrupted, Err: errors.New("interrupted: nothing was measured")}
		case err != nil:
			return err
		}
		if asJSON {
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			err = enc.Encode(b)
		} else {
			err = b.Print(cmd.OutOrStdout())
		}
		if err == nil && stuck(b) {
			return &ExitError{Code: ExitFailed}
		}
		return err
	}
	return cmd
}

func stuck(b load.Bench) bool {
	for _, c := range b.Closed {
		if c.Stuck > 0 {
			return true
		}
	}
	return b.Half.Stuck > 0
}

func runBench(cmd *cobra.Command, plan load.Plan, customers int, seed uint64, flags *siteFlags) (load.Bench, error) {
	site, data, err := flags.site(time.Minute)
	if err != nil {
		return load.Bench{}, err
	}
	info, err := running(data)
	if err != nil {
		return load.Bench{}, err
	}
	progress := cmd.ErrOrStderr()
	if info.TimeScale != 0 {
		fmt.Fprintf(progress, "note: the city runs at time scale %g, its pauses count; start with `dishmesh up --time-scale 0`\n", info.TimeScale)
	}
	noops, err := orderService(info)
	if err != nil {
		return load.Bench{}, err
	}
	ctx := cmd.Context()
	c, err := gather(ctx, progress, site, data, customers)
	if err != nil {
		return load.Bench{}, err
	}
	defer func() { _ = c.journal.Close() }() // every line is on the disk already
	drive := func(ctx context.Context, cfg load.Config) (load.Report, error) { return c.drive(ctx, progress, cfg) }
	meter := load.Metrics{Ports: map[string]int{}}
	for app, endpoint := range info.Apps {
		meter.Ports[app] = endpoint.AppPort
	}
	say := func(what string) { fmt.Fprintln(progress, what) }
	b, err := load.Measure(ctx, plan, load.Config{Seed: seed, Timeout: time.Minute}, drive, noops, meter, say)
	b.TimeScale = info.TimeScale
	return b, err
}

// orderService is the way to the order service of this run.
func orderService(info platform.RunInfo) (load.OrderService, error) {
	path := platform.Layout{Data: info.Data}.Tokens()
	raw, err := os.ReadFile(path)
	if err != nil {
		return load.OrderService{}, fmt.Errorf("tokens of this run: %w", err)
	}
	var tokens map[string]platform.AppTokens
	if err := json.Unmarshal(raw, &tokens); err != nil {
		return load.OrderService{}, fmt.Errorf("tokens of this run %s: %w", path, err)
	}
	return load.OrderService{Port: info.Apps[orderapi.App].AppPort, Token: tokens[orderapi.App].AppAPI}, nil
}
