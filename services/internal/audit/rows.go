package audit

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// row is one key with its value, as a store of another kind than SQLite gives it.
type row struct {
	key   string
	value []byte
}

// rows is a snapshot that lies in memory.
type rows []row

// snapshot brings rows into the order that Snapshot promises: with the slash below all else, a stream's head comes
// right before its events.
func snapshot(all []row) rows {
	sorted := func(key string) string { return strings.ReplaceAll(key, "/", "\x01") }
	slices.SortFunc(all, func(a, b row) int { return cmp.Compare(sorted(a.key), sorted(b.key)) })
	return all
}

// Each implements Snapshot.
func (r rows) Each(_ context.Context, prefix string, visit func(string, []byte) error) error {
	for _, one := range r {
		if !strings.HasPrefix(one.key, prefix) {
			continue
		}
		if err := visit(one.key, one.value); err != nil {
			return err
		}
	}
	return nil
}

// Close implements Snapshot.
func (rows) Close() error { return nil }

// sqlSnapshot reads from a transaction of a database server, which sees one instant.
type sqlSnapshot struct {
	name, app string
	db        *sql.DB
	tx        *sql.Tx
	// query takes the first key and the key after the last, and gives key and value in the order that Snapshot
	// promises.
	query string
	// value undoes what Dapr's component does to bytes.
	value func([]byte, bool) ([]byte, error)
}

// openSQL begins the transaction. exists is a query that says whether the table is there.
func openSQL(ctx context.Context, s *sqlSnapshot, driver, dsn, exists string) (Snapshot, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.name, err)
	}
	s.db = db
	if s.tx, err = db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.name, err), db.Close())
	}
	var there bool
	if err := s.tx.QueryRowContext(ctx, exists).Scan(&there); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", s.name, err), s.Close())
	}
	if !there {
		return nil, errors.Join(fmt.Errorf("%w: %s has no table named state", ErrNoStore, s.name), s.Close())
	}
	return s, nil
}

// Each implements Snapshot.
func (s *sqlSnapshot) Each(ctx context.Context, prefix string, visit func(string, []byte) error) error {
	full := s.app + "||" + prefix
	rows, err := s.tx.QueryContext(ctx, s.query, full, full+"\U0010ffff")
	if err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var raw []byte
		var binary bool
		if err := rows.Scan(&key, &raw, &binary); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		value, err := s.value(raw, binary)
		if err != nil {
			return fmt.Errorf("%s: %s: %w", s.name, key, err)
		}
		if err := visit(strings.TrimPrefix(key, s.app+"||"), value); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("%s: %w", s.name, err)
	}
	return nil
}

// Close implements Snapshot.
func (s *sqlSnapshot) Close() error { return errors.Join(s.tx.Rollback(), s.db.Close()) }
