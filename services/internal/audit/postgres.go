package audit

import (
	"context"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
)

// Postgres reads the table of Dapr's state.postgresql component, version 2, from the database at URL. It never
// writes, and it may be used while the platform runs.
type Postgres struct {
	// URL is the connection string, and Name how messages call the database.
	URL, Name string
}

// Open implements Stores. Values lie in the table as they are (components-contrib, state/postgresql/v2).
func (p Postgres) Open(ctx context.Context, app string) (Snapshot, error) {
	return openSQL(ctx, &sqlSnapshot{
		name: p.Name, app: app,
		query: `SELECT key, value, false FROM state
			WHERE key COLLATE "C" >= $1 AND key COLLATE "C" < $2 AND (expires_at IS NULL OR expires_at >= now())
			ORDER BY replace(key, '/', chr(1)) COLLATE "C"`,
		value: func(raw []byte, _ bool) ([]byte, error) { return raw, nil },
	}, "pgx", p.URL, `SELECT to_regclass('state') IS NOT NULL`)
}
