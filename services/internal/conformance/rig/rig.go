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
)

// Config says what to test and where.
type Config struct {
	// Data is an empty folder for everything that the processes write.
	Data string
	// Runtime has the programs of Dapr.
	Runtime daprruntime.Runtime
	// Profile is what is tested.
	Profile Profile
}

// Profile is the part of a profile that a bench needs.
type Profile struct {
	Name string
	// Resources are the folders of its components.
	Resources []string
	// Env is what its components read with envRef; Servers must have been told before.
	Env map[string]string
	// Events and State are the servers behind them; nil where that lives in the sidecar's process.
	Events, State Server
	// Others are further servers.
	Others []Server
}

// Server is a server of a profile.
type Server interface {
	conformance.Server
	// Version is what it says of itself.
	Version() string
	// Stop ends it in good order.
	Stop()
}

// Rig implements conformance.Bench.
type Rig struct {
	cfg    Config
	ports  *ports
	spawn  *spawner
	config string

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

// Open starts the servers and the control plane. The caller closes the rig, also after an error of a check.
func Open(ctx context.Context, cfg Config) (*Rig, error) {
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
	if err := r.start(ctx); err != nil {
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

func (r *Rig) start(ctx context.Context) error {
	var wg sync.WaitGroup
	var errs [2]error
	wg.Go(func() {
		for _, s := range r.servers() {
			if errs[0] = s.Start(ctx); errs[0] != nil {
				return
			}
		}
	})
	wg.Go(func() { errs[1] = r.startControl(ctx) })
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// servers lists each server once.
func (r *Rig) servers() []Server {
	var out []Server
	seen := map[Server]bool{}
	for _, s := range append([]Server{r.cfg.Profile.Events, r.cfg.Profile.State}, r.cfg.Profile.Others...) {
		if s != nil && !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	return out
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
func (r *Rig) Broker() (conformance.Server, error) { return server(r.cfg.Profile.Events) }

// Store implements conformance.Bench.
func (r *Rig) Store() (conformance.Server, error) { return server(r.cfg.Profile.State) }

func server(s Server) (conformance.Server, error) {
	if s == nil {
		return nil, conformance.ErrNoServer
	}
	return s, nil
}

// Versions implements conformance.Bench.
func (r *Rig) Versions() map[string]string {
	out := map[string]string{"Dapr": daprruntime.Version}
	for _, s := range r.servers() {
		out[s.Name()] = s.Version()
	}
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
	for _, s := range r.servers() {
		wg.Go(s.Stop)
	}
	wg.Wait()
	r.spawn.close()
}
