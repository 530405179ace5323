// Package run is the main program that all services share: configuration, logging, metrics, health, the sidecar,
// signals and shutdown. A service's own main is one call of Main.
package run

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"

	"github.com/dishmesh/dishmesh/services/internal/crash"
	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// Base is what every service can be set to.
type Base struct {
	AppHost   string `env:"APP_HOST" default:"127.0.0.1" help:"address on which the sidecar reaches the service; 0.0.0.0 lets callers in a mesh in too, and needs APP_API_TOKEN"`
	AppPort   int    `env:"APP_PORT" default:"8081" help:"port on which the sidecar reaches the service; also /healthz, /readyz, /metrics"`
	DaprHost  string `env:"DAPR_HOST" default:"127.0.0.1" help:"address of the sidecar"`
	DaprHTTP  int    `env:"DAPR_HTTP_PORT" default:"3500" help:"HTTP port of the sidecar"`
	DaprGRPC  int    `env:"DAPR_GRPC_PORT" default:"50001" help:"gRPC port of the sidecar"`
	DaprToken string `env:"DAPR_API_TOKEN" secret:"true" help:"token that the sidecar asks of the service"`
	AppToken  string `env:"APP_API_TOKEN" secret:"true" help:"token that the service asks of the sidecar"`
	Instance  string `env:"INSTANCE" help:"stable name of this replica; default the host name"`
	Version   string `env:"VERSION" help:"version that answers tell in the header Dishmesh-Version, such as v2 of a canary; without it they tell none"`
	LogLevel  string `env:"LOG_LEVEL" default:"info" help:"debug, info, warn or error"`
	sidecar.Limits
}

// Check refuses an address that is none, and one that others can reach without showing anything: the identity headers
// of a request are believed.
func (b Base) Check() error {
	ip := net.ParseIP(b.AppHost)
	switch {
	case ip == nil:
		return fmt.Errorf("APP_HOST=%q: must be an address of this machine, such as 127.0.0.1 or 0.0.0.0", b.AppHost)
	case !ip.IsLoopback() && b.AppToken == "":
		return fmt.Errorf("APP_HOST=%q: others than the sidecar could call: set APP_API_TOKEN", b.AppHost)
	}
	return nil
}

// Deps is what a service is built from. Tests fill it with fakes (package runtest).
type Deps struct {
	Name      string
	Instance  string
	Version   string // that answers tell, see web.Version
	Log       *slog.Logger
	Metrics   prometheus.Registerer
	State     sidecar.Store // the store component <name>-store
	Publisher sidecar.Publisher
	Invoker   sidecar.Invoker
	Binding   sidecar.Binding
	Outbox    *outbox.Outbox                     // on State; Main runs it if the service uses it, see UseOutbox
	Topics    *topic.Subscriber                  // subscriptions
	Conn      grpc.ClientConnInterface           // the sidecar's gRPC connection, for workflows
	Proxy     func() (string, http.RoundTripper) // how a reverse proxy reaches other apps
	Healthy   func(context.Context) error        // nil: the sidecar can take calls
	Engine    Engine                             // the sidecar's workflow engine
	Shutdown  context.Context                    // ends when the process is asked to stop
	usesBox   *bool
}

// Engine is how a service with workflows looks after the engine that its sidecar runs.
type Engine interface {
	WorkflowWorkers(ctx context.Context) (int, error)
	Shutdown(ctx context.Context) error
}

// UseOutbox gives the outbox and has it run beside the service.
func (d *Deps) UseOutbox() *outbox.Outbox {
	if d.usesBox != nil {
		*d.usesBox = true
	}
	return d.Outbox
}

// Service is a service's HTTP side.
type Service interface {
	Routes(r *mux.Router)
}

// Runner is a Service that also has work of its own. Run is called once the sidecar is ready and ends with ctx;
// an error ends the process.
type Runner interface {
	Run(ctx context.Context) error
}

// Readier is a Service that can say why it is not ready yet.
type Readier interface {
	Ready() error
}

// Main runs the service until it is asked to stop. It exits 2 on a wrong configuration and 1 on a failure.
func Main[C any](name string, build func(*Deps, C) (Service, error)) {
	os.Exit(main[C](name, build, os.Args[1:]))
}

func main[C any](name string, build func(*Deps, C) (Service, error), args []string) int {
	var cfg struct {
		Base
		Own C
	}
	if len(args) > 0 {
		out, code := os.Stderr, 2
		if args[0] == "-h" || args[0] == "--help" {
			out, code = os.Stdout, 0
		} else {
			fmt.Fprintf(out, "%s: no arguments are taken; see %s --help\n", name, name)
		}
		if code == 0 {
			Help(out, name, &cfg.Base, &cfg.Own)
		}
		return code
	}
	if err := errors.Join(Load(&cfg.Base, os.LookupEnv), Load(&cfg.Own, os.LookupEnv), cfg.Limits.Check(), cfg.Base.Check()); err != nil {
		fmt.Fprintf(os.Stderr, "%s: wrong configuration:\n%v\n", name, err)
		return 2
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.LogLevel)); err != nil {
		fmt.Fprintf(os.Stderr, "%s: LOG_LEVEL=%q: must be debug, info, warn or error\n", name, cfg.LogLevel)
		return 2
	}
	if cfg.Instance == "" {
		cfg.Instance, _ = os.Hostname()
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("service", name)

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	sc, err := sidecar.New(sidecar.Config{Host: cfg.DaprHost, HTTPPort: cfg.DaprHTTP, GRPCPort: cfg.DaprGRPC, APIToken: cfg.DaprToken,
		Guards: sidecar.NewGuards(cfg.Limits, log, reg)})
	if err != nil {
		log.Error("start", "error", err)
		return 1
	}
	defer sc.Close()
	usesBox := false
	state := inbox.New(sc.State(name + "-store"))
	deps := &Deps{
		Name: name, Instance: cfg.Instance, Version: cfg.Version, Log: log, Metrics: reg, State: state,
		Publisher: sc, Invoker: sc, Binding: sc, Conn: sc.Conn(), Proxy: sc.Proxy, Healthy: sc.Healthy, Engine: sc, Shutdown: ctx,
		Outbox:  outbox.New(state, sc, outbox.Options{Instance: cfg.Instance, Log: log, Metrics: reg, Crash: crash.Points(cfg.Instance)}),
		Topics:  topic.New(ctx, name, sc, log, reg).WithInbox(state, sc),
		usesBox: &usesBox,
	}
	service, err := build(deps, cfg.Own)
	if err != nil {
		log.Error("start", "error", err)
		return 1
	}
	log.Info("starting", "app_port", cfg.AppPort, "settings", Masked(&cfg.Own))
	if err := serve(ctx, deps, service, cfg.Base, sc, reg, usesBox); err != nil {
		log.Error("stopped", "error", err)
		return 1
	}
	log.Info("stopped")
	return 0
}

func serve(ctx context.Context, deps *Deps, service Service, cfg Base, sc *sidecar.Sidecar, reg *prometheus.Registry, usesBox bool) error {
	log := deps.Log
	r := web.Router()
	r.Use(web.Observe(log, reg), web.Version(deps.Name, deps.Version), mux.MiddlewareFunc(web.AppToken(cfg.AppToken)))
	r.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	r.Handle("/metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))
	r.HandleFunc("/readyz", func(w http.ResponseWriter, r *http.Request) {
		if err := ready(r.Context(), deps, service, sc, usesBox); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	service.Routes(r)
	var letters *deadletter.Box
	if !deps.Topics.Live() {
		letters = deadletter.New(deps.Name, deps.State, deps.Topics, log, reg)
		letters.Routes(r)
	}

	listener, err := net.Listen("tcp", net.JoinHostPort(cfg.AppHost, strconv.Itoa(cfg.AppPort)))
	if err != nil {
		return fmt.Errorf("APP_HOST, APP_PORT: %w", err)
	}
	// Deliveries may take as long as their retries; everything else is bounded by the caller's time-out.
	// HTTP/2 without TLS is for gRPC clients of the typed calls; the sidecar speaks HTTP/1.1.
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{Handler: r, Protocols: &protocols, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug)}
	failed := make(chan error, 3)
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	work, endWork := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := sc.Wait(work); err != nil {
			return // asked to stop before the sidecar was there
		}
		var parts sync.WaitGroup
		defer parts.Wait()
		if usesBox {
			parts.Go(func() {
				if err := deps.Outbox.Run(work); err != nil {
					failed <- err
				}
			})
		}
		if letters != nil {
			parts.Go(func() { letters.Run(work) })
		}
		if runner, ok := service.(Runner); ok {
			parts.Go(func() {
				if err := runner.Run(work); err != nil && work.Err() == nil {
					failed <- err
				}
			})
		}
	})
	var cause error
	select {
	case <-ctx.Done():
	case cause = <-failed:
	}
	drain, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	if err := server.Shutdown(drain); err != nil {
		server.Close()
	}
	endWork()
	running.Wait()
	return cause
}

func ready(ctx context.Context, deps *Deps, service Service, sc *sidecar.Sidecar, usesBox bool) error {
	if deps.Shutdown.Err() != nil {
		return errors.New("stopping")
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if err := sc.Healthy(ctx); err != nil {
		return err
	}
	if usesBox && !deps.Outbox.Ready() {
		return errors.New("the outbox holds no ring yet")
	}
	if r, ok := service.(Readier); ok {
		return r.Ready()
	}
	return nil
}
