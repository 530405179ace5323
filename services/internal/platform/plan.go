package platform

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/broker"
	"github.com/dishmesh/dishmesh/services/internal/daprruntime"
)

// Apps lists the services, which are also the Dapr app ids, in the order in which status shows them.
func Apps() []string {
	return []string{"gateway", "user", "menu", "pricing", "order", "payment", "restaurant", "delivery", "notification", "analytics"}
}

// SidecarName names the process of an app's sidecar.
func SidecarName(app string) string { return app + "-daprd" }

// trustDomain is the one that sidecars get their certificates for. Nothing outside this machine knows it.
const trustDomain = "localhost"

// plan is all that is decided before the first process starts.
type plan struct {
	cfg     Config
	layout  Layout
	runtime daprruntime.Runtime
	binDir  string
	ports   map[string]int
	apps    map[string]AppEndpoint
	tokens  map[string]AppTokens
	secrets Secrets
	subs    []broker.Subscription
}

func (p *plan) port(name string) string { return strconv.Itoa(p.ports[name]) }

func (p *plan) caFile() string { return filepath.Join(p.layout.Certs(), "ca.crt") }

// parts lists every process in the order of need.
func (p *plan) parts() []Part {
	parts := []Part{p.sentry(), p.broker(), p.placement(), p.scheduler()}
	for _, app := range p.cfg.Apps {
		parts = append(parts, p.service(app))
	}
	for _, app := range p.cfg.Apps {
		parts = append(parts, p.sidecar(app))
	}
	if p.cfg.CityArgs != nil {
		parts = append(parts, p.city())
	}
	return parts
}

// logFlags are the flags for logging, which all programs of the runtime share.
func (p *plan) logFlags() []string { return []string{"--log-as-json", "--log-level", p.cfg.LogLevel} }

func (p *plan) controlPart(name, program string, phase Phase, needs []string, args ...string) Part {
	args = append(args, "--listen-address", "127.0.0.1", "--port", p.port(name),
		"--healthz-listen-address", "127.0.0.1", "--healthz-port", p.port(name+"/healthz"), "--trust-domain", trustDomain)
	// Of the control plane, Dapr 1.18 serves metrics and health on every interface, whatever the address asked for.
	// Health is needed, metrics here are not.
	args = append(args, "--enable-metrics=false")
	return Part{
		Name: name, Kind: KindControl, Path: p.runtime.Path(program), Args: append(args, p.logFlags()...),
		Env: p.cfg.partEnv(name, "NAMESPACE=default"), Dir: p.layout.Data, Needs: needs, Phase: phase,
		Ready:       HTTPReady("http://" + local(p.ports[name+"/healthz"]) + "/healthz"),
		Alive:       HTTPAnswers("http://" + local(p.ports[name+"/healthz"]) + "/healthz"),
		ReadyWithin: 30 * time.Second, Grace: time.Second,
	}
}

func (p *plan) sentry() Part {
	return p.controlPart("sentry", daprruntime.Sentry, PhaseTrust, nil,
		"--config", p.cfg.Home.Components("configuration", "local.yaml"), "--issuer-credentials", p.layout.Certs())
}

func (p *plan) tlsFlags() []string {
	return []string{"--tls-enabled", "--trust-anchors-file", p.caFile(), "--sentry-address", local(p.ports["sentry"])}
}

func (p *plan) placement() Part {
	args := append(p.tlsFlags(), "--id", "placement-0", "--initial-cluster", "placement-0="+local(p.ports["placement/raft"]))
	return p.controlPart("placement", daprruntime.Placement, PhaseControl, []string{"sentry"}, args...)
}

func (p *plan) scheduler() Part {
	args := append(p.tlsFlags(), "--id", "dapr-scheduler-server-0",
		"--etcd-data-dir", p.layout.Scheduler(), "--etcd-client-listen-address", "127.0.0.1",
		"--etcd-client-port", p.port("scheduler/etcd"),
		"--etcd-initial-cluster", "dapr-scheduler-server-0=http://"+local(p.ports["scheduler/peer"]),
		// One node elects itself: there is nobody whose vote could come late.
		"--etcd-initial-election-tick-advance=true",
		"--override-broadcast-host-port", local(p.ports["scheduler"]),
		"--workers", "128", "--identity-directory-write", filepath.Join(p.layout.Run(), "scheduler-identity"))
	part := p.controlPart("scheduler", daprruntime.Scheduler, PhaseControl, []string{"sentry"}, args...)
	leader := &leadership{etcd: local(p.ports["scheduler/etcd"]), record: filepath.Join(p.layout.Scheduler(), "leadership.json")}
	healthy := part.Ready
	part.FirstReady = func() func(context.Context) error {
		var begin sync.Once
		return func(ctx context.Context) error {
			// Sidecars start meanwhile; without the take-over they would only wait longer.
			begin.Do(func() { go func() { _ = pollReady(ctx, leader.takeOver) }() })
			return healthy(ctx)
		}
	}
	return part
}

func (p *plan) broker() Part {
	args := []string{"broker", "--data", p.layout.Broker(), "--port", p.port("broker"), "--health-port", p.port("broker/healthz"),
		"--subscriptions", p.cfg.Home.Components("subscriptions")}
	if p.cfg.SyncWrites {
		args = append(args, "--sync")
	}
	return Part{
		Name: "broker", Kind: KindBroker, Path: p.cfg.Self, Args: args, Env: p.cfg.partEnv("broker"), Dir: p.layout.Data,
		Phase: PhaseBroker, Ready: HTTPReady("http://" + local(p.ports["broker/healthz"]) + "/healthz"),
		ReadyWithin: 30 * time.Second, Grace: 1500 * time.Millisecond,
	}
}

func (p *plan) service(app string) Part {
	ep, tok := p.apps[app], p.tokens[app]
	env := []string{
		"APP_ID=" + app, "APP_PORT=" + strconv.Itoa(ep.AppPort), "INSTANCE=" + app + "-0", "LOG_LEVEL=" + p.cfg.LogLevel,
		"DAPR_HTTP_PORT=" + strconv.Itoa(ep.DaprHTTPPort), "DAPR_GRPC_PORT=" + strconv.Itoa(ep.DaprGRPCPort),
		"DAPR_API_TOKEN=" + tok.DaprAPI, "APP_API_TOKEN=" + tok.AppAPI,
	}
	switch app {
	case "gateway":
		env = append(env, "PUBLIC_ADDR="+local(p.ports["public"]))
	case "user":
		env = append(env, "ACCOUNTS_FILE="+p.layout.Accounts())
	case "payment":
		env = append(env, "ACQUIRER_API_KEY="+p.secrets.AcquirerAPIKey)
	}
	return Part{
		Name: app, Kind: KindService, App: app, Path: filepath.Join(p.binDir, app), Env: p.cfg.partEnv(app, env...),
		Dir: p.layout.Data, Phase: PhaseService, Ready: HTTPReady("http://" + local(ep.AppPort) + "/healthz"),
		ReadyWithin: 30 * time.Second, Grace: 2 * time.Second,
	}
}

func (p *plan) sidecar(app string) Part {
	ep, tok := p.apps[app], p.tokens[app]
	name := SidecarName(app)
	args := []string{
		"--app-id", app, "--app-port", strconv.Itoa(ep.AppPort), "--app-protocol", "http", "--app-channel-address", "127.0.0.1",
		"--dapr-http-port", strconv.Itoa(ep.DaprHTTPPort), "--dapr-grpc-port", strconv.Itoa(ep.DaprGRPCPort),
		"--dapr-internal-grpc-port", strconv.Itoa(ep.internalPort),
		"--dapr-listen-addresses", "127.0.0.1", "--dapr-internal-grpc-listen-address", "127.0.0.1",
		"--placement-host-address", local(p.ports["placement"]), "--scheduler-host-address", local(p.ports["scheduler"]),
		"--enable-mtls", "--sentry-address", local(p.ports["sentry"]), "--control-plane-trust-domain", trustDomain,
		"--config", p.cfg.Home.Components("configuration", "local.yaml"),
		"--resources-path", p.cfg.Home.Components(p.cfg.Profile),
		"--resources-path", p.cfg.Home.Components("subscriptions"),
		"--resources-path", p.cfg.Home.Components("resiliency"),
		"--app-max-concurrency", strconv.Itoa(maxConcurrency(app, p.subs)), "--max-body-size", "1Mi",
		"--disable-init-endpoints", "config,subscribe", "--dapr-graceful-shutdown-seconds", "2",
		"--enable-api-logging=false", "--scheduler-job-streams", "1",
		"--enable-metrics=true", "--metrics-listen-address", "127.0.0.1", "--metrics-port", strconv.Itoa(ep.MetricsPort),
	}
	env := []string{
		"DAPR_API_TOKEN=" + tok.DaprAPI, "APP_API_TOKEN=" + tok.AppAPI, "DAPR_HOST_IP=127.0.0.1", "NAMESPACE=default",
		"KAFKA_BROKERS=" + local(p.ports["broker"]),
		"ACQUIRER_URL=http://" + local(p.ports["city"]) + "/acquirer",
		"SMS_URL=http://" + local(p.ports["city"]) + "/sms",
		"PUSH_URL=http://" + local(p.ports["city"]) + "/push",
		"SMTP_HOST=127.0.0.1", "SMTP_PORT=" + p.port("smtp"),
	}
	static := p.cfg.partEnv(name, env...)
	return Part{
		Name: name, Kind: KindSidecar, App: app, Path: p.runtime.Path(daprruntime.Daprd), Args: append(args, p.logFlags()...),
		Env: func() ([]string, error) {
			ca, err := os.ReadFile(p.caFile())
			if err != nil {
				return nil, fmt.Errorf("read the trust anchors that sentry made: %w", err)
			}
			out, err := static()
			return append(out, "DAPR_TRUST_ANCHORS="+string(ca)), err
		},
		Dir: p.layout.Data, Needs: []string{"sentry", "broker", "placement", "scheduler", app}, Phase: PhaseSidecar,
		Ready: HTTPReady("http://"+local(ep.DaprHTTPPort)+"/v1.0/healthz", "http://"+local(ep.AppPort)+"/readyz"),
		Alive: HTTPAnswers("http://" + local(ep.DaprHTTPPort) + "/v1.0/healthz"),
		// Ten sidecars start at once on what may be two cores.
		ReadyWithin: 60 * time.Second, Grace: 2500 * time.Millisecond,
	}
}

func (p *plan) city() Part {
	needs := make([]string, 0, len(p.cfg.Apps))
	for _, app := range p.cfg.Apps {
		needs = append(needs, SidecarName(app))
	}
	args := append([]string{"city", "--data", p.layout.City(), "--gateway", "http://" + local(p.ports["public"]),
		"--listen", local(p.ports["city"]), "--smtp-listen", local(p.ports["smtp"]), "--accounts", p.layout.Accounts(),
		"--time-scale", strconv.FormatFloat(p.cfg.TimeScale, 'g', -1, 64)}, p.cfg.CityArgs...)
	return Part{
		Name: "city", Kind: KindCity, Path: p.cfg.Self, Args: args, Dir: p.layout.Data, Needs: needs, Phase: PhaseCity,
		Env:         p.cfg.partEnv("city", "ACQUIRER_API_KEY="+p.secrets.AcquirerAPIKey, "LOG_LEVEL="+p.cfg.LogLevel),
		Ready:       HTTPReady("http://" + local(p.ports["city"]) + "/readyz"),
		Alive:       HTTPAnswers("http://" + local(p.ports["city"]) + "/readyz"),
		ReadyWithin: 30 * time.Second, Grace: 1500 * time.Millisecond,
	}
}

// choosePorts fills in every port. The two that people open keep their defaults when they are free; a default that is
// busy gives way to a free port and a note, one that was asked for is an error.
func (p *plan) choosePorts(book *portBook) (notes []string, err error) {
	p.ports = map[string]int{}
	public := []struct {
		name          string
		asked, normal int
		flag, what    string
	}{
		{"public", p.cfg.GatewayPort, DefaultGatewayPort, "--port", "the gateway"},
		{"city", p.cfg.CityPort, DefaultCityPort, "--city-port", "the city"},
	}
	for _, w := range public {
		if w.asked != 0 {
			if p.ports[w.name], err = book.want(w.flag, w.asked); err != nil {
				return nil, err
			}
			continue
		}
		port, err := book.want(w.what, w.normal)
		var busy *PortBusyError
		if errors.As(err, &busy) {
			port, err = book.pick(w.name)
			notes = append(notes, fmt.Sprintf("port %d is busy: %s listens on %d instead (choose one with %s)", w.normal, w.what, port, w.flag))
		}
		if err != nil {
			return nil, err
		}
		p.ports[w.name] = port
	}
	names := []string{"smtp", "broker", "broker/healthz", "placement/raft", "scheduler/etcd", "scheduler/peer"}
	for _, n := range []string{"sentry", "placement", "scheduler"} {
		names = append(names, n, n+"/healthz")
	}
	for _, app := range p.cfg.Apps {
		s := SidecarName(app)
		names = append(names, app, s+"/http", s+"/grpc", s+"/internal", s+"/metrics")
	}
	for _, n := range names {
		if p.ports[n], err = book.pick(n); err != nil {
			return nil, err
		}
	}
	p.apps = map[string]AppEndpoint{}
	for _, app := range p.cfg.Apps {
		s := SidecarName(app)
		p.apps[app] = AppEndpoint{AppPort: p.ports[app], DaprHTTPPort: p.ports[s+"/http"], DaprGRPCPort: p.ports[s+"/grpc"],
			MetricsPort: p.ports[s+"/metrics"], internalPort: p.ports[s+"/internal"]}
	}
	return notes, book.save()
}

// dropOldTrust removes a certificate authority that would run out soon; sentry then makes a new one.
func dropOldTrust(l Layout, now time.Time) error {
	raw, err := os.ReadFile(filepath.Join(l.Certs(), "ca.crt"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if block, _ := pem.Decode(raw); block != nil {
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil && cert.NotAfter.After(now.Add(30*24*time.Hour)) {
			return nil
		}
	}
	if err := os.RemoveAll(l.Certs()); err != nil {
		return err
	}
	return os.Mkdir(l.Certs(), 0o700)
}
