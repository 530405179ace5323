package rig

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dishmesh/dishmesh/services/internal/conformance"
	"github.com/dishmesh/dishmesh/services/internal/daprruntime"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

// maxBody is what the sidecars of a bench take in one request: more than those of the platform, so that it is the
// profile that says what is too large.
const maxBody = "8Mi"

// node implements conformance.Node.
type node struct {
	*sidecar.Sidecar
	rig     *Rig
	spec    conformance.NodeSpec
	appPort int
	daprd   *process
	ports   sidecar.Config

	mu  sync.Mutex
	app *app
	end sync.Once
}

// app is one life of the application: what it serves and works ends with it.
type app struct {
	server *http.Server
	cancel context.CancelFunc
	// worker is its own connection to the workflow engine.
	worker *sidecar.Sidecar
}

// Node implements conformance.Bench.
func (r *Rig) Node(ctx context.Context, spec conformance.NodeSpec) (conformance.Node, error) {
	return r.node(ctx, spec)
}

// Shared implements conformance.Bench.
func (r *Rig) Shared(ctx context.Context, app string, instance int) (conformance.Node, error) {
	key := app + "/" + strconv.Itoa(instance)
	r.mu.Lock()
	s := r.shared[key]
	if s == nil {
		s = &sharedNode{}
		r.shared[key] = s
	}
	r.mu.Unlock()
	s.once.Do(func() { s.node, s.err = r.node(ctx, conformance.NodeSpec{App: app, Instance: instance}) })
	if s.err != nil {
		return nil, s.err
	}
	return s.node, nil
}

func (r *Rig) node(ctx context.Context, spec conformance.NodeSpec) (*node, error) {
	p, err := r.ports.several(4)
	if err != nil {
		return nil, err
	}
	n := &node{rig: r, spec: spec, appPort: p[0], ports: sidecar.Config{HTTPPort: p[1], GRPCPort: p[2]}}
	if n.Sidecar, err = sidecar.New(n.ports); err != nil {
		return nil, err
	}
	args := []string{
		"--app-id", spec.App, "--app-port", strconv.Itoa(p[0]), "--app-protocol", "http", "--app-channel-address", "127.0.0.1",
		"--dapr-http-port", strconv.Itoa(p[1]), "--dapr-grpc-port", strconv.Itoa(p[2]), "--dapr-internal-grpc-port", strconv.Itoa(p[3]),
		"--dapr-listen-addresses", "127.0.0.1", "--dapr-internal-grpc-listen-address", "127.0.0.1",
		"--placement-host-address", local(r.placementPort), "--scheduler-host-address", local(r.schedulerPort),
		"--config", r.config, "--resources-path", r.servers.resources, "--max-body-size", maxBody, "--app-max-concurrency", "256", "--disable-init-endpoints", "config",
		"--dapr-graceful-shutdown-seconds", "2", "--enable-api-logging=false", "--enable-metrics=false", "--scheduler-job-streams", "1",
		"--log-as-json", "--log-level", "info",
	}
	env := append([]string{"DAPR_HOST_IP=127.0.0.1", "NAMESPACE=default"}, r.servers.env...)
	name := fmt.Sprintf("%s-%d-daprd", spec.App, spec.Instance)
	n.daprd = &process{name: name, path: r.cfg.Runtime.Path(daprruntime.Daprd), args: args, env: env, dir: r.cfg.Data, log: r.logPath(name),
		ready: httpReady("http://" + local(p[1]) + "/v1.0/healthz"), within: time.Minute, grace: 4 * time.Second, spawn: r.spawn}
	r.mu.Lock()
	closed := r.closed
	if !closed {
		r.nodes[n] = true
	}
	r.mu.Unlock()
	if closed {
		return nil, errors.New("the bench is closed")
	}
	// The sidecar asks the application for its subscriptions, and the application needs the engine of its sidecar.
	if err := n.serve(); err != nil {
		n.Close()
		return nil, err
	}
	if err := n.daprd.Start(ctx); err != nil {
		n.Close()
		return nil, err
	}
	if err := n.work(ctx); err != nil {
		n.Close()
		return nil, err
	}
	return n, nil
}

// serve begins a life of the application.
func (n *node) serve() error {
	ln, err := listen(n.appPort)
	if err != nil {
		return fmt.Errorf("the application of %s: %w", n.spec.App, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &app{cancel: cancel, server: &http.Server{Handler: n.handler(), ReadHeaderTimeout: 5 * time.Second,
		BaseContext: func(net.Listener) context.Context { return ctx }}}
	n.mu.Lock()
	n.app = a
	n.mu.Unlock()
	go func() { _ = a.server.Serve(ln) }() // ends with Close
	return nil
}

func (n *node) handler() http.Handler {
	type subscription struct {
		PubSub string `json:"pubsubname"`
		Topic  string `json:"topic"`
		Route  string `json:"route"`
	}
	subs := []subscription{}
	for _, t := range n.spec.Topics {
		subs = append(subs, subscription{sidecar.EventsComponent, t, topic.Path(t)})
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /dapr/subscribe", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(subs)
	})
	if n.spec.Handler != nil {
		mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
			n.spec.Handler.ServeHTTP(w, r)
			if r.Context().Err() != nil {
				panic(http.ErrAbortHandler) // a killed application answers nothing, not even an empty 200
			}
		})
	}
	return mux
}

// work connects the application to the workflow engine, where it has workflows.
func (n *node) work(ctx context.Context) error {
	if n.spec.Workflows == nil {
		return nil
	}
	conn, err := sidecar.New(n.ports)
	if err != nil {
		return err
	}
	n.mu.Lock()
	a := n.app
	a.worker = conn
	n.mu.Unlock()
	life, end := context.WithCancel(context.Background())
	before := a.cancel
	a.cancel = func() { end(); before() }
	client := workflow.NewClientWithLogger(conn.Conn(), silent{})
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for {
		err := client.StartWorker(life, n.spec.Workflows)
		if err == nil {
			return nil
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-deadline.C:
			return fmt.Errorf("the workflow engine of %s takes no worker: %w", n.spec.App, err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// State implements conformance.Node.
func (n *node) State() sidecar.Store { return n.Sidecar.State(n.spec.App + "-store") }

// Engine implements conformance.Node.
func (n *node) Engine() conformance.Engine {
	return workflow.NewClientWithLogger(n.Sidecar.Conn(), silent{})
}

// KillSidecar implements conformance.Node.
func (n *node) KillSidecar() error { return n.daprd.Kill() }

// StartSidecar implements conformance.Node.
func (n *node) StartSidecar(ctx context.Context) error { return n.daprd.Start(ctx) }

// KillApp implements conformance.Node: nothing that the application has begun is answered any more.
func (n *node) KillApp() error {
	n.mu.Lock()
	a := n.app
	n.app = nil
	n.mu.Unlock()
	if a == nil {
		return fmt.Errorf("the application of %s is not running", n.spec.App)
	}
	if a.worker != nil {
		a.worker.Close() // first, so that no result gets out any more
	}
	err := a.server.Close()
	a.cancel()
	return err
}

// StartApp implements conformance.Node.
func (n *node) StartApp(ctx context.Context) error {
	if err := n.serve(); err != nil {
		return err
	}
	return n.work(ctx)
}

// Close implements conformance.Node.
func (n *node) Close() {
	n.end.Do(func() {
		n.daprd.stop()
		n.mu.Lock()
		a := n.app
		n.mu.Unlock()
		if a != nil {
			_ = n.KillApp() // it runs, and nobody waits for an answer
		}
		n.Sidecar.Close()
		n.rig.mu.Lock()
		delete(n.rig.nodes, n)
		n.rig.mu.Unlock()
	})
}

// silent is a logger of the workflow client that says nothing: a check tells what it saw.
type silent struct{}

func (silent) Debug(...any)          {}
func (silent) Debugf(string, ...any) {}
func (silent) Info(...any)           {}
func (silent) Infof(string, ...any)  {}
func (silent) Warn(...any)           {}
func (silent) Warnf(string, ...any)  {}
func (silent) Error(...any)          {}
func (silent) Errorf(string, ...any) {}
