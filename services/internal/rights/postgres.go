package rights

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Postgres is a server with a database for each store.
type Postgres struct {
	Addr      string            // host:port
	Passwords map[string]string // by user, Admin's among them
	Databases map[string]string // name to the service that owns it
}

// Ensure makes what is missing.
func (p Postgres) Ensure(ctx context.Context) error {
	if err := p.ensure(ctx); err != nil {
		return fmt.Errorf("postgres at %s: %w", p.Addr, err)
	}
	return nil
}

func (p Postgres) ensure(ctx context.Context) error {
	admin, err := p.connect(ctx, Admin, "postgres")
	if err != nil {
		return err
	}
	defer func() { _ = admin.Close(context.WithoutCancel(ctx)) }()
	var names []string
	for name := range p.Databases {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		user := p.Databases[name]
		if err := p.ensureUser(ctx, admin, user); err != nil {
			return fmt.Errorf("user %s: %w", user, err)
		}
		if err := p.ensureDatabase(ctx, admin, name, user); err != nil {
			return fmt.Errorf("database %s: %w", name, err)
		}
	}
	return nil
}

func (p Postgres) connect(ctx context.Context, user, database string) (*pgx.Conn, error) {
	password, ok := p.Passwords[user]
	if !ok {
		return nil, fmt.Errorf("no password is known for the user %s: add it to the secret", user)
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: p.Addr, Path: "/" + database,
		RawQuery: "sslmode=prefer&connect_timeout=5"}
	return pgx.Connect(ctx, u.String())
}

// ensureUser gives a user its password, unless it is good already: that can only be told by using it.
func (p Postgres) ensureUser(ctx context.Context, admin *pgx.Conn, user string) error {
	var there bool
	if err := admin.QueryRow(ctx, `SELECT EXISTS (SELECT 1 FROM pg_roles WHERE rolname = $1)`, user).Scan(&there); err != nil {
		return err
	}
	password, ok := p.Passwords[user]
	if !ok {
		return errors.New("no password is known: add it to the secret")
	}
	verb := "CREATE"
	if there {
		// Any database will do: who may not enter it is told so after the password was found good.
		probe, err := p.connect(ctx, user, "postgres")
		if err == nil {
			return probe.Close(ctx)
		}
		const invalidPassword = "28P01"
		var refused *pgconn.PgError
		if !errors.As(err, &refused) {
			return err
		}
		if refused.Code != invalidPassword {
			return nil
		}
		verb = "ALTER"
	}
	return execFormat(ctx, admin, verb+" ROLE %I LOGIN PASSWORD %L", user, password)
}

// ensureDatabase makes a database that its owner alone may enter.
func (p Postgres) ensureDatabase(ctx context.Context, admin *pgx.Conn, name, user string) error {
	var has string
	err := admin.QueryRow(ctx, `SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = $1`, name).Scan(&has)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		if err := execFormat(ctx, admin, "CREATE DATABASE %I OWNER %I", name, user); err != nil {
			return err
		}
	case err != nil:
		return err
	case has != user:
		if err := execFormat(ctx, admin, "ALTER DATABASE %I OWNER TO %I", name, user); err != nil {
			return err
		}
	}
	var open bool
	if err := admin.QueryRow(ctx, `SELECT has_database_privilege('public', $1, 'CONNECT')`, name).Scan(&open); err != nil || !open {
		return err
	}
	return execFormat(ctx, admin, "REVOKE ALL ON DATABASE %I FROM PUBLIC", name)
}

// execFormat runs a statement that takes no parameters, with names and values quoted by the server (%I and %L).
func execFormat(ctx context.Context, conn *pgx.Conn, format string, args ...string) error {
	var sql string
	if err := conn.QueryRow(ctx, `SELECT format($1, VARIADIC $2::text[])`, format, args).Scan(&sql); err != nil {
		return err
	}
	_, err := conn.Exec(ctx, sql)
	return err
}
