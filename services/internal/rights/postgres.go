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
		err := p.ensureUser(ctx, admin, user)
		if err == nil {
			err = ensurePlain(ctx, admin, user)
		}
		if err != nil {
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
	// Role 0 is everybody: PUBLIC is a word, and no name that may be quoted.
	others, err := column(ctx, admin, `SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END
		FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
		WHERE d.datname = $1 AND a.grantee <> d.datdba`, name)
	if err != nil {
		return err
	}
	for _, other := range others {
		if err := execFormat(ctx, admin, "REVOKE ALL ON DATABASE %I FROM "+other+" CASCADE", name); err != nil {
			return err
		}
	}
	return nil
}

// ensurePlain takes from a user what goes beyond its databases: attributes of its own and other roles' rights.
func ensurePlain(ctx context.Context, admin *pgx.Conn, user string) error {
	var more bool
	err := admin.QueryRow(ctx, `SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls FROM pg_roles WHERE rolname = $1`, user).Scan(&more)
	if err == nil && more {
		err = execFormat(ctx, admin, "ALTER ROLE %I NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS", user)
	}
	if err != nil {
		return err
	}
	roles, err := column(ctx, admin, `SELECT pg_get_userbyid(roleid) FROM pg_auth_members WHERE pg_get_userbyid(member) = $1`, user)
	if err != nil {
		return err
	}
	for _, role := range roles {
		if err := execFormat(ctx, admin, "REVOKE %I FROM %I", role, user); err != nil {
			return err
		}
	}
	return nil
}

// column reads all rows of a query that gives one text.
func column(ctx context.Context, conn *pgx.Conn, query string, args ...any) ([]string, error) {
	rows, err := conn.Query(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
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
