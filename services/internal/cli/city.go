package cli

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/city"
)

func init() { register(newCity) }

// newCity is the outside world, which the supervisor starts as a process of its own.
func newCity() *cobra.Command {
	var cfg city.Config
	cmd := &cobra.Command{
		Use:   "city",
		Short: "Run the outside world: acquirer, mail server, kitchens and couriers",
		Long: `Everything that is not the platform: a card acquirer with its own book, a mail server, sinks for texts and pushes,
and kitchens and couriers that work through the public API. "dishmesh up" starts it.

One listener has /acquirer/, /sms, /push, /healthz, /readyz and, at /, a page of what the outside world received.
The environment variable ACQUIRER_API_KEY is the key that merchants have to send.`,
		Hidden: true,
		Args:   cobra.NoArgs,
	}
	fl := cmd.Flags()
	fl.StringVar(&cfg.Dir, "data", "", "folder of the acquirer's book and of what was received")
	fl.StringVar(&cfg.Gateway, "gateway", "http://127.0.0.1:8080", "address of the public API")
	fl.StringVar(&cfg.CA, "ca", "", "certificate of the authority that the public API is trusted by")
	fl.StringVar(&cfg.Listen, "listen", "127.0.0.1:8090", "address of the acquirer, the sinks and the page")
	fl.StringVar(&cfg.SMTPListen, "smtp-listen", "127.0.0.1:2525", "address of the mail server")
	fl.StringVar(&cfg.Accounts, "accounts", "", "file of the kitchens' and couriers' accounts")
	fl.Float64Var(&cfg.TimeScale, "time-scale", 1, "how long things take: 1 is about 20 s an order, 0.1 a tenth of that, 0 no time at all")
	fl.Int64Var(&cfg.Seed, "seed", 1, "seed of delays and positions")
	fl.BoolVar(&cfg.NoActors, "no-actors", false, "no kitchens and couriers")
	fl.IntVar(&cfg.Couriers, "couriers", 0, "how many of the courier accounts work; 0 is all")
	cmd.AddCommand(newCityFiles())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var level slog.Level
		if name := os.Getenv("LOG_LEVEL"); name != "" {
			if err := level.UnmarshalText([]byte(name)); err != nil {
				return fmt.Errorf("LOG_LEVEL: %w: use debug, info, warn or error", err)
			}
		}
		cfg.Log = slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level})).With("service", "city")
		cfg.APIKey = os.Getenv("ACQUIRER_API_KEY")
		c, err := city.New(cfg)
		var bad *city.ConfigError
		if errors.As(err, &bad) {
			return &ExitError{Code: ExitUsage, Err: err}
		}
		if err != nil {
			return err
		}
		return c.Run(cmd.Context())
	}
	return cmd
}

// newCityFiles is how the audit reads what the city of a cluster received: its image has this program and nothing else.
func newCityFiles() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "files",
		Short: "Write the acquirer's book and what was received to the standard output, as a tar archive",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return city.WriteFiles(cmd.OutOrStdout(), dir) },
	}
	cmd.Flags().StringVar(&dir, "data", "", "folder of the city")
	return cmd
}
