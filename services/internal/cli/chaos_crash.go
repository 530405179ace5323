package cli

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/chaos"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
)

func newChaosCrash() *cobra.Command {
	var f chaosFlags
	var points, services []string
	var together bool
	cmd := &cobra.Command{
		Use: chaos.CrashFault, Short: "Have services die at a named point of a commit", Args: cobra.NoArgs,
		Long: `Has services end their own process by SIGKILL at a point of a commit: before-commit, after-commit, after-effect (an event is
published, its slot is not free) and before-free. Each run has one service die at one point, or with --together all services at
it, each at a pass of the point that the seed gives.

Only programs that are built with the tag faults can do that. For its platform of its own the command builds them into
bin/faults of the checkout; for --data start one with
  go build -tags faults -o bin/faults/ ./services/cmd/...
  dishmesh up --bin bin/faults --set order.CRASH_POINTS=run/crash   (and so for each service)`,
		Example: "  dishmesh chaos crash\n  dishmesh chaos crash --point after-commit --service order,payment --seed 3",
	}
	addChaosFlags(cmd, &f, "1")
	fl := cmd.Flags()
	fl.IntVar(&f.orders, "orders", 10, "orders of a run")
	fl.StringSliceVar(&points, "point", outbox.Points(), "points at which to die")
	fl.StringSliceVar(&services, "service", chaos.Owners(), "services that die")
	fl.BoolVar(&together, "together", false, "all services die in the same run")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.orders < 5 {
			return usageError("--orders must be at least 5, so that every service comes to its points")
		}
		for _, p := range points {
			if !slices.Contains(outbox.Points(), p) {
				return usageError("--point %q is none of %s", p, strings.Join(outbox.Points(), ", "))
			}
		}
		for _, s := range services {
			if !slices.Contains(chaos.Owners(), s) {
				return usageError("--service %q is none of %s", s, strings.Join(chaos.Owners(), ", "))
			}
		}
		all, err := f.each(cmd)
		if err != nil {
			return err
		}
		return runChaos(cmd, f, ownPlatform{crashable: true}, func(_ context.Context, site *chaosSite) (runs []chaosRun, err error) {
			groups := [][]string{services}
			if !together {
				groups = nil
				for _, s := range services {
					groups = append(groups, []string{s})
				}
			}
			for _, seed := range all {
				for _, point := range points {
					for _, group := range groups {
						c := chaos.Crash{Point: point, Services: group, Folder: site.crashPoints(), Seed: seed, Orders: f.orders}
						runs = append(runs, func(ctx context.Context) (chaos.Result, error) { return site.Crash(ctx, c) })
					}
				}
			}
			return runs, nil
		})
	}
	return cmd
}
