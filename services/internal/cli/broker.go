package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/broker"
)

// newBroker is the embedded broker, which the supervisor starts as a process of its own.
func newBroker() *cobra.Command {
	var cfg broker.Config
	var subscriptions string
	var healthPort int
	cmd := &cobra.Command{
		Use:    "broker",
		Short:  "Run the embedded event broker",
		Hidden: true,
		Args:   cobra.NoArgs,
	}
	fl := cmd.Flags()
	fl.StringVar(&cfg.Dir, "data", "", "folder of the broker's data")
	fl.IntVar(&cfg.Port, "port", 0, "port of the Kafka protocol on 127.0.0.1")
	fl.IntVar(&healthPort, "health-port", 0, "port that answers /healthz once the broker is ready")
	fl.StringVar(&subscriptions, "subscriptions", "", "folder of the subscriptions, from which the topics follow")
	fl.BoolVar(&cfg.SyncWrites, "sync", false, "flush every batch to the disk before it is acknowledged")
	fl.DurationVar(&cfg.Retention, "retention", 7*24*time.Hour, "how long events are kept; 0 for ever")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		subs, err := broker.ReadSubscriptions(subscriptions)
		if err != nil {
			return err
		}
		if cfg.Topics, err = broker.Topics(subs); err != nil {
			return err
		}
		cfg.Logger = slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: slog.LevelWarn}))
		return runBroker(cmd.Context(), cfg, healthPort)
	}
	return cmd
}

func runBroker(ctx context.Context, cfg broker.Config, healthPort int) error {
	b, err := broker.Start(ctx, cfg)
	if err != nil {
		return err
	}
	defer b.Close()
	if healthPort == 0 {
		<-ctx.Done()
		return nil
	}
	ln, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(healthPort)))
	if err != nil {
		return fmt.Errorf("broker: health port: %w", err)
	}
	srv := &http.Server{ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusNoContent)
	})}
	stopped := context.AfterFunc(ctx, func() { _ = srv.Close() })
	defer stopped()
	if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("broker: health port: %w", err)
	}
	return nil
}
