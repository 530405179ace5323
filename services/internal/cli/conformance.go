package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/conformance"
	"github.com/dishmesh/dishmesh/services/internal/conformance/rig"
	"github.com/dishmesh/dishmesh/services/internal/daprruntime"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/profile"
)

func init() { register(newConformance) }

// conformanceFlags are the flags of `dishmesh conformance`.
type conformanceFlags struct {
	profile     string
	all         bool
	only, skip  []string
	list, json  bool
	quick       bool
	write       bool
	short, long time.Duration
	orders      int
	data        string
	keep        bool
}

func newConformance() *cobra.Command {
	var f conformanceFlags
	cmd := &cobra.Command{
		Use:     "conformance",
		GroupID: groupCheck,
		Short:   "Find out what a profile of components really keeps",
		Long: `Starts the servers of a profile, Dapr's control plane and sidecars of its own, all in a new folder and on free ports, and
checks through Dapr's API alone what the services build on: order, redelivery, dead letters, restarts and outages under
load, transactions, ETags, workflows; then it runs the whole platform on the profile and has the audit look at it.

A verdict is one of: kept; kept by us on top (the profile does not, what the services put on top of it does); not kept;
not applicable; could not be checked. Nothing that runs on this machine is touched.

A full run writes what it found to components/CONFORMANCE.md; one with --quick or --only does so with --write only.
JSON keys: profile, ok, quick, began, seconds, versions {<program>: <version>}, interrupted, results [{name, area, promise,
relied_on, verdict: kept|kept_on_top|not_kept|not_applicable|unknown, did, figure, figures {<name>: n}, reason, seconds}];
with --all an array of these.

Exit codes: 0 everything that the services rely on is kept; 1 it is not, or could not be checked; 2 wrong flag;
130 interrupted.`,
		Example: `  dishmesh conformance --profile kafka
  dishmesh conformance --profile kafka,postgres --quick
  dishmesh conformance --profile redis --only order-one-key,replica-killed --json`,
		Args: cobra.NoArgs,
	}
	fl := cmd.Flags()
	fl.StringVar(&f.profile, "profile", profile.Default, "what to check: a folder of components/, or several laid over each other")
	fl.BoolVar(&f.all, "all", false, "check every profile that can run here, one after the other, and say why others are left out")
	fl.StringSliceVar(&f.only, "only", nil, "carry out only these checks")
	fl.StringSliceVar(&f.skip, "skip", nil, "leave these checks out")
	fl.BoolVar(&f.list, "list", false, "list the checks and why the services rely on them, and end")
	fl.BoolVar(&f.json, "json", false, "print JSON")
	fl.BoolVar(&f.quick, "quick", false, "shorter outages and a fifth of the messages: a first idea, no figures to rely on")
	fl.BoolVar(&f.write, "write", false, "write the results to components/CONFORMANCE.md (default for a full run)")
	fl.DurationVar(&f.short, "short-outage", 0, "how long the broker is away in the short outage (default 10s, with --quick 1s)")
	fl.DurationVar(&f.long, "long-outage", 0, "how long the broker is away in the long outage (default 1m, with --quick 3s)")
	fl.IntVar(&f.orders, "orders", 0, "how many orders the order suite places (default 200, with --quick 30)")
	fl.StringVar(&f.data, "data", "", "folder below which the run makes its own (default: that for temporary files)")
	fl.BoolVar(&f.keep, "keep", false, "keep the run's folder; it is also kept when something is broken")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		checks, err := f.checks()
		if err != nil {
			return err
		}
		if f.list {
			return listChecks(cmd.OutOrStdout(), checks, f.json)
		}
		if !cmd.Flags().Changed("write") {
			f.write = !f.quick && len(f.only) == 0 && len(f.skip) == 0
		}
		return runConformance(cmd, f, checks)
	}
	return cmd
}

// checks resolves --only and --skip and refuses what makes no sense.
func (f conformanceFlags) checks() ([]conformance.Check, error) {
	switch {
	case f.all && f.profile != profile.Default:
		return nil, usageError("--all checks every profile: leave --profile out")
	case f.short < 0 || f.long < 0:
		return nil, usageError("an outage must not be negative")
	case f.orders < 0:
		return nil, usageError("--orders must be at least 1, not %d", f.orders)
	}
	checks, err := conformance.Select(f.only)
	if err == nil && len(f.skip) > 0 {
		_, err = conformance.Select(f.skip)
		checks = conformance.Without(checks, f.skip)
	}
	if err != nil {
		return nil, usageError("%v", err)
	}
	if len(checks) == 0 {
		return nil, usageError("--skip leaves no check")
	}
	return checks, nil
}

func listChecks(w io.Writer, checks []conformance.Check, asJSON bool) error {
	if asJSON {
		type row struct {
			Name     string           `json:"name"`
			Area     conformance.Area `json:"area"`
			Promise  string           `json:"promise"`
			ReliedOn string           `json:"relied_on,omitempty"`
		}
		var rows []row
		for _, c := range checks {
			rows = append(rows, row{c.Name, c.Area, c.Promise, c.ReliedOn})
		}
		return printJSON(w, rows)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range checks {
		relied := "not relied on"
		if c.ReliedOn != "" {
			relied = "relied on: " + c.ReliedOn
		}
		fmt.Fprintf(tw, "%s\t%s\n\t%s\n", c.Name, c.Promise, relied)
	}
	return tw.Flush()
}

func (f conformanceFlags) times() conformance.Times {
	t := conformance.Full()
	if f.quick {
		t = conformance.Quick()
	}
	if f.short > 0 {
		t.ShortOutage = f.short
	}
	if f.long > 0 {
		t.LongOutage = f.long
	}
	if f.orders > 0 {
		t.Orders = f.orders
	}
	return t
}

// runConformance checks one profile, or with --all every one that can run here.
func runConformance(cmd *cobra.Command, f conformanceFlags, checks []conformance.Check) error {
	ctx := cmd.Context()
	home, err := platform.FindHome()
	if err != nil {
		return err
	}
	if !f.all {
		missing, err := rig.Check(ctx, home, f.profile)
		if err != nil {
			return &ExitError{Code: ExitUsage, Err: err}
		}
		if len(missing) > 0 {
			return fmt.Errorf("profile %s cannot run here: %s", f.profile, strings.Join(missing, "; "))
		}
		report, err := f.run(cmd, home, f.profile, checks)
		if err == nil && f.json {
			err = printJSON(cmd.OutOrStdout(), report)
		}
		return conformanceEnd(err, report)
	}
	profiles, err := runnable(ctx, cmd.ErrOrStderr(), home)
	if err != nil {
		return err
	}
	reports := []conformance.Report{}
	var failed error
	for _, name := range profiles {
		report, err := f.run(cmd, home, name, checks)
		if err != nil && !f.json {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: %v\n", name, err) // the others may still be checked
		}
		if err == nil {
			reports = append(reports, report)
		}
		if end := conformanceEnd(err, report); end != nil {
			failed = &ExitError{Code: ExitFailed}
		}
		if ctx.Err() != nil {
			failed = &ExitError{Code: exitInterrupted}
			break
		}
	}
	if f.json {
		if err := printJSON(cmd.OutOrStdout(), reports); err != nil {
			return err
		}
	}
	return failed
}

// runnable lists the profiles that can run here, and says of the others why they are left out.
func runnable(ctx context.Context, say io.Writer, home platform.Home) ([]string, error) {
	all, err := profile.List(home.Components())
	if err != nil {
		return nil, err
	}
	var out []string
	for _, d := range all {
		why := d.NotRun
		if why == "" {
			missing, err := rig.Check(ctx, home, d.Name)
			if err != nil {
				return nil, err
			}
			why = strings.Join(missing, "; ")
		}
		if why != "" {
			fmt.Fprintf(say, "left out: %s: %s\n", d.Name, why)
			continue
		}
		out = append(out, d.Name)
	}
	return out, nil
}

// conformanceEnd is the exit code of a run of one profile.
func conformanceEnd(err error, report conformance.Report) error {
	switch {
	case err != nil:
		return err
	case report.Interrupted:
		return &ExitError{Code: exitInterrupted}
	case !report.OK:
		return &ExitError{Code: ExitFailed}
	}
	return nil
}

// run checks one profile and prints the table, unless JSON was asked for.
func (f conformanceFlags) run(cmd *cobra.Command, home platform.Home, name string, checks []conformance.Check) (report conformance.Report, err error) {
	ctx := cmd.Context()
	self, err := os.Executable()
	if err != nil {
		return report, fmt.Errorf("find this program: %w", err)
	}
	runtime, err := daprruntime.Ensure(ctx, daprruntime.Options{ModuleDir: home.RuntimeModule(),
		Progress: newPlainReporter(cmd.ErrOrStderr()).Build})
	if err != nil {
		return report, err
	}
	data, err := f.folder(name)
	if err != nil {
		return report, fmt.Errorf("cannot use the data folder: %w", err)
	}
	watch := newCheckWatcher(cmd.ErrOrStderr(), len(checks))
	defer watch.close()
	watch.say("starting profile %s in %s", name, data)
	bench, err := rig.Open(ctx, rig.Config{Home: home, Profile: name, Data: data, Self: self, Runtime: runtime})
	if err != nil {
		if ctx.Err() != nil {
			return conformance.Report{Interrupted: true}, os.RemoveAll(data)
		}
		return report, fmt.Errorf("profile %s does not start: %w", name, err)
	}
	defer bench.Close()
	suite := conformance.Suite{Profile: name, Bench: bench, Times: f.times(), Quick: f.quick, Checks: checks,
		Run: ids.New("run"), Watch: watch, Platform: rig.Site{Self: self, Profile: name, Data: filepath.Join(data, "platform")}}
	report = suite.Execute(ctx)
	bench.Close()
	watch.close()
	if out := cmd.OutOrStdout(); !f.json {
		err = report.Print(out, paintOn(out))
	}
	if err == nil && f.write && !report.Interrupted {
		err = record(home, report)
	}
	if f.keep || !report.OK {
		fmt.Fprintf(cmd.ErrOrStderr(), "what ran is in %s\n", data)
		return report, err
	}
	return report, errors.Join(err, os.RemoveAll(data))
}

// folder makes the folder of a run.
func (f conformanceFlags) folder(name string) (string, error) {
	base := f.data
	if base == "" {
		base = os.TempDir()
	}
	base, err := filepath.Abs(base)
	if err == nil {
		err = os.MkdirAll(base, 0o700)
	}
	if err != nil {
		return "", err
	}
	return os.MkdirTemp(base, "conformance-"+strings.ReplaceAll(name, ",", "-")+"-")
}

// record brings components/CONFORMANCE.md up to date with a report.
func record(home platform.Home, report conformance.Report) error {
	path := home.Components("CONFORMANCE.md")
	old, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	page, err := conformance.ParsePage(old)
	if err != nil {
		return fmt.Errorf("%s: %w: mend it, or remove it to have it written anew", path, err)
	}
	page.Put(report)
	return os.WriteFile(path, page.Markdown(), 0o644)
}
