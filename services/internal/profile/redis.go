package profile

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/redis/go-redis/v9"
)

// Redis is one Redis server, whose append-only file is flushed to the disk before an answer.
type Redis struct{}

// Name implements Server.
func (Redis) Name() string { return "redis" }

// Title implements Server.
func (Redis) Title() string { return "Redis" }

// Broker implements Server.
func (Redis) Broker() bool { return true }

// Vars implements Server.
func (Redis) Vars() []string { return []string{"REDIS_HOST", "REDIS_PASSWORD"} }

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
	return []string{"REDIS_HOST=" + local(at.Ports["redis"]), "REDIS_PASSWORD=" + at.Password}
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
		ReadyWithin: 60 * time.Second, Grace: 5 * time.Second,
	}}
}
