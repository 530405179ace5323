// Package broker is the embedded event broker: the Kafka protocol served by franz-go's kfake with its data on disk.
//
// Topics are created explicitly before the broker counts as ready and never by accident: topics that clients conjure
// up would not survive a crash (see the README of components/).
package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// Config describes one broker.
type Config struct {
	// Dir holds the data; it is created when missing.
	Dir string
	// Port is the port on 127.0.0.1; 0 takes a free one.
	Port int
	// Topics are created when missing. A topic that is there already is left alone.
	Topics []Topic
	// SyncWrites flushes every batch to the disk before it is acknowledged. Without it a batch is safe when the
	// broker is killed, and lost only when the machine loses power.
	SyncWrites bool
	// Retention is how long events are kept; 0 means for ever.
	Retention time.Duration
	// Logger gets the broker's own messages; nil discards them.
	Logger *slog.Logger
}

// Broker is a running broker.
type Broker struct {
	cluster *kfake.Cluster
	addr    string
}

// Start loads the data, listens and creates what topics are missing. It returns when the broker is ready.
func Start(ctx context.Context, cfg Config) (*Broker, error) {
	if cfg.Dir == "" {
		return nil, errors.New("broker: no data folder given")
	}
	logger := cfg.Logger
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	retention := "-1"
	if cfg.Retention > 0 {
		retention = fmt.Sprint(cfg.Retention.Milliseconds())
	}
	opts := []kfake.Opt{
		kfake.NumBrokers(1),
		kfake.Ports(cfg.Port),
		kfake.ClusterID("dishmesh"),
		kfake.DataDir(cfg.Dir),
		kfake.BrokerConfigs(map[string]string{"log.retention.ms": retention}),
		kfake.WithLogger(kafkaLogger{logger}),
	}
	if cfg.SyncWrites {
		opts = append(opts, kfake.SyncWrites())
	}
	cluster, err := kfake.NewCluster(opts...)
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) {
			return nil, fmt.Errorf("broker: port %d is busy: %w", cfg.Port, err)
		}
		return nil, fmt.Errorf("broker: data folder %s: %w", cfg.Dir, err)
	}
	b := &Broker{cluster: cluster, addr: cluster.ListenAddrs()[0]}
	if err := b.createTopics(ctx, cfg.Topics); err != nil {
		b.Close()
		return nil, fmt.Errorf("broker: %w", err)
	}
	return b, nil
}

// Addr is the host and port that clients connect to.
func (b *Broker) Addr() string { return b.addr }

// Close writes everything to the disk and stops.
func (b *Broker) Close() { b.cluster.Close() }

// createTopics asks for the topics as any client would: only topics made so are kept on disk.
func (b *Broker) createTopics(ctx context.Context, topics []Topic) error {
	return CreateTopics(ctx, b.addr, topics)
}

// kafkaLogger hands kfake's messages to slog.
type kafkaLogger struct{ log *slog.Logger }

func (l kafkaLogger) Logf(level kfake.LogLevel, format string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case kfake.LogLevelError:
		to = slog.LevelError
	case kfake.LogLevelWarn:
		to = slog.LevelWarn
	}
	if l.log.Enabled(context.Background(), to) {
		l.log.Log(context.Background(), to, fmt.Sprintf(format, args...))
	}
}
