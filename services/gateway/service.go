// Package gateway is the platform's only public port. It verifies who calls and what they may, checks bodies,
// forwards to the services by the sidecar, and streams what happens live.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// Config is what the gateway can be set to.
type Config struct {
	PublicAddr      string        `env:"PUBLIC_ADDR" default:"127.0.0.1:8080" help:"address of the public API"`
	Rate            int           `env:"RATE_LIMIT" default:"100" help:"requests a second that a client may make"`
	Burst           int           `env:"RATE_LIMIT_BURST" default:"200" help:"requests that a client may make at once"`
	CredentialRate  int           `env:"CREDENTIAL_RATE_LIMIT" default:"20" help:"registrations and logins a second from one address"`
	CredentialBurst int           `env:"CREDENTIAL_RATE_LIMIT_BURST" default:"200" help:"registrations and logins at once from one address"`
	RedisAddr       string        `env:"RATE_LIMIT_REDIS_ADDR" help:"host:port of a Redis that counts for all replicas; empty: each counts alone"`
	RedisUser       string        `env:"RATE_LIMIT_REDIS_USERNAME" help:"user of that Redis; empty: its default user"`
	RedisPassword   string        `env:"RATE_LIMIT_REDIS_PASSWORD" secret:"true" help:"password of that user"`
	TrustedProxies  int           `env:"TRUSTED_PROXIES" default:"0" help:"proxies in front that append to X-Forwarded-For"`
	StreamsEach     int           `env:"LIVE_STREAMS_PER_ACCOUNT" default:"20" help:"live streams that an account may have open"`
	StreamBuffer    int           `env:"LIVE_STREAM_BUFFER" default:"256" help:"events that a live stream may lag behind before it is closed"`
	LiveMaxAge      time.Duration `env:"LIVE_MAX_AGE" default:"1m" help:"live updates pass over older events: some brokers begin with their whole history; 0: none is too old"`
	StreamAge       time.Duration `env:"LIVE_STREAM_AGE" default:"1h" help:"after this a live stream is closed, and the client connects again: a token that has expired is not good for ever"`
	Heartbeat       time.Duration `env:"LIVE_HEARTBEAT" default:"15s" help:"pause between the signs of life of a live stream"`
}

// Service is the gateway.
type Service struct {
	cfg          Config
	log          *slog.Logger
	metrics      prometheus.Registerer
	invoker      sidecar.Invoker
	apps         []string // that have dead letters
	orders       orderapi.Client
	topics       *topic.Subscriber
	verifier     *verifier
	proxy        *httputil.ReverseProxy
	limiter      limiter
	closeLimiter func() error
	general      limit
	credentials  limit
	hub          *hub
	streams      *streamCount
	public       http.Handler
	listening    atomic.Pointer[net.TCPAddr]
	shutdown     context.Context
	closing      chan struct{} // closed when live streams must end
	resettle     time.Duration
	sidecar      func(context.Context) error // nil: it can take calls
	pages        *pages
}

// New builds the gateway.
func New(d *run.Deps, cfg Config) (run.Service, error) { return build(d, cfg, time.Now) }

func build(d *run.Deps, cfg Config, now func() time.Time) (*Service, error) {
	var errs []error
	for _, v := range []struct {
		name  string
		value int
	}{
		{"RATE_LIMIT", cfg.Rate}, {"RATE_LIMIT_BURST", cfg.Burst}, {"CREDENTIAL_RATE_LIMIT", cfg.CredentialRate},
		{"CREDENTIAL_RATE_LIMIT_BURST", cfg.CredentialBurst}, {"LIVE_STREAMS_PER_ACCOUNT", cfg.StreamsEach}, {"LIVE_STREAM_BUFFER", cfg.StreamBuffer},
	} {
		if v.value < 1 || v.value > 1_000_000 {
			errs = append(errs, fmt.Errorf("%s=%d: must be 1 to 1000000", v.name, v.value))
		}
	}
	if cfg.TrustedProxies < 0 {
		errs = append(errs, fmt.Errorf("TRUSTED_PROXIES=%d: must not be negative", cfg.TrustedProxies))
	}
	if cfg.LiveMaxAge < 0 {
		errs = append(errs, fmt.Errorf("LIVE_MAX_AGE=%s: must not be negative (0: none is too old)", cfg.LiveMaxAge))
	}
	if cfg.StreamAge < time.Second {
		errs = append(errs, fmt.Errorf("LIVE_STREAM_AGE=%s: must be at least 1s", cfg.StreamAge))
	}
	if cfg.Heartbeat < time.Millisecond {
		errs = append(errs, fmt.Errorf("LIVE_HEARTBEAT=%s: must be at least 1ms", cfg.Heartbeat))
	}
	if _, _, err := net.SplitHostPort(cfg.PublicAddr); err != nil {
		errs = append(errs, fmt.Errorf("PUBLIC_ADDR: %w", err))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	base, transport := d.Proxy()
	proxy, err := newProxy(base, transport, newStaleAnswers(now, d.Metrics))
	if err != nil {
		return nil, fmt.Errorf("address of the sidecar: %w", err)
	}
	pages, err := newPages()
	if err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, log: d.Log, metrics: d.Metrics, invoker: d.Invoker, apps: apps(), orders: orderapi.Client{Invoker: d.Invoker}, topics: d.Topics,
		verifier: newVerifier(userapi.Client{Invoker: d.Invoker}, now), proxy: proxy, pages: pages,
		general: limit{cfg.Rate, cfg.Burst}, credentials: limit{cfg.CredentialRate, cfg.CredentialBurst},
		hub: newHub(cfg.StreamBuffer, cfg.LiveMaxAge, now, d.Metrics), streams: &streamCount{most: cfg.StreamsEach, by: map[string]int{}},
		shutdown: d.Shutdown, closing: make(chan struct{}), resettle: 10 * time.Second, sidecar: d.Healthy,
	}
	local := newLocalLimiter(now)
	s.limiter, s.closeLimiter = local, func() error { return nil }
	if cfg.RedisAddr != "" {
		shared, stop := newRedisLimiter(cfg.RedisAddr, cfg.RedisUser, cfg.RedisPassword)
		failures := prometheus.NewCounter(prometheus.CounterOpts{Name: "gateway_rate_limiter_failures_total", Help: "Times that the shared rate limit could not be asked."})
		d.Metrics.MustRegister(failures)
		s.limiter, s.closeLimiter = &fallback{shared: shared, local: local, now: now, failures: failures}, stop
	}
	s.public = web.Version(d.Name, d.Version)(s.edge())
	return s, nil
}

// Routes takes events in from the sidecar, and hears of its starts.
func (s *Service) Routes(r *mux.Router) {
	s.topics.Handle(r, s.Subscriptions()...)
}

// watchSidecar tells live streams when the sidecar was away: events were missed while there was none, and some will
// be until the new one has joined the broker's group. They are told so at both ends of that gap.
func (s *Service) watchSidecar(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	away := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		attempt, cancel := context.WithTimeout(ctx, 2*time.Second)
		err := s.sidecar(attempt)
		cancel()
		if away && err == nil {
			s.hub.lost()
			time.AfterFunc(s.resettle, s.hub.lost)
		}
		away = err != nil
	}
}

// The limits of the public port against slow and greedy clients. There is no limit on writing as a whole because
// of the live streams; each answer has its own, see bounded.
const (
	readHeaderTimeout = 5 * time.Second
	readTimeout       = 15 * time.Second
	writeTimeout      = 30 * time.Second
	idleTimeout       = 60 * time.Second
	maxHeader         = 16 << 10
	drainTimeout      = 3 * time.Second
)

func (s *Service) server() *http.Server {
	return &http.Server{
		Handler: s.public, ReadHeaderTimeout: readHeaderTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// Run serves the public API until ctx ends or the process is asked to stop.
func (s *Service) Run(ctx context.Context) error {
	listener, err := net.Listen("tcp", s.cfg.PublicAddr)
	if err != nil {
		return fmt.Errorf("PUBLIC_ADDR: %w", err)
	}
	server := s.server()
	failed := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			failed <- fmt.Errorf("public API: %w", err)
		}
	})
	watch, endWatch := context.WithCancel(ctx)
	defer endWatch()
	serving.Go(func() { s.watchSidecar(watch, 500*time.Millisecond) })
	s.listening.Store(listener.Addr().(*net.TCPAddr))
	s.log.Info("public API", "address", listener.Addr().String())
	select {
	case err = <-failed:
	case <-ctx.Done():
	case <-s.shutdown.Done():
	}
	s.listening.Store(nil)
	close(s.closing)
	endWatch()
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	if server.Shutdown(drain) != nil {
		err = errors.Join(err, server.Close())
	}
	serving.Wait()
	return errors.Join(err, s.closeLimiter())
}

// Ready reports whether the public port is open.
func (s *Service) Ready() error {
	if s.listening.Load() == nil {
		return errors.New("the public port is not open")
	}
	return nil
}
