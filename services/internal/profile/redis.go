package profile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/dishmesh/dishmesh/services/internal/broker"
)

// Redis is one Redis server, whose append-only file is flushed to the disk before an answer.
type Redis struct{}

// Name implements Server.
func (Redis) Name() string { return "redis" }

// Title implements Server.
func (Redis) Title() string { return "Redis" }

// Vars implements Server.
func (Redis) Vars() []string { return []string{"REDIS_HOST", "REDIS_USERNAME", "REDIS_PASSWORD"} }

// Probe implements Server.
func (Redis) Probe(ctx context.Context) Found {
	path, ok := findProgram("redis-server", "/usr/sbin", "/usr/local/sbin")
	if !ok {
		return Found{Mend: install("redis", "redis-server")}
	}
	return Found{Here: true, Version: versionOf(ctx, path, "--version"), Where: path}
}

// Ports implements Server.
func (Redis) Ports() []string { return []string{"redis"} }

// Env implements Server.
func (Redis) Env(at Site) []string {
	// The one that redis.conf's requirepass is the password of.
	return []string{"REDIS_HOST=" + local(at.Ports["redis"]), "REDIS_USERNAME=default", "REDIS_PASSWORD=" + at.Password}
}

// Processes implements Server.
func (Redis) Processes(at Site) []Process {
	path, _ := findProgram("redis-server", "/usr/sbin", "/usr/local/sbin") // Probe has found it
	config := filepath.Join(at.Dir, "redis.conf")
	options := &redis.Options{Addr: local(at.Ports["redis"]), Password: at.Password, MaxRetries: -1, DialTimeout: time.Second}
	return []Process{{
		Name: "redis", Path: path, Args: []string{config},
		Prepare: func(context.Context) error {
			if err := os.MkdirAll(at.Dir, 0o700); err != nil {
				return err
			}
			return writeConfig(config, fmt.Sprintf(`# Written at every start. Every write is on the disk before it is answered: with "everysec" an answer can come
# before the write has left the process, and a kill then loses what was acknowledged.
bind 127.0.0.1
port %d
requirepass %s
dir %s
appendonly yes
appendfsync always
save ""
maxmemory-policy noeviction
`, at.Ports["redis"], at.Password, at.Dir), nil)
		},
		// While it loads its data Redis listens already and answers with an error.
		Ready: func(ctx context.Context) error {
			client := redis.NewClient(options)
			defer client.Close()
			return client.Ping(ctx).Err()
		},
		Started:     func(ctx context.Context) error { return dropLeftGroups(ctx, options, at.Topics) },
		ReadyWithin: 60 * time.Second, Grace: 5 * time.Second,
	}}
}

// leftGroup is how long a group of live updates must have been without a reader to be a leftover of a gateway that has
// gone. Redis itself keeps groups for ever.
const leftGroup = 10 * time.Minute

// dropLeftGroups removes the groups of the gateway's live updates that nobody reads any more. Each start of a gateway
// makes new ones.
func dropLeftGroups(ctx context.Context, options *redis.Options, topics []broker.Topic) error {
	client := redis.NewClient(options)
	defer client.Close()
	for _, t := range topics {
		groups, err := client.XInfoGroups(ctx, t.Name).Result()
		if err != nil {
			continue // no such stream yet
		}
		for _, g := range groups {
			if !strings.HasPrefix(g.Name, "gateway-") {
				continue
			}
			readers, err := client.XInfoConsumers(ctx, t.Name, g.Name).Result()
			if err != nil {
				return fmt.Errorf("look at the group %s: %w", g.Name, err)
			}
			if slices.ContainsFunc(readers, func(r redis.XInfoConsumer) bool { return r.Idle < leftGroup }) {
				continue
			}
			if err := client.XGroupDestroy(ctx, t.Name, g.Name).Err(); err != nil {
				return fmt.Errorf("drop the group %s: %w", g.Name, err)
			}
		}
	}
	return nil
}
