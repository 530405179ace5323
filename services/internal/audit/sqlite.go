package audit

import (
	"context"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// ErrNoStore is what a store that was never written to is opened with.
var ErrNoStore = errors.New("there is no store yet")

// SQLite reads the files of Dapr's state.sqlite component, one for each app, named <app>.db. It never writes, and
// it may be used while the platform runs: every file is read in one transaction.
type SQLite struct{ Dir string }

// Open implements Stores.
func (s SQLite) Open(ctx context.Context, app string) (Snapshot, error) {
	path := filepath.Join(s.Dir, app+".db")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", ErrNoStore, path)
	} else if err != nil {
		return nil, err
	}
	query := url.Values{"mode": {"ro"}, "_pragma": {"busy_timeout(20000)", "query_only(true)"}}
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), db.Close())
	}
	snapshot := &sqliteSnapshot{path: path, app: app, db: db, tx: tx}
	// The transaction sees the database as it is at its first read.
	var tables int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = 'state'`).Scan(&tables); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), snapshot.Close())
	}
	if tables == 0 {
		return nil, errors.Join(fmt.Errorf("%w: %s has no table named state", ErrNoStore, path), snapshot.Close())
	}
	return snapshot, nil
}

type sqliteSnapshot struct {
	path, app string
	db        *sql.DB
	tx        *sql.Tx
}

// Each implements Snapshot. The runtime puts "<app>||" before keys and stores bytes as base64
// (components-contrib, state/sqlite). Sorting with the slash below all else keeps a stream's head and events
// together.
func (s *sqliteSnapshot) Each(ctx context.Context, prefix string, visit func(string, []byte) error) error {
	full := s.app + "||" + prefix
	rows, err := s.tx.QueryContext(ctx, `SELECT key, value, is_binary FROM state
		WHERE key >= ? AND key < ? AND (expiration_time IS NULL OR expiration_time > CURRENT_TIMESTAMP)
		ORDER BY replace(key, '/', char(1))`, full, full+"\U0010ffff")
	if err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var value []byte
		var binary bool
		if err := rows.Scan(&key, &value, &binary); err != nil {
			return fmt.Errorf("%s: %w", s.path, err)
		}
		if binary {
			n, err := base64.StdEncoding.Decode(value, value)
			if err != nil {
				return fmt.Errorf("%s: %s: %w", s.path, key, err)
			}
			value = value[:n]
		}
		if err := visit(strings.TrimPrefix(key, s.app+"||"), value); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", s.path, err)
	}
	return nil
}

// Close implements Snapshot.
func (s *sqliteSnapshot) Close() error { return errors.Join(s.tx.Rollback(), s.db.Close()) }
