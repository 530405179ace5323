package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8"
	"github.com/vbauerster/mpb/v8/decor"

	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/load"
)

func init() { register(newLoad) }

// The kinds of --outcomes.
const (
	outcomesOK    = "ok"
	outcomesMixed = "mixed"
)

// ordersEach is how many orders in flight a customer has at most, unless it is told otherwise: the gateway bounds the
// live streams of an account.
const ordersEach = 10

// loadFlags are the flags of `dishmesh load`.
type loadFlags struct {
	orders, concurrency, customers int
	rate                           float64
	seed                           uint64
	outcomes                       string
	timeout, patience              time.Duration
	json, untilEOF                 bool
}

func newLoad() *cobra.Command {
	var f loadFlags
	cmd := &cobra.Command{
		Use:     "load",
		GroupID: groupOrders,
		Short:   "Place many orders at once and measure what their customers see",
		Long: `Places orders through the public API, follows each to its end over its live stream, and reports throughput, latencies and
how the orders ended. In a closed loop (the default) a new order is placed when another has ended; with --rate orders
are placed at that pace whatever has ended (open loop).

A request that fails because the platform does not answer is repeated with the same Idempotency-Key for as long as
--patience says: the platform may be killed and started again meanwhile. Every acknowledged order is recorded in
client/orders.jsonl of the data folder; ` + "`dishmesh audit`" + ` holds the platform to it. Ctrl-C ends the run and prints what
there is so far. Customers are registered once and kept in client/customers.json.

JSON keys: orders, placed, ended, stuck, refused, seconds, orders_per_second, concurrency, rate, late, customers, seed,
interrupted, quote_ms, accept_ms, accepted_ms, delivered_ms {count, p50, p90, p99, max}, steps_ms {<step>: {…}},
outcomes {<state>: n}, unexpected {"<wish>: <state>": n}, errors {<problem type>: n}, retries, stuck_orders [id].
accept_ms is from POST /v1/orders until 201, accepted_ms and delivered_ms until the customer hears that the kitchen
accepted and that it was delivered, all with repetitions; steps_ms is from placed by the platform's clock. Progress goes to
stderr, the report to stdout.

Exit codes: 0 every order ended as it may, 1 one is stuck, was refused or ended otherwise, 2 wrong flag, 3 no platform is
running, 130 interrupted.`,
		Example: `  dishmesh load --orders 500 --concurrency 40
  dishmesh load --orders 300 --rate 4 --json
  dishmesh load --orders 200 --outcomes mixed --seed 7`,
		Args: cobra.NoArgs,
	}
	site := addSiteFlags(cmd)
	fl := cmd.Flags()
	fl.IntVar(&f.orders, "orders", 100, "how many orders")
	fl.BoolVar(&f.untilEOF, "until-eof", false, "place no more once standard input ends, and follow those under way; --orders is how many at most")
	fl.IntVar(&f.concurrency, "concurrency", 10, "orders in flight at most")
	fl.Float64Var(&f.rate, "rate", 0, "orders per second to place, whatever has ended; 0: as soon as another has ended")
	fl.IntVar(&f.customers, "customers", 0, "how many customers they are of (default 8, more where more than 80 orders are in flight)")
	fl.Uint64Var(&f.seed, "seed", 1, "of all choices: the same seed makes the same orders")
	fl.StringVar(&f.outcomes, "outcomes", outcomesOK, "ok; or mixed: a fifth of the orders has a bad card, an unwilling kitchen or courier, or is cancelled")
	fl.DurationVar(&f.timeout, "timeout", time.Minute, "an order that has not ended so long after it was placed is stuck (one that no courier takes gets 90 s more)")
	fl.DurationVar(&f.patience, "patience", time.Minute, "how long a request is repeated while the platform does not answer")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := f.check(); err != nil {
			return err
		}
		return runLoad(cmd, f, site)
	}
	return cmd
}

func (f loadFlags) check() error {
	switch {
	case f.orders < 1:
		return usageError("--orders must be at least 1, not %d", f.orders)
	case f.concurrency < 1:
		return usageError("--concurrency must be at least 1, not %d", f.concurrency)
	case f.customers < 0:
		return usageError("--customers must be at least 1, not %d", f.customers)
	case f.rate < 0:
		return usageError("--rate must not be negative, as %g is", f.rate)
	case f.outcomes != outcomesOK && f.outcomes != outcomesMixed:
		return usageError("--outcomes is %s or %s, not %q", outcomesOK, outcomesMixed, f.outcomes)
	case f.timeout <= 0 || f.patience < 0:
		return usageError("--timeout must be more than 0 and --patience not negative")
	}
	return nil
}

// crowd is what loads are made with.
type crowd struct {
	customers []*customer.Customer
	town      *customer.Town
	journal   *customer.Journal
}

// gather logs n customers in and lets them see the menus. The caller closes the journal.
func gather(ctx context.Context, progress io.Writer, site customer.Site, data string, n int) (crowd, error) {
	if _, err := fmt.Fprintf(progress, "%d customers are coming in\n", n); err != nil {
		return crowd{}, err
	}
	customers, err := site.Enter(ctx, clientFile(data, customer.CustomersFile), n, nil)
	if err != nil {
		return crowd{}, err
	}
	town, err := site.Explore(ctx, "")
	if err != nil {
		return crowd{}, err
	}
	journal, err := customer.OpenJournal(data)
	return crowd{customers, town, journal}, err
}

// drive runs a load and shows its progress.
func (c crowd) drive(ctx context.Context, progress io.Writer, cfg load.Config) (load.Report, error) {
	cfg.Customers, cfg.Town, cfg.Journal = c.customers, c.town, c.journal
	l := load.New(cfg)
	done := make(chan struct{})
	shown := make(chan struct{})
	go func() {
		defer close(shown)
		if isTerminal(progress) {
			showBar(progress, l, done)
		} else {
			showLines(progress, l, done)
		}
	}()
	report, err := l.Run(ctx)
	close(done)
	<-shown
	return report, err
}

func runLoad(cmd *cobra.Command, f loadFlags, flags *siteFlags) error {
	site, data, err := flags.site(f.patience)
	if err != nil {
		return err
	}
	ctx := cmd.Context()
	if f.customers == 0 {
		f.customers = max(8, (f.concurrency+ordersEach-1)/ordersEach)
	}
	c, err := gather(ctx, cmd.ErrOrStderr(), site, flags.clients(data), min(f.customers, f.orders))
	if err != nil {
		return orderFailure(ctx, err)
	}
	defer func() { _ = c.journal.Close() }() // every line is on the disk already
	var enough chan struct{}
	if f.untilEOF {
		enough = make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, cmd.InOrStdin()) // however it ends, it has ended
			close(enough)
		}()
	}
	report, err := c.drive(ctx, cmd.ErrOrStderr(), load.Config{
		Orders: f.orders, Enough: enough, Concurrency: f.concurrency, Rate: f.rate, Mixed: f.outcomes == outcomesMixed,
		Seed: f.seed, Timeout: f.timeout,
	})
	out := cmd.OutOrStdout()
	if f.json {
		enc := json.NewEncoder(out)
		enc.SetIndent("", "  ")
		err = errors.Join(err, enc.Encode(report))
	} else {
		err = errors.Join(err, report.Print(out))
	}
	switch {
	case err != nil:
		return err
	case report.Interrupted:
		return &ExitError{Code: exitInterrupted}
	case !report.OK():
		return &ExitError{Code: ExitFailed}
	}
	return nil
}

// showBar draws a progress bar until done.
func showBar(w io.Writer, l *load.Load, done <-chan struct{}) {
	p := mpb.New(mpb.WithOutput(w), mpb.WithWidth(40), mpb.WithAutoRefresh())
	total := int64(l.Snapshot().Orders)
	bar := p.AddBar(total,
		mpb.PrependDecorators(decor.CountersNoUnit("%d / %d orders ")),
		mpb.AppendDecorators(decor.Any(func(decor.Statistics) string { return " " + brief(l.Snapshot()) })),
	)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			bar.SetCurrent(int64(l.Snapshot().Done()))
		case <-done:
			bar.SetCurrent(int64(l.Snapshot().Done()))
			bar.Abort(false) // ends a bar that is not full, too
			p.Wait()
			return
		}
	}
}

// showLines writes a line every 2 s until done.
func showLines(w io.Writer, l *load.Load, done <-chan struct{}) {
	start := time.Now()
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			s := l.Snapshot()
			_, err := fmt.Fprintf(w, "%4.0f s  %d of %d orders, %s\n", time.Since(start).Seconds(), s.Done(), s.Orders, brief(s))
			if err != nil {
				return // nobody watches
			}
		case <-done:
			return
		}
	}
}

// brief says in short how a run goes.
func brief(s load.Snapshot) string {
	text := fmt.Sprintf("%d in flight, %.1f per s", s.InFlight, s.PerSecond)
	for _, n := range []struct {
		count int
		what  string
	}{{s.Stuck, "stuck"}, {s.Refused, "refused"}, {s.Retries, "retries"}} {
		if n.count > 0 {
			text += fmt.Sprintf(", %d %s", n.count, n.what)
		}
	}
	return text
}
