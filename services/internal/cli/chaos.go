package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/chaos"
)

func init() { register(newChaos) }

func newChaos() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "chaos",
		GroupID: groupCheck,
		Short:   "Kill, hang and crash processes under load, and audit what came of it",
		Long: `Harms a platform while orders are under way, waits until every process is well and every order has ended, and audits.

Without --data a platform of its own is started for the runs, in a folder for temporary files, and removed after green
ones. With --data the platform that runs there is harmed; its orders and their data are real, its processes die. There,
` + "`--set order.DISPATCH_DEADLINE=3s`" + ` and ` + "`--time-scale 0`" + ` of ` + "`dishmesh up`" + ` keep runs short.

A seed gives the victim, the instant, the orders and what befalls them. --seed N repeats one; how far the platform is at
that instant still differs by some milliseconds.

Exit codes: 0 all green, 1 one is red, 2 wrong flag, 3 no platform runs on --data, 130 interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newChaosList(), newChaosStrike(chaos.KillFault), newChaosStrike(chaos.HangFault), newChaosBrokerStop(), newChaosCrash())
	return cmd
}

func newChaosList() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{Use: "list", Short: "List the faults", Args: cobra.NoArgs}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON: [{name, what}]")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if asJSON {
			return json.NewEncoder(cmd.OutOrStdout()).Encode(chaos.Faults())
		}
		var err error
		for _, f := range chaos.Faults() {
			_, e := fmt.Fprintf(cmd.OutOrStdout(), "%-12s %s\n", f.Name, f.What)
			err = errors.Join(err, e)
		}
		return err
	}
	return cmd
}

// chaosFlags are the flags that all faults share.
type chaosFlags struct {
	data, profile   string
	seeds           string
	seed            uint64
	orders          int
	keepGoing, json bool
	ports           [2]int
}

func addChaosFlags(cmd *cobra.Command, f *chaosFlags, seeds string) {
	fl := cmd.Flags()
	fl.StringVar(&f.data, "data", "", "harm the platform that runs on this data folder (default: one of its own)")
	fl.StringVar(&f.profile, "profile", "embedded", "profile of the platform of its own")
	fl.StringVar(&f.seeds, "seeds", seeds, "seeds of the runs: from..to, or one")
	fl.Uint64Var(&f.seed, "seed", 0, "repeat the run of this seed alone")
	fl.BoolVar(&f.keepGoing, "keep-going", false, "go on after a red run")
	fl.BoolVar(&f.json, "json", false, "print one JSON object at the end: ok, profile, red, problems, orders, seconds, runs [{fault, seed, victim, at_seconds, ended, outcomes, recovered_seconds, settled_seconds, ok, problems, …}]")
	fl.IntVar(&f.ports[0], "port", 0, "port of the gateway of the platform of its own (default: a free one)")
	fl.IntVar(&f.ports[1], "city-port", 0, "port of its city (default: a free one)")
}

// each lists the seeds.
func (f chaosFlags) each(cmd *cobra.Command) ([]uint64, error) {
	if cmd.Flags().Changed("seed") {
		return []uint64{f.seed}, nil
	}
	first, last, many := strings.Cut(f.seeds, "..")
	from, err := strconv.ParseUint(first, 10, 32)
	to := from
	if many && err == nil {
		to, err = strconv.ParseUint(last, 10, 32)
	}
	if err != nil || to < from {
		return nil, usageError("--seeds %q is neither a number nor of the form 1..200", f.seeds)
	}
	var all []uint64
	for n := from; n <= to; n++ {
		all = append(all, n)
	}
	return all, nil
}

// chaosRun makes one run on a site.
type chaosRun func(context.Context) (chaos.Result, error)

// runChaos opens the site, makes the runs and reports.
func runChaos(cmd *cobra.Command, f chaosFlags, platform ownPlatform, plan func(context.Context, *chaosSite) ([]chaosRun, error)) (err error) {
	ctx := cmd.Context()
	platform.profile, platform.ports = f.profile, f.ports
	site, err := openChaosSite(ctx, cmd.ErrOrStderr(), f.data, platform)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	green := false
	defer func() { err = errors.Join(err, site.close(green)) }()
	runs, err := plan(ctx, site)
	if err != nil {
		return interruptedOr(ctx, err)
	}
	lines := cmd.OutOrStdout()
	if f.json {
		lines = cmd.ErrOrStderr()
	}
	funcs := make([]func(context.Context) (chaos.Result, error), len(runs))
	for i, run := range runs {
		funcs[i] = run
	}
	schedule, err := site.Do(ctx, funcs, f.keepGoing, func(r chaos.Result) {
		fmt.Fprintln(lines, r.Line())
		for _, p := range r.Problems {
			fmt.Fprintln(lines, "    "+p)
		}
	})
	if err != nil {
		return interruptedOr(ctx, err)
	}
	schedule.Profile = site.profile
	if f.json {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetIndent("", "  ")
		err = enc.Encode(schedule)
	} else {
		err = schedule.Print(cmd.OutOrStdout())
	}
	if green = schedule.OK; err == nil && !green {
		err = &ExitError{Code: ExitFailed}
	}
	return err
}

func interruptedOr(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return &ExitError{Code: exitInterrupted, Err: errors.New("interrupted")}
	}
	return err
}

func newChaosStrike(fault string) *cobra.Command {
	var f chaosFlags
	var victims []string
	seeds, short := "1..20", "Kill one process per run, at an instant that the seed gives"
	if fault == chaos.HangFault {
		seeds, short = "1", "Stop one process per run without ending it (SIGSTOP), until the supervisor finds out"
	}
	cmd := &cobra.Command{
		Use: fault, Short: short, Args: cobra.NoArgs,
		Long: short + `.

Each run places a small load in which every outcome occurs: delivered, declined, rejected, undeliverable, cancelled, and a
mishap on the way. The victim is any process of the platform: a service, a sidecar, the control plane, the broker and other
servers, and the city with the card acquirer.`,
		Example: "  dishmesh chaos " + fault + " --seeds 1..200 --keep-going\n  dishmesh chaos " + fault + " --seed 17",
	}
	addChaosFlags(cmd, &f, seeds)
	cmd.Flags().IntVar(&f.orders, "orders", 8, "orders of a run")
	cmd.Flags().StringSliceVar(&victims, "victims", nil, "processes that may be the victim (default: all; the order counts)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.orders < 1 {
			return usageError("--orders must be at least 1, not %d", f.orders)
		}
		all, err := f.each(cmd)
		if err != nil {
			return err
		}
		return runChaos(cmd, f, ownPlatform{}, func(ctx context.Context, site *chaosSite) (runs []chaosRun, err error) {
			parts := victims
			if len(parts) == 0 {
				if parts, err = site.Parts(ctx); err != nil {
					return nil, err
				}
			}
			for _, seed := range all {
				plan := chaos.NewPlan(seed, parts, f.orders)
				runs = append(runs, func(ctx context.Context) (chaos.Result, error) {
					if fault == chaos.HangFault {
						return site.Hang(ctx, plan)
					}
					return site.Kill(ctx, plan)
				})
			}
			return runs, nil
		})
	}
	return cmd
}

func newChaosBrokerStop() *cobra.Command {
	var f chaosFlags
	o := chaos.Outage{}
	cmd := &cobra.Command{
		Use: chaos.BrokerStopFault, Short: "Kill the broker and keep it away for a while", Args: cobra.NoArgs,
		Example: "  dishmesh chaos broker-stop --for 60s\n  dishmesh chaos broker-stop --part order-daprd --for 10s",
	}
	addChaosFlags(cmd, &f, "1")
	cmd.Flags().DurationVar(&o.For, "for", 10*time.Second, "how long it stays away")
	cmd.Flags().Float64Var(&o.Rate, "rate", 2, "orders per second, before, during and after")
	cmd.Flags().StringVar(&o.Part, "part", "", "another process that is to stay away (default: the broker)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if o.For <= 0 || o.Rate <= 0 {
			return usageError("--for and --rate must be more than 0")
		}
		all, err := f.each(cmd)
		if err != nil {
			return err
		}
		platform := ownPlatform{customers: int(o.Rate*o.For.Seconds())/ordersEach + 4}
		return runChaos(cmd, f, platform, func(ctx context.Context, site *chaosSite) (runs []chaosRun, err error) {
			if o.Part == "" {
				if o.Part, err = site.Broker(ctx); err != nil {
					return nil, err
				}
			}
			for _, seed := range all {
				outage := o
				outage.Seed = seed
				runs = append(runs, func(ctx context.Context) (chaos.Result, error) { return site.Stop(ctx, outage) })
			}
			return runs, nil
		})
	}
	return cmd
}
