package audit

import (
	"context"
	"encoding/base64"
	"encoding/json"

	_ "github.com/go-sql-driver/mysql" // the driver "mysql"
)

// MySQL reads the table of Dapr's state.mysql component from the database of DSN. It never writes, and it may be used
// while the platform runs.
type MySQL struct {
	// DSN is the data source name with the database in it, and Name how messages call the database.
	DSN, Name string
}

// Open implements Stores. Bytes lie in the table as a JSON string of their base64 (components-contrib, state/mysql).
func (m MySQL) Open(ctx context.Context, app string) (Snapshot, error) {
	return openSQL(ctx, &sqlSnapshot{
		name: m.Name, app: app,
		query: `SELECT id, value, isbinary FROM state
			WHERE id >= ? AND id < ? AND (expiredate IS NULL OR expiredate > CURRENT_TIMESTAMP)
			ORDER BY REPLACE(id, '/', CHAR(1 USING utf8mb4))`,
		value: func(raw []byte, binary bool) ([]byte, error) {
			if !binary {
				return raw, nil
			}
			var text string
			if err := json.Unmarshal(raw, &text); err != nil {
				return nil, err
			}
			return base64.StdEncoding.DecodeString(text)
		},
	}, "mysql", m.DSN, `SELECT EXISTS (SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = 'state')`)
}
