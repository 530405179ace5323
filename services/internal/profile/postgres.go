package profile

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Postgres is one PostgreSQL server with a database for each store.
type Postgres struct{}

// Databases are the databases of the stores: one for each app that keeps something, and one for the sagas. In
// PostgreSQL they are named so; MySQL puts "dishmesh_" before.
func Databases() []string {
	return []string{"user", "menu", "pricing", "order", "order_workflow", "payment", "restaurant", "delivery", "notification", "analytics"}
}

// Name implements Server.
func (Postgres) Name() string { return "postgres" }

// Title implements Server.
func (Postgres) Title() string { return "PostgreSQL" }

// Vars implements Server.
func (Postgres) Vars() []string {
	return []string{"POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_USER", "POSTGRES_PASSWORD"}
}

const postgresUser = "dishmesh"

func postgresProgram(name string) (string, bool) {
	return findProgram(name, "/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")
}

// Probe implements Server.
func (Postgres) Probe(ctx context.Context) Found {
	path, ok := postgresProgram("postgres")
	if _, initdb := postgresProgram("initdb"); !ok || !initdb {
		return Found{Mend: install("postgres", "postgresql")}
	}
	return Found{Here: true, Version: versionOf(ctx, path, "--version"), Where: path}
}

// Ports implements Server.
func (Postgres) Ports() []string { return []string{"postgres"} }

// Env implements Server.
func (Postgres) Env(at Site) []string {
	return []string{"POSTGRES_HOST=127.0.0.1", "POSTGRES_PORT=" + strconv.Itoa(at.Ports["postgres"]),
		"POSTGRES_USER=" + postgresUser, "POSTGRES_PASSWORD=" + at.Password}
}

// PostgresURL is how a database of the server at a site is reached.
func PostgresURL(port int, password, database string) string {
	return fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", postgresUser, password, local(port), database)
}

// Processes implements Server.
func (Postgres) Processes(at Site) []Process {
	path, _ := postgresProgram("postgres") // Probe has found it
	// PostgreSQL refuses to run as root.
	cred, err := asUser("postgres", "nobody")
	data := filepath.Join(at.Dir, "data")
	url := PostgresURL(at.Ports["postgres"], at.Password, "postgres")
	return []Process{{
		Name: "postgres", Path: path, Dir: at.Dir, Credential: cred,
		Args: []string{"-D", data, "-p", strconv.Itoa(at.Ports["postgres"]), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
			"-c", "max_connections=300", "-c", "shared_buffers=128MB", "-c", "max_wal_size=1GB"},
		Prepare: func(ctx context.Context) error {
			if err != nil {
				return err
			}
			return preparePostgres(ctx, at, data, cred)
		},
		Ready:       func(ctx context.Context) error { return pingPostgres(ctx, url) },
		Started:     func(ctx context.Context) error { return createPostgresDatabases(ctx, url) },
		ReadyWithin: 60 * time.Second, Grace: 10 * time.Second,
		// The "fast" end: clients are sent away. SIGTERM would wait until they have gone by themselves.
		Stop: syscall.SIGINT,
	}}
}

// preparePostgres makes the database cluster before the first start.
func preparePostgres(ctx context.Context, at Site, data string, cred *syscall.Credential) error {
	if err := giveTo(at.Dir, cred); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(data, "PG_VERSION")); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	initdb, _ := postgresProgram("initdb")
	secret := filepath.Join(at.Dir, "password")
	if err := writeConfig(secret, at.Password+"\n", cred); err != nil {
		return err
	}
	defer os.Remove(secret)
	// A cluster that was made by half is in the way of the next try.
	made := data + ".new"
	if err := os.RemoveAll(made); err != nil {
		return err
	}
	err := runOnce(ctx, cred, at.Dir, nil, initdb, "-D", made, "-U", postgresUser, "-A", "scram-sha-256", "--pwfile", secret,
		"-E", "UTF8", "--locale", "C", "--no-instructions")
	if err != nil {
		return err
	}
	return os.Rename(made, data)
}

func pingPostgres(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	return conn.Close(ctx)
}

func createPostgresDatabases(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, name := range Databases() {
		var there bool
		if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_database WHERE datname = $1)`, name).Scan(&there); err != nil {
			return err
		}
		if there {
			continue
		}
		// An identifier cannot be a parameter; these are constants.
		if _, err := conn.Exec(ctx, `CREATE DATABASE "`+strings.ReplaceAll(name, `"`, "")+`"`); err != nil {
			return fmt.Errorf("create the database %s: %w", name, err)
		}
	}
	return nil
}
