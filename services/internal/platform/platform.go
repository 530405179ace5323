package platform

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/broker"
	"github.com/dishmesh/dishmesh/services/internal/daprruntime"
)

// Config says how to run the platform.
type Config struct {
	Home    Home
	Data    string
	Profile string
	Version string
	// Self is the dishmesh program, which is also the broker and the city.
	Self string
	// BinDir holds the programs of the services; empty means beside Self, or built into bin/ of the checkout.
	BinDir string
	// Apps are the services to run; empty means all of Apps().
	Apps []string
	// CityArgs are further arguments of `dishmesh city`; nil leaves the city out.
	CityArgs []string
	// TimeScale is passed to the city, which multiplies its delays with it: 1 is about 20 s an order, 0 no waiting.
	TimeScale float64
	// GatewayPort and CityPort are fixed when not 0.
	GatewayPort, CityPort int
	// Set holds further environment variables by part.
	Set map[string][]string
	// LogLevel of every process: debug, info, warn or error.
	LogLevel string
	// SyncWrites makes the broker flush every batch to the disk.
	SyncWrites bool
}

// partEnv is the environment of a part, with what --set adds at the end, where it wins.
//
// Each of the two dozen processes gets a quarter of the cores at most: they fill the machine together, and threads of
// Go that look for work in every one of them cost a quarter of all CPU time (see the figures in components/README.md).
func (c Config) partEnv(part string, env ...string) func() ([]string, error) {
	return func() ([]string, error) {
		out := append([]string{"GOTRACEBACK=single", "GOMAXPROCS=" + strconv.Itoa(max(1, runtime.NumCPU()/4))}, env...)
		return append(out, c.Set[part]...), nil
	}
}

// ParseSet reads --set values, part.KEY=VALUE each.
func ParseSet(values []string) (map[string][]string, error) {
	out := map[string][]string{}
	for _, v := range values {
		name, assignment, ok := strings.Cut(v, ".")
		key, _, assigned := strings.Cut(assignment, "=")
		if !ok || !assigned || name == "" || key == "" {
			return nil, fmt.Errorf("--set %q is not of the form service.KEY=VALUE", v)
		}
		out[name] = append(out[name], assignment)
	}
	return out, nil
}

// Reporter is told how a start goes. Its methods are called from several goroutines.
type Reporter interface {
	// Step says in words what is being done before parts start.
	Step(string)
	// Build reports the build of the Dapr runtime.
	Build(daprruntime.Progress)
	// Parts lists the parts that will start.
	Parts([]string)
	// Event is something that happened to a part.
	Event(Event)
	// Note is a line that people must see.
	Note(string)
	// Ready is called once, when everything runs.
	Ready(RunInfo)
}

// Run starts the platform, keeps it running until ctx ends or somebody asks it to stop, and stops it. It returns nil
// after an orderly end.
func Run(ctx context.Context, cfg Config, report Reporter) error {
	if err := cfg.check(); err != nil {
		return err
	}
	layout, err := OpenLayout(cfg.Data)
	if err != nil {
		return err
	}
	lock, err := lockData(layout)
	if err != nil {
		return err
	}
	defer lock.Close()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	r := &running{cfg: cfg, layout: layout, report: report, stop: stop, started: time.Now()}
	return r.run(ctx)
}

func (c *Config) check() error {
	if len(c.Apps) == 0 {
		c.Apps = Apps()
	}
	if c.LogLevel == "" {
		c.LogLevel = "info"
	}
	profiles, err := c.Home.Profiles()
	if err != nil {
		return fmt.Errorf("read the components of the checkout: %w", err)
	}
	if !slices.Contains(profiles, c.Profile) {
		return fmt.Errorf("there is no profile %q: choose one of %s with --profile", c.Profile, strings.Join(profiles, ", "))
	}
	known := []string{"sentry", "placement", "scheduler", "broker", "city"}
	for _, app := range Apps() {
		known = append(known, app, SidecarName(app))
	}
	for name := range c.Set {
		if !slices.Contains(known, name) {
			return fmt.Errorf("--set names %q, which is no process: choose one of %s", name, strings.Join(known, ", "))
		}
	}
	return nil
}

// Build makes the Dapr runtime and the services ready, as Run does first, without starting anything.
func Build(ctx context.Context, cfg Config, report Reporter) error {
	if err := cfg.check(); err != nil {
		return err
	}
	if _, err := daprruntime.Ensure(ctx, daprruntime.Options{ModuleDir: cfg.Home.RuntimeModule(), Progress: report.Build}); err != nil {
		return err
	}
	_, err := ensureServices(ctx, cfg, report.Step)
	return err
}

// running is one run of the platform.
type running struct {
	cfg     Config
	layout  Layout
	report  Reporter
	stop    context.CancelFunc
	started time.Time

	mu   sync.Mutex
	sup  *Supervisor
	info RunInfo
	log  *slog.Logger
}

func (r *running) run(ctx context.Context) error {
	logFile, err := openLog(r.layout.Log("supervisor"))
	if err != nil {
		return err
	}
	defer logFile.Close()
	r.log = slog.New(slog.NewJSONHandler(logFile, nil))
	r.log.Info("starting", "pid", os.Getpid(), "profile", r.cfg.Profile)
	if err := r.prepare(ctx); err != nil {
		r.log.Error("cannot start", "error", err.Error())
		return err
	}
	control, err := serveControl(r)
	if err != nil {
		return err
	}
	defer control.close()
	defer os.Remove(r.layout.RunInfo())
	defer r.sup.Stop()
	if err := r.sup.Start(ctx); err != nil {
		if errors.Is(err, context.Canceled) {
			return nil
		}
		r.log.Error("start failed", "error", err.Error())
		return err
	}
	r.mu.Lock()
	r.info.Ready = true
	r.mu.Unlock()
	r.writeInfo()
	r.log.Info("ready", "seconds", time.Since(r.started).Seconds())
	r.report.Ready(r.snapshot())
	<-ctx.Done()
	r.log.Info("stopping")
	r.report.Step("stopping")
	begun := time.Now()
	r.sup.Stop()
	r.report.Step(fmt.Sprintf("stopped in %.1f s", time.Since(begun).Seconds()))
	return nil
}

// prepare does everything that comes before the first process.
func (r *running) prepare(ctx context.Context) error {
	ended, err := endOrphans(r.layout)
	if err != nil {
		return err
	}
	if len(ended) > 0 {
		r.report.Note(fmt.Sprintf("ended %d processes that a killed run left: %s", len(ended), strings.Join(ended, ", ")))
	}
	if err := checkRoom(r.layout); err != nil {
		return err
	}
	p := &plan{cfg: r.cfg, layout: r.layout}
	if p.secrets, err = ensureSecrets(r.layout); err != nil {
		return err
	}
	if err := ensureAccounts(r.layout); err != nil {
		return err
	}
	notes, err := p.choosePorts(openPorts(r.layout))
	if err != nil {
		return err
	}
	for _, n := range notes {
		r.report.Note(n)
	}
	p.runtime, err = daprruntime.Ensure(ctx, daprruntime.Options{ModuleDir: r.cfg.Home.RuntimeModule(), Progress: r.report.Build})
	if err != nil {
		return err
	}
	if p.subs, err = broker.ReadSubscriptions(r.cfg.Home.Components("subscriptions")); err != nil {
		return err
	}
	if p.binDir, err = ensureServices(ctx, r.cfg, r.report.Step); err != nil {
		return err
	}
	if p.tokens, err = newTokens(r.layout, r.cfg.Apps); err != nil {
		return err
	}
	if err := dropOldTrust(r.layout, time.Now()); err != nil {
		return err
	}
	// Names of a killed run would send calls to ports where nobody listens.
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(r.layout.Run(), "names.db"+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	// The scheduler writes its certificate into a new folder at every start.
	identities, err := filepath.Glob(filepath.Join(r.layout.Run(), "*scheduler-identity"))
	if err != nil {
		return err
	}
	for _, dir := range identities {
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	r.info = RunInfo{
		Version: r.cfg.Version, PID: os.Getpid(), Started: r.started.UTC(), Profile: r.cfg.Profile, Data: r.layout.Data,
		Home: r.cfg.Home.Dir, GatewayURL: "http://" + local(p.ports["public"]), Broker: local(p.ports["broker"]),
		ControlSocket: r.layout.ControlSocket(), TimeScale: r.cfg.TimeScale, Apps: p.apps,
	}
	if r.cfg.CityArgs != nil {
		r.info.CityURL, r.info.SMTP = "http://"+local(p.ports["city"]), local(p.ports["smtp"])
	}
	sup, err := NewSupervisor(SupervisorConfig{Parts: p.parts(), LogPath: r.layout.Log, OnEvent: r.onEvent, OnChange: r.writeInfo})
	if err != nil {
		return err
	}
	r.mu.Lock()
	r.sup = sup
	r.mu.Unlock()
	r.report.Parts(sup.Names())
	return nil
}

func (r *running) onEvent(e Event) {
	r.log.Info("part", "name", e.Part, "state", string(e.State), "pid", e.PID, "detail", e.Detail, "ms", e.Took.Milliseconds())
	r.report.Event(e)
}

// writeInfo writes run.json as things are now.
func (r *running) writeInfo() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sup == nil {
		return
	}
	r.info.Processes = r.sup.records()
	if err := writeJSON(r.layout.RunInfo(), r.info, 0o600); err != nil {
		r.log.Error("write run.json", "error", err.Error())
	}
}

func (r *running) snapshot() RunInfo {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.info
}
