package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/gateway"
	"github.com/dishmesh/dishmesh/services/internal/broker"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/rights"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

func init() { register(newRights) }

type rightsFlags struct {
	kafka, kafkaUsers, postgres, postgresUsers, listen string
	databases                                          []string
	replicas                                           int16
	every                                              time.Duration
	once                                               bool
}

// newRights is what the cluster runs beside its servers.
func newRights() *cobra.Command {
	var f rightsFlags
	cmd := &cobra.Command{
		Use:   "rights",
		Short: "Make topics, databases and users at shared servers, and grant each service what is its own",
		Long: `Makes what is missing at a Kafka and a PostgreSQL server, and takes back rights that are not declared. Who may do
what with topics follows from the subscriptions of the services. It goes on looking until it is stopped.

The folders of passwords have a file for each user; the one called admin is used to make the others.`,
		Hidden: true,
		Args:   cobra.NoArgs,
	}
	fl := cmd.Flags()
	fl.StringVar(&f.kafka, "kafka", "", "host:port of Kafka; empty: none")
	fl.StringVar(&f.kafkaUsers, "kafka-users", "", "folder of the passwords for Kafka")
	fl.Int16Var(&f.replicas, "replicas", 1, "replicas of each topic that is made")
	fl.StringVar(&f.postgres, "postgres", "", "host:port of PostgreSQL; empty: none")
	fl.StringVar(&f.postgresUsers, "postgres-users", "", "folder of the passwords for PostgreSQL")
	fl.StringSliceVar(&f.databases, "databases", nil, "databases; one that is not named as its owner is NAME=OWNER")
	fl.DurationVar(&f.every, "every", time.Minute, "how often to look")
	fl.StringVar(&f.listen, "listen", "", "address of /healthz and /readyz; empty: none")
	fl.BoolVar(&f.once, "once", false, "look once and end")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		servers, err := f.servers()
		if err != nil {
			return err
		}
		k := &rights.Keeper{Servers: servers, Every: f.every, Log: slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil))}
		if f.once {
			return k.Once(cmd.Context())
		}
		return f.keep(cmd.Context(), k)
	}
	return cmd
}

func (f rightsFlags) servers() ([]rights.Server, error) {
	if f.kafka == "" && f.postgres == "" {
		return nil, usageError("there is nothing to look at: name a server with --kafka or --postgres")
	}
	if f.every <= 0 || f.replicas < 1 {
		return nil, usageError("--every and --replicas must be more than 0")
	}
	var out []rights.Server
	if f.kafka != "" {
		passwords, err := rights.ReadPasswords(f.kafkaUsers)
		if err != nil {
			return nil, err
		}
		subs := declaredSubscriptions()
		topics, err := broker.Topics(subs)
		if err != nil {
			return nil, err
		}
		out = append(out, rights.Kafka{Addr: f.kafka, Passwords: passwords, Topics: topics, Replicas: f.replicas,
			Grants: rights.Grants(platform.Apps(), topics, subs)})
	}
	if f.postgres != "" {
		passwords, err := rights.ReadPasswords(f.postgresUsers)
		if err != nil {
			return nil, err
		}
		databases := map[string]string{}
		for _, d := range f.databases {
			name, owner, ok := strings.Cut(d, "=")
			if !ok {
				owner = name
			}
			if !slices.Contains(platform.Apps(), owner) {
				return nil, usageError("--databases: %q belongs to no service: say NAME=OWNER", d)
			}
			databases[name] = owner
		}
		out = append(out, rights.Postgres{Addr: f.postgres, Passwords: passwords, Databases: databases})
	}
	return out, nil
}

func (f rightsFlags) keep(ctx context.Context, k *rights.Keeper) error {
	if f.listen == "" {
		k.Run(ctx)
		return nil
	}
	l, err := net.Listen("tcp", f.listen)
	if err != nil {
		return fmt.Errorf("--listen: %w", err)
	}
	server := &http.Server{Handler: k.Routes(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 1)
	go func() {
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			failed <- err
		}
	}()
	defer server.Close()
	done := make(chan struct{})
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	go func() { defer close(done); k.Run(ctx) }()
	select {
	case err := <-failed:
		return err
	case <-done:
		return nil
	}
}

// declaredSubscriptions are those of every service, as components/subscriptions has them too; a test compares the two.
func declaredSubscriptions() []broker.Subscription {
	var all []broker.Subscription
	add := func(app, pubsub string, subs []topic.Subscription) {
		for _, s := range subs {
			all = append(all, broker.Subscription{Name: app + " " + s.Topic, PubSub: pubsub, Topic: s.Topic, Apps: []string{app}})
		}
	}
	for app, subs := range consumers() {
		add(app, "events", subs)
	}
	add("gateway", "live", new(gateway.Service).Subscriptions())
	slices.SortFunc(all, func(a, b broker.Subscription) int { return strings.Compare(a.Name, b.Name) })
	return all
}
