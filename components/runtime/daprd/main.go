// Command daprd is Dapr's sidecar runtime with the components of this platform's profiles.
package main

import (
	"context"
	"fmt"
	"os"

	"go.opencensus.io/stats/view"

	"github.com/dapr/dapr/cmd/daprd/options"
	"github.com/dapr/dapr/pkg/buildinfo"
	bindings "github.com/dapr/dapr/pkg/components/bindings"
	configuration "github.com/dapr/dapr/pkg/components/configuration"
	conversation "github.com/dapr/dapr/pkg/components/conversation"
	crypto "github.com/dapr/dapr/pkg/components/crypto"
	lock "github.com/dapr/dapr/pkg/components/lock"
	middleware "github.com/dapr/dapr/pkg/components/middleware/http"
	names "github.com/dapr/dapr/pkg/components/nameresolution"
	pubsub "github.com/dapr/dapr/pkg/components/pubsub"
	secrets "github.com/dapr/dapr/pkg/components/secretstores"
	state "github.com/dapr/dapr/pkg/components/state"
	"github.com/dapr/dapr/pkg/healthz"
	"github.com/dapr/dapr/pkg/metrics"
	"github.com/dapr/dapr/pkg/modes"
	"github.com/dapr/dapr/pkg/runtime"
	"github.com/dapr/dapr/pkg/runtime/registry"
	"github.com/dapr/dapr/pkg/security"
	"github.com/dapr/kit/concurrency"
	"github.com/dapr/kit/logger"
	"github.com/dapr/kit/signals"
)

func main() {
	log := logger.NewLogger("dapr.runtime")
	o, err := options.New(os.Args[1:])
	if err != nil {
		log.Fatalf("flags: %v", err)
	}
	switch {
	case o.RuntimeVersion:
		fmt.Println(buildinfo.Version())
		return
	case o.BuildInfo:
		fmt.Printf("Version: %s\nGit Commit: %s\nGit Version: %s\n", buildinfo.Version(), buildinfo.Commit(), buildinfo.GitVersion())
		return
	case o.WaitCommand:
		runtime.WaitUntilDaprOutboundReady(o.DaprHTTPPort)
		return
	}
	o.Logger.SetAppID(o.AppID)
	if err := logger.ApplyOptionsToLoggers(&o.Logger); err != nil {
		log.Fatal(err)
	}
	log.Infof("daprd %s with the components of Dishmesh, log level %s", buildinfo.Version(), o.Logger.OutputLevel)
	if err := run(signals.Context(), o, log); err != nil {
		log.Fatalf("runtime: %v", err)
	}
	log.Info("stopped")
}

// run is the runtime from its security handshake to its end.
func run(ctx context.Context, o *options.Options, log logger.Logger) error {
	health := healthz.New()
	sec, err := security.New(ctx, security.Options{
		Mode: modes.DaprMode(o.Mode), AppID: o.AppID, Healthz: health, MTLSEnabled: o.EnableMTLS,
		SentryAddress: o.SentryAddress, TrustAnchors: o.TrustAnchors, JwtAudiences: o.SentryRequestJwtAudiences,
		ControlPlaneTrustDomain: o.ControlPlaneTrustDomain, ControlPlaneNamespace: o.ControlPlaneNamespace,
	})
	if err != nil {
		return err
	}
	return concurrency.NewRunnerManager(sec.Run, func(ctx context.Context) error {
		handler, err := sec.Handler(ctx)
		if err != nil {
			return err
		}
		c := config(o)
		c.Registry, c.Security, c.Healthz = registries(log), handler, health
		c.Metrics = metrics.Options{
			Enabled: o.Metrics.Enabled(), Port: o.Metrics.Port(), ListenAddress: o.Metrics.ListenAddress(),
			Namespace: metrics.DefaultMetricNamespace, Meter: view.NewMeter(), Healthz: health, Log: log,
		}
		rt, err := runtime.FromConfig(ctx, c)
		if err != nil {
			return err
		}
		return rt.Run(ctx)
	}).Run(ctx)
}

// registries are those that components.go fills, and those that stay empty: the runtime asks for all of them.
func registries(log logger.Logger) *registry.Options {
	contrib := logger.NewLogger("dapr.contrib")
	bindings.DefaultRegistry.Logger = contrib
	configuration.DefaultRegistry.Logger = contrib
	conversation.DefaultRegistry.Logger = contrib
	crypto.DefaultRegistry.Logger = contrib
	lock.DefaultRegistry.Logger = contrib
	middleware.DefaultRegistry.Logger = log
	names.DefaultRegistry.Logger = contrib
	pubsub.DefaultRegistry.Logger = contrib
	secrets.DefaultRegistry.Logger = contrib
	state.DefaultRegistry.Logger = contrib
	return registry.NewOptions().
		WithBindings(bindings.DefaultRegistry).
		WithConfigurations(configuration.DefaultRegistry).
		WithConversations(conversation.DefaultRegistry).
		WithCryptoProviders(crypto.DefaultRegistry).
		WithHTTPMiddlewares(middleware.DefaultRegistry).
		WithLocks(lock.DefaultRegistry).
		WithNameResolutions(names.DefaultRegistry).
		WithPubSubs(pubsub.DefaultRegistry).
		WithSecretStores(secrets.DefaultRegistry).
		WithStateStores(state.DefaultRegistry)
}

// config passes the flags on to the runtime.
func config(o *options.Options) *runtime.Config {
	return &runtime.Config{
		// the app
		AppID: o.AppID, ApplicationPort: o.AppPort, AppProtocol: o.AppProtocol, AppChannelAddress: o.AppChannelAddress, AppSSL: o.AppSSL,
		AppMaxConcurrency: o.AppMaxConcurrency, EnableAppHealthCheck: o.EnableAppHealthCheck, AppHealthCheckPath: o.AppHealthCheckPath,
		AppHealthProbeInterval: o.AppHealthProbeInterval, AppHealthProbeTimeout: o.AppHealthProbeTimeout, AppHealthThreshold: o.AppHealthThreshold,
		// the sidecar's own doors
		DaprHTTPPort: o.DaprHTTPPort, DaprAPIGRPCPort: o.DaprAPIGRPCPort, DaprAPIListenAddresses: o.DaprAPIListenAddresses,
		DaprInternalGRPCPort: o.DaprInternalGRPCPort, DaprInternalGRPCListenAddress: o.DaprInternalGRPCListenAddress,
		DaprPublicPort: o.DaprPublicPort, DaprPublicListenAddress: o.DaprPublicListenAddress, UnixDomainSocket: o.UnixDomainSocket,
		AllowedOrigins: o.AllowedOrigins, MaxRequestSize: o.MaxRequestSize, ReadBufferSize: o.ReadBufferSize,
		EnableAPILogging: o.EnableAPILogging, EnableProfiling: o.EnableProfiling, ProfilePort: o.ProfilePort,
		// the control plane
		Mode: o.Mode, ControlPlaneAddress: o.ControlPlaneAddress, SentryAddress: o.SentryAddress, EnableMTLS: o.EnableMTLS,
		ActorsService: o.ActorsService, ActorsDisseminationTimeout: o.ActorsDisseminationTimeout, RemindersService: o.RemindersService,
		SchedulerAddress: o.SchedulerAddress, SchedulerStreams: o.SchedulerJobStreams,
		// resources
		ResourcesPath: o.ResourcesPath, ComponentsPath: o.ComponentsPath, Config: o.Config,
		DisableBuiltinK8sSecretStore: o.DisableBuiltinK8sSecretStore, DisableInitEndpoints: o.DisableInitEndpoints,
		// the end
		DaprGracefulShutdownSeconds: o.DaprGracefulShutdownSeconds, DaprBlockShutdownDuration: o.DaprBlockShutdownDuration,
	}
}
