package rights_test

import (
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/dishmesh/dishmesh/services/internal/rights"
)

// What PostgreSQL says to who may not.
const (
	wrongPassword = "28P01"
	notAllowed    = "42501"
)

// code is PostgreSQL's word for an error, "" for none.
func code(t *testing.T, err error) string {
	t.Helper()
	var refused *pgconn.PgError
	if err != nil && !errors.As(err, &refused) {
		t.Fatal(err)
	}
	if refused == nil {
		return ""
	}
	return refused.Code
}

// Each service enters its own databases, and no other; it is so after every look, whatever was changed in between.
func TestPostgresRightsAreAsDeclared(t *testing.T) {
	p := postgres(t)
	order, payment := p.Passwords["order"], p.Passwords["payment"]
	for _, step := range []struct{ name, database, before string }{
		{"nothing was there", "", ""},
		{"all was there", "", ""},
		{"another password", "postgres", `ALTER ROLE "order" PASSWORD 'guessed'`},
		{"no password", "postgres", `ALTER ROLE payment PASSWORD NULL`},
		{"another owner", "postgres", `ALTER DATABASE order_workflow OWNER TO payment`},
		{"open to all", "postgres", `GRANT CONNECT ON DATABASE payment TO PUBLIC`},
		{"may make others", "postgres", `ALTER ROLE payment SUPERUSER CREATEROLE CREATEDB`},
		{"has another's rights", "postgres", `GRANT "order" TO payment`},
		{"open to one", "postgres", `GRANT CONNECT, TEMPORARY ON DATABASE payment TO "order"`},
	} {
		t.Run(step.name, func(t *testing.T) {
			if step.before != "" {
				if err := enter(t.Context(), p, rights.Admin, "root", step.database, step.before); err != nil {
					t.Fatal(err)
				}
			}
			if err := p.Ensure(t.Context()); err != nil {
				t.Fatal(err)
			}
			for _, tt := range []struct{ user, password, database, statement, want string }{
				{"order", order, "order", `CREATE SCHEMA IF NOT EXISTS mine; DROP SCHEMA mine`, ""},
				{"order", order, "order_workflow", `CREATE SCHEMA IF NOT EXISTS mine; DROP SCHEMA mine`, ""},
				{"payment", payment, "payment", `CREATE SCHEMA IF NOT EXISTS mine; DROP SCHEMA mine`, ""},
				{"order", order, "payment", `SELECT 1`, notAllowed},
				{"payment", payment, "order", `SELECT 1`, notAllowed},
				{"payment", payment, "order_workflow", `SELECT 1`, notAllowed},
				{"payment", order, "payment", `SELECT 1`, wrongPassword},
				{"order", "guessed", "order", `SELECT 1`, wrongPassword},
				{"payment", payment, "payment", `CREATE ROLE eve`, notAllowed},
				{"payment", payment, "payment", `CREATE DATABASE eve`, notAllowed},
			} {
				if got := code(t, enter(t.Context(), p, tt.user, tt.password, tt.database, tt.statement)); got != tt.want {
					t.Errorf("%s in %s, %s: %q, want %q", tt.user, tt.database, tt.statement, got, tt.want)
				}
			}
		})
	}
}

// A password that is good is left as it is: setting it would give it a new salt at every look, and end up in each log of
// statements.
func TestPostgresLeavesAGoodPassword(t *testing.T) {
	p := postgres(t)
	const kept = `SELECT rolpassword FROM pg_authid WHERE rolname = 'payment'`
	if err := p.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := askAdmin(t, p, kept)
	if err := p.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := askAdmin(t, p, kept); after != before {
		t.Errorf("the password was set again: %s, then %s", before, after)
	}
	p.Passwords = maps.Clone(p.Passwords)
	p.Passwords["payment"] = "three"
	if err := p.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := askAdmin(t, p, kept); after == before {
		t.Error("a new password was not set")
	}
}

// What stands in the way is said with the server and the user.
func TestPostgresFaults(t *testing.T) {
	p := postgres(t)
	for _, tt := range []struct {
		name string
		edit func(*rights.Postgres)
		want []string
	}{
		{"no server", func(p *rights.Postgres) { p.Addr = "127.0.0.1:1" }, []string{"postgres at 127.0.0.1:1"}},
		{"no admin", func(p *rights.Postgres) { p.Passwords = nil }, []string{"no password is known for the user admin: add it to the secret"}},
		{"wrong admin", func(p *rights.Postgres) { p.Passwords = map[string]string{rights.Admin: "guessed"} }, []string{wrongPassword}},
		{"a user without password", func(p *rights.Postgres) { p.Databases = map[string]string{"menu": "menu"} },
			[]string{p.Addr, "user menu", "no password is known: add it to the secret"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := p
			tt.edit(&p)
			err := p.Ensure(t.Context())
			for _, want := range tt.want {
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q in it", err, want)
				}
			}
		})
	}
}
