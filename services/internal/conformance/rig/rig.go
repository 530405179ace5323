// Package rig is the bench on which package conformance tests a profile for real: the profile's servers, Dapr's
// control plane and sidecars, each a child process with data and ports of its own, and applications in this process.
package rig

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/conformance"
	"github.com/dishmesh/dishmesh/services/internal/daprruntime"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/profile"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// Config says what to test and where.
type Config struct {
	Home platform.Home
	// Profile is a choice such as "kafka,postgres".
	Profile string
	// Data is an empty folder for everything that the processes write.
	Data string
	// Self is the dishmesh program.
	Self string
	// Runtime has the programs of Dapr.
	Runtime daprruntime.Runtime
}

// Rig implements conformance.Bench.
type Rig struct {
	cfg     Config
	ports   *ports
	spawn   *spawner
	config  string
	servers *servers

	placement, scheduler *process
	placementPort        int
	schedulerPort        int

	mu     sync.Mutex
	nodes  map[*node]bool
	shared map[string]*sharedNode
	closed bool
}

type sharedNode struct {
	once sync.Once
	node *node
	err  error
}

// Check says what is wrong with the name or the files of a profile, or what it needs that is not here.
func Check(ctx context.Context, home platform.Home, spec string) (missing []string, err error) {
	p, err := loadProfile(home, spec)
	if err != nil {
		return nil, err
	}
	return p.Missing(ctx), nil
}

// Open starts the servers and the control plane. The caller closes the rig, also after an error of a check.
func Open(ctx context.Context, cfg Config) (*Rig, error) {
	chosen, err := loadProfile(cfg.Home, cfg.Profile)
	if err != nil {
		return nil, err
	}
	for _, dir := range []string{"logs", "run", "state", "scheduler"} {
		if err := os.MkdirAll(filepath.Join(cfg.Data, dir), 0o700); err != nil {
			return nil, fmt.Errorf("cannot use the data folder: %w", err)
		}
	}
	r := &Rig{cfg: cfg, ports: &ports{}, spawn: newSpawner(), nodes: map[*node]bool{}, shared: map[string]*sharedNode{},
		config: filepath.Join(cfg.Data, "run", "configuration.yaml")}
	if err := os.WriteFile(r.config, []byte(configuration), 0o600); err != nil {
		return nil, err
	}
	if err := r.start(ctx, chosen); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// configuration is what the sidecars of a bench are told: names in a file, nothing else. Identity and access are not
// what a profile changes.
const configuration = `apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata:
  name: conformance
spec:
  nameResolution:
    component: sqlite
    version: v1
    configuration:
      connectionString: run/names.db
      updateInterval: 60s
      timeout: 10s
      busyTimeout: 5s
  tracing:
    samplingRate: "0"
  features:
    - name: HotReload
      enabled: false
`

func (r *Rig) start(ctx context.Context, chosen *profile.Profile) error {
	var wg sync.WaitGroup
	var errs [2]error
	wg.Go(func() { r.servers, errs[0] = startServers(ctx, r.cfg.Home, r.cfg.Self, r.cfg.Data, chosen) })
	wg.Go(func() { errs[1] = r.startControl(ctx) })
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (r *Rig) startControl(ctx context.Context) error {
	p, err := r.ports.several(7)
	if err != nil {
		return err
	}
	r.placementPort, r.schedulerPort = p[0], p[1]
	control := func(name string, port, health int, args ...string) *process {
		args = append(args, "--listen-address", "127.0.0.1", "--port", strconv.Itoa(port), "--healthz-listen-address", "127.0.0.1",
			"--healthz-port", strconv.Itoa(health), "--tls-enabled=false", "--enable-metrics=false")
		return &process{name: name, path: r.cfg.Runtime.Path(name), args: args, env: []string{"NAMESPACE=default"}, dir: r.cfg.Data,
			log: r.logPath(name), ready: httpReady("http://" + local(health) + "/healthz"), within: time.Minute, grace: time.Second, spawn: r.spawn}
	}
	r.placement = control(daprruntime.Placement, p[0], p[2], "--id", "placement-0", "--initial-cluster", "placement-0="+local(p[3]))
	r.scheduler = control(daprruntime.Scheduler, p[1], p[4], "--id", "dapr-scheduler-server-0",
		"--etcd-data-dir", filepath.Join(r.cfg.Data, "scheduler"), "--etcd-client-listen-address", "127.0.0.1",
		"--etcd-client-port", strconv.Itoa(p[5]), "--etcd-initial-cluster", "dapr-scheduler-server-0=http://"+local(p[6]),
		"--etcd-initial-election-tick-advance=true", "--override-broadcast-host-port", local(p[1]), "--workers", "128")
	if err := r.placement.Start(ctx); err != nil {
		return err
	}
	return r.scheduler.Start(ctx)
}

func (r *Rig) logPath(name string) string { return filepath.Join(r.cfg.Data, "logs", name+".log") }

// Broker implements conformance.Bench.
func (r *Rig) Broker() (conformance.Server, error) { return r.servers.of(sidecar.EventsComponent) }

// Store implements conformance.Bench.
func (r *Rig) Store() (conformance.Server, error) { return r.servers.of(conformance.StoreComponent) }

// Versions implements conformance.Bench.
func (r *Rig) Versions() map[string]string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out := r.servers.versions(ctx)
	out["Dapr"] = daprruntime.Version
	return out
}

// Close implements conformance.Bench.
func (r *Rig) Close() {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return
	}
	r.closed = true
	nodes := maps.Clone(r.nodes)
	r.mu.Unlock()
	var wg sync.WaitGroup
	for n := range nodes {
		wg.Go(n.Close)
	}
	wg.Wait()
	for _, p := range []*process{r.scheduler, r.placement} {
		if p != nil {
			wg.Go(p.stop)
		}
	}
	if r.servers != nil {
		wg.Go(r.servers.run.Stop)
	}
	wg.Wait()
	r.spawn.close()
}
