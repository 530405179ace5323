package cli_test

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/cli"
)

// emptyStores makes a data folder of a platform that has taken no orders.
func emptyStores(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, sub := range []string{"state", "client"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, app := range []string{"order", "payment", "restaurant", "delivery"} {
		db, err := sql.Open("sqlite", filepath.Join(dir, "state", app+".db")+"?_pragma=synchronous(0)")
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Exec(`CREATE TABLE state (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL, is_binary BOOLEAN NOT NULL,
			etag TEXT NOT NULL, expiration_time TIMESTAMP DEFAULT NULL, update_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)`)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// acknowledge writes n orders into the customers' journal that no store has.
func acknowledge(t *testing.T, dir string, n int) {
	t.Helper()
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"order_id":"ord_%02d","acknowledged_at":"2026-11-22T12:00:00Z","customer_id":"usr_1","total":100,"currency":"EUR"}`+"\n", i)
	}
	if err := os.WriteFile(filepath.Join(dir, "client", "orders.jsonl"), []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAuditCommand(t *testing.T) {
	green := emptyStores(t)
	red := emptyStores(t)
	acknowledge(t, red, 25)
	tests := []struct {
		name   string
		args   []string
		code   int
		out    []string // in either stream
		absent string
	}{
		{"green", []string{"--data", green}, 0, []string{"✓ 1", "✓ 8", "all invariants hold", "0 orders"}, "✗"},
		{"red", []string{"--data", red}, 1, []string{"✗ 1", "25 violations in 25 orders", "ord_00: was acknowledged", "… and 5 more, see --json", "the audit is red"}, "ord_24"},
		{"no colour off a terminal", []string{"--data", red}, 1, nil, "\x1b"},
		{"waits in vain", []string{"--data", green, "--wait", "1s", "--strict"}, 0, []string{"all invariants hold"}, "✗"},
		{"no stores", []string{"--data", t.TempDir()}, 2, []string{"order.db", "dishmesh up", "--data"}, "✓"},
		{"wrong flag", []string{"--wiat", "1s"}, 2, []string{"wiat"}, "✓"},
		{"negative wait", []string{"--data", green, "--wait", "-1s"}, 2, []string{"--wait"}, "✓"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := cli.Main(append([]string{"audit"}, tt.args...), &out, &out); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, want := range tt.out {
				if !strings.Contains(out.String(), want) {
					t.Errorf("%q is not in:\n%s", want, &out)
				}
			}
			if strings.Contains(out.String(), tt.absent) {
				t.Errorf("%q is in:\n%s", tt.absent, &out)
			}
		})
	}
}

// The keys of --json are a promise.
func TestAuditJSON(t *testing.T) {
	dir := emptyStores(t)
	acknowledge(t, dir, 25)
	var out, errOut bytes.Buffer
	if code := cli.Main([]string{"audit", "--data", dir, "--json"}, &out, &errOut); code != 1 {
		t.Fatalf("exit code %d, want 1: %s", code, &errOut)
	}
	var report map[string]json.RawMessage
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		t.Fatal(err)
	}
	var invariants []map[string]any
	if err := json.Unmarshal(report["invariants"], &invariants); err != nil {
		t.Fatal(err)
	}
	if len(invariants) != 8 || len(invariants[0]["violations"].([]any)) != 25 {
		t.Fatalf("invariants: %v", invariants)
	}
	keys := func(n int, has func(string) bool, all ...string) {
		t.Helper()
		for _, k := range all {
			if !has(k) {
				t.Errorf("the key %s is missing", k)
			}
		}
		if n != len(all) {
			t.Errorf("%d keys, want %d", n, len(all))
		}
	}
	keys(len(report), func(k string) bool { _, ok := report[k]; return ok }, "ok", "invariants", "in_flight", "pending", "orders", "notes")
	keys(len(invariants[0]), func(k string) bool { _, ok := invariants[0][k]; return ok }, "id", "name", "ok", "checked", "unit", "violations")
	if diff := cmp.Diff("false 0", string(report["ok"])+" "+string(report["in_flight"])); diff != "" {
		t.Error(diff)
	}
}
