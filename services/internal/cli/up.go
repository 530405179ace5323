package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/platform"
)

// upFlags are the flags of `dishmesh up`.
type upFlags struct {
	profile        string
	noCity, detach bool
	timeScale      float64
	port, cityPort int
	set            []string
	json           bool
	logLevel       string
	sync, order    bool
	binDir         string
	only           []string
}

func newUp() *cobra.Command {
	var f upFlags
	cmd := &cobra.Command{
		Use:     "up",
		GroupID: groupPlatform,
		Short:   "Start the platform and keep it running",
		Long: `Starts the platform on this machine and keeps it running until Ctrl-C or ` + "`dishmesh down`" + `.

The first start builds the Dapr runtime, which takes some minutes; later ones take seconds. All data stay in the data
folder, and the next start comes back with them. A process that dies is started again.

With --json the answer is one object when everything runs: {"ready":true,"gateway_url":…,"city_url":…,"pid":…}.
Exit codes: 0 stopped in order (with --detach: it runs), 1 could not start, 2 wrong flag.`,
		Args: cobra.NoArgs,
	}
	data := addDataFlag(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.profile, "profile", "embedded", "broker and stores to run with (list them with dishmesh profiles); several are laid over each other, as in kafka,postgres")
	fl.BoolVar(&f.noCity, "no-city", false, "without kitchens and couriers (the card acquirer and the mail server still run)")
	fl.Float64Var(&f.timeScale, "time-scale", 1, "how long things take in the city: 1 is about 20 s an order, 0.1 a tenth of that, 0 no time at all")
	fl.IntVar(&f.port, "port", 0, "port of the gateway (default 8080, or a free one)")
	fl.IntVar(&f.cityPort, "city-port", 0, "port of the city (default 8090, or a free one)")
	fl.BoolVar(&f.detach, "detach", false, "run in the background; returns when everything is ready")
	fl.StringArrayVar(&f.set, "set", nil, "environment of one process, as service.KEY=VALUE; can be given again")
	fl.BoolVar(&f.json, "json", false, "print one JSON object when everything runs")
	fl.StringVar(&f.logLevel, "log-level", "info", "what the processes log: debug, info, warn or error")
	fl.BoolVar(&f.sync, "sync", false, "flush every event to the disk before it is acknowledged (safe against power loss)")
	fl.BoolVar(&f.order, "order", false, "place a first order when everything runs, and show it until it is delivered")
	fl.StringVar(&f.binDir, "bin", "", "folder with the programs of the services")
	fl.StringSliceVar(&f.only, "only", nil, "start only these services")
	for _, hidden := range []string{"bin", "only"} {
		_ = fl.MarkHidden(hidden) // fails only for a flag that does not exist
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := data()
		if err != nil {
			return err
		}
		cfg, err := f.config(cmd, dir)
		if err != nil {
			return err
		}
		if f.detach {
			return detach(cmd, f, cfg)
		}
		return upForeground(cmd, f, cfg)
	}
	return cmd
}

func (f upFlags) config(cmd *cobra.Command, data string) (platform.Config, error) {
	usage := func(err error) (platform.Config, error) {
		return platform.Config{}, &ExitError{Code: ExitUsage, Err: err}
	}
	home, err := platform.FindHome()
	if err != nil {
		return platform.Config{}, err
	}
	set, err := platform.ParseSet(f.set)
	if err != nil {
		return usage(err)
	}
	if f.timeScale < 0 {
		return usage(fmt.Errorf("--time-scale %g is negative: give 0 or more", f.timeScale))
	}
	for flag, port := range map[string]int{"--port": f.port, "--city-port": f.cityPort} {
		if port < 0 || port > 65535 {
			return usage(fmt.Errorf("%s %d is no port: give one from 1 to 65535", flag, port))
		}
	}
	self, err := os.Executable()
	if err != nil {
		return platform.Config{}, fmt.Errorf("find this program: %w", err)
	}
	if f.binDir != "" {
		if f.binDir, err = filepath.Abs(f.binDir); err != nil {
			return platform.Config{}, err
		}
	}
	cfg := platform.Config{
		Home: home, Data: data, Profile: f.profile, Version: version, Self: self, BinDir: f.binDir, Apps: f.only,
		TimeScale: f.timeScale, GatewayPort: f.port, CityPort: f.cityPort, Set: set, LogLevel: f.logLevel, SyncWrites: f.sync,
	}
	// The city is a command of this program.
	if city, _, err := cmd.Root().Find([]string{"city"}); err == nil && city.Name() == "city" {
		cfg.CityArgs = []string{}
		if f.noCity {
			cfg.CityArgs = []string{"--no-actors"}
		}
	}
	return cfg, nil
}

func upForeground(cmd *cobra.Command, f upFlags, cfg platform.Config) error {
	out := cmd.OutOrStdout()
	var report interface {
		platform.Reporter
		close()
	}
	switch {
	case f.json:
		report = &jsonReporter{out: out}
	case isTerminal(out):
		report = newLiveReporter(out)
	default:
		report = newPlainReporter(out)
	}
	var reporter platform.Reporter = report
	var ordering sync.WaitGroup
	if f.order && !f.json {
		reporter = ordersFirst{Reporter: report, order: func() {
			ordering.Go(func() { firstOrder(cmd, cfg) })
		}}
	}
	err := platform.Run(cmd.Context(), cfg, reporter)
	ordering.Wait()
	report.close()
	return startFailure(cmd.ErrOrStderr(), err)
}

// ordersFirst has an order placed as soon as everything runs.
type ordersFirst struct {
	platform.Reporter
	order func()
}

// Ready implements platform.Reporter.
func (r ordersFirst) Ready(info platform.RunInfo) {
	r.Reporter.Ready(info)
	r.order()
}

// firstOrder shows that the platform works. It is a command of its own, as a user would give it; how it ends is on the
// screen and changes nothing here.
func firstOrder(cmd *cobra.Command, cfg platform.Config) {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "\nA first order:\n")
	order := exec.CommandContext(cmd.Context(), cfg.Self, "order", "--data", cfg.Data, "--timeout", "2m")
	order.Stdout, order.Stderr = out, cmd.ErrOrStderr()
	if err := order.Run(); err != nil && cmd.Context().Err() == nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "the first order was not delivered (%v): see `dishmesh logs order`\n", err)
	}
}

// startFailure prints the end of the log of the part that did not start.
func startFailure(stderr io.Writer, err error) error {
	var start *platform.StartError
	if errors.As(err, &start) {
		p := newPalette(stderr)
		fmt.Fprintf(stderr, "%s\n", p.dim.Render("the end of "+start.LogPath+":"))
		for _, line := range start.LogTail {
			fmt.Fprintln(stderr, "  "+prettyLogLine(line))
		}
	}
	return err
}

// detach builds what is missing in the foreground, starts the supervisor in the background and waits for it.
func detach(cmd *cobra.Command, f upFlags, cfg platform.Config) error {
	out := cmd.OutOrStdout()
	layout, err := platform.OpenLayout(cfg.Data)
	if err != nil {
		return err
	}
	if pid, held := platform.Holder(layout); held {
		return &platform.HeldError{Data: layout.Data, PID: pid}
	}
	progress := newPlainReporter(out)
	if f.json {
		progress = newPlainReporter(io.Discard)
	}
	if err := platform.Build(cmd.Context(), cfg, progress); err != nil {
		return err
	}
	logPath := layout.Log("up")
	log, err := os.OpenFile(logPath, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	child := exec.Command(cfg.Self, f.args(cfg.Data)...)
	child.Stdout, child.Stderr = log, log
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- child.Wait() }()
	if err := waitDetached(cmd.Context(), layout, child.Process.Pid, exited, logPath); err != nil {
		_ = child.Process.Signal(syscall.SIGTERM)
		return err
	}
	info, err := platform.ReadRunInfo(layout)
	if err != nil {
		return err
	}
	if f.json {
		return printReadyJSON(out, info)
	}
	printNotes(out, logPath)
	printReady(out, info)
	fmt.Fprintf(out, "\nIt runs in the background as process %d; stop it with `dishmesh down`.\n", info.PID)
	if f.order {
		firstOrder(cmd, cfg)
	}
	return nil
}

// printNotes repeats what the supervisor in the background had to say, such as a port that was busy.
func printNotes(out io.Writer, logPath string) {
	lines, err := platform.TailLines(logPath, 100)
	if err != nil {
		return // the platform runs; its notes can be read in the log
	}
	for _, line := range lines {
		if _, note, ok := strings.Cut(line, "s  note: "); ok {
			fmt.Fprintln(out, "note: "+note)
		}
	}
}

// waitDetached waits until the background supervisor says it is ready, or has ended. What a killed run wrote about
// itself names another process.
func waitDetached(ctx context.Context, l platform.Layout, pid int, exited <-chan error, logPath string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-exited:
			lines, err := platform.TailLines(logPath, 1)
			if err != nil || len(lines) == 0 {
				return fmt.Errorf("the platform did not start: see %s", logPath)
			}
			const prefix = "dishmesh: "
			line := lines[0]
			if len(line) > len(prefix) && line[:len(prefix)] == prefix {
				line = line[len(prefix):]
			}
			return errors.New(line)
		case <-tick.C:
			if info, err := platform.ReadRunInfo(l); err == nil && info.Ready && info.PID == pid {
				return nil
			}
		case <-ctx.Done():
			return errors.New("interrupted: the platform is being stopped")
		}
	}
}

// args repeats the flags for the supervisor in the background.
func (f upFlags) args(data string) []string {
	args := []string{"up", "--data", data, "--profile", f.profile, "--log-level", f.logLevel,
		"--time-scale", strconv.FormatFloat(f.timeScale, 'g', -1, 64)}
	if f.noCity {
		args = append(args, "--no-city")
	}
	if f.sync {
		args = append(args, "--sync")
	}
	if f.port != 0 {
		args = append(args, "--port", strconv.Itoa(f.port))
	}
	if f.cityPort != 0 {
		args = append(args, "--city-port", strconv.Itoa(f.cityPort))
	}
	if f.binDir != "" {
		args = append(args, "--bin", f.binDir)
	}
	for _, app := range f.only {
		args = append(args, "--only", app)
	}
	for _, s := range f.set {
		args = append(args, "--set", s)
	}
	return args
}

func printReadyJSON(w io.Writer, info platform.RunInfo) error {
	return json.NewEncoder(w).Encode(map[string]any{"ready": true, "pid": info.PID, "gateway_url": info.GatewayURL,
		"city_url": info.CityURL, "data": info.Data, "profile": info.Profile})
}

func printReady(w io.Writer, info platform.RunInfo) {
	p := newPalette(w)
	self := selfCommand()
	data := ""
	if info.Data != filepath.Join(info.Home, platform.DefaultData) {
		data = " --data " + info.Data
	}
	fmt.Fprintf(w, "\n%s\n", p.good.Render("Dishmesh is ready."))
	fmt.Fprintf(w, "  gateway  %s\n", p.bold.Render(info.GatewayURL))
	if info.CityURL != "" {
		fmt.Fprintf(w, "  city     %s\n", p.bold.Render(info.CityURL))
	}
	fmt.Fprintf(w, "  data     %s\n", info.Data)
	fmt.Fprintf(w, "\nThree things to try in another terminal:\n")
	fmt.Fprintf(w, "  %s order%s    place an order and follow it\n", self, data)
	fmt.Fprintf(w, "  %s status%s   see every process and its sidecar\n", self, data)
	fmt.Fprintf(w, "  curl %s/v1/restaurants    who cooks tonight\n", info.GatewayURL)
}

// selfCommand is how this program can be called again from the same folder.
func selfCommand() string {
	if _, err := exec.LookPath("dishmesh"); err == nil {
		return "dishmesh"
	}
	return os.Args[0]
}
