package cli

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/city"
	"github.com/dishmesh/dishmesh/services/internal/audit"
	"github.com/dishmesh/dishmesh/services/internal/kubectl"
)

// fakeKubectl is a cluster whose kubectl is a script: it gives passwords, opens ports that stay open until it is ended,
// and has the city's files in an archive. Each case may be replaced.
func fakeKubectl(t *testing.T, instead map[string]string) (cluster kubectl.Cluster, dir string) {
	t.Helper()
	dir = t.TempDir()
	answers := map[string]string{
		"*get?secret?postgres-users*":                                        `printf cDo6cXMv`,
		"*get?secret?redis-users*":                                           `printf cmVkaXM=`,
		"*port-forward*svc/postgres*":                                        `echo $$ >"$dir/forward-postgres"; echo "Forwarding from 127.0.0.1:4711 -> 5432"; exec sleep 300`,
		"*port-forward*svc/redis*":                                           `echo $$ >"$dir/forward-redis"; echo "Forwarding from 127.0.0.1:4712 -> 6379"; exec sleep 300`,
		"*get?namespace?kube-system*":                                        `echo '{"metadata":{"creationTimestamp":"2026-11-22T10:00:00Z"}}'`,
		"*-n?dishmesh-city?exec?city-0?--?/dishmesh?city?files?--data?/data": `cat "$dir/files.tar"`,
	}
	for pattern, answer := range instead {
		if _, ok := answers[pattern]; !ok {
			t.Fatalf("nobody asks %s", pattern)
		}
		answers[pattern] = answer
	}
	var script strings.Builder
	fmt.Fprintf(&script, "#!/bin/sh\ndir=%s\ncase $* in\n", dir)
	for pattern, answer := range answers {
		fmt.Fprintf(&script, "%s) %s ;;\n", pattern, answer)
	}
	script.WriteString("*) echo \"unexpected: $*\" >&2; exit 1 ;;\nesac\n")
	program := filepath.Join(dir, "kubectl")
	if err := os.WriteFile(program, []byte(script.String()), 0o700); err != nil {
		t.Fatal(err)
	}
	return kubectl.Cluster{Program: program, Kubeconfig: filepath.Join(dir, "kubeconfig")}, dir
}

// archive is what a city sends.
func archive(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for name, content := range files {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: int64(len(content))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// wantShut looks whether the port of a server was opened and is closed again.
func wantShut(t *testing.T, dir, server string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, "forward-"+server))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the port of %s is still open", server)
	}
}

// The stores of a cluster are read as their administrator through ports that are closed again, and nothing is left.
func TestClusterAuditConfig(t *testing.T) {
	cluster, dir := fakeKubectl(t, nil)
	t.Setenv("TMPDIR", dir)
	cfg, done, err := clusterAuditConfig(t.Context(), filepath.Join(dir, "data"), cluster)
	defer done()
	if err != nil {
		t.Fatal(err)
	}
	stores, ok := cfg.Stores.(audit.ByApp)
	if !ok {
		t.Fatalf("the stores are %T", cfg.Stores)
	}
	got := map[string]string{}
	for _, app := range []string{"order", "payment", "pricing", "delivery"} {
		switch s := stores[app].(type) {
		case audit.Postgres:
			got[app] = s.URL
		case audit.Redis:
			got[app] = s.User + " " + s.Password + " " + s.Addr
		}
	}
	want := map[string]string{
		"order":    "postgres://admin:p%3A%3Aqs%2F@127.0.0.1:4711/order?sslmode=disable",
		"payment":  "postgres://admin:p%3A%3Aqs%2F@127.0.0.1:4711/payment?sslmode=disable",
		"pricing":  "admin redis 127.0.0.1:4712",
		"delivery": "admin redis 127.0.0.1:4712",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("where stores are (-want +got):\n%s", diff)
	}
	// The customers' journal is that of this machine, and may be older than the cluster.
	if want := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC); !cfg.Since.Equal(want) || !strings.HasPrefix(cfg.Journal, filepath.Join(dir, "data")) {
		t.Errorf("orders of %s count since %s, want %s", cfg.Journal, cfg.Since, want)
	}
	done()
	for _, server := range clusterServers {
		wantShut(t, dir, server.name)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "dishmesh-audit-*")); len(left) > 0 {
		t.Errorf("left over: %v", left)
	}
}

// Fetch brings the city's files to where the audit reads them, anew each time.
func TestClusterAuditFetches(t *testing.T) {
	cluster, dir := fakeKubectl(t, nil)
	cfg, done, err := clusterAuditConfig(t.Context(), dir, cluster)
	defer done()
	if err != nil {
		t.Fatal(err)
	}
	for _, files := range []map[string]string{
		{city.BookFile: "a long book\n", city.MailFile: "one mail\n"},
		{city.BookFile: "short\n", city.MailFile: "one mail\n", city.SMSFile: "a message\n", city.PushFile: ""},
	} {
		if err := os.WriteFile(filepath.Join(dir, "files.tar"), archive(t, files), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := cfg.Fetch(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, name := range city.Files() {
			raw, err := os.ReadFile(filepath.Join(filepath.Dir(cfg.Book), name))
			if err == nil {
				got[name] = string(raw)
			} else if !errors.Is(err, os.ErrNotExist) {
				t.Fatal(err)
			}
		}
		if diff := cmp.Diff(files, got); diff != "" {
			t.Errorf("files (-want +got):\n%s", diff)
		}
	}
	if got := filepath.Base(cfg.Book); got != city.BookFile {
		t.Errorf("the book is %s", cfg.Book)
	}
}

// What the city sends is its own files, whole, or the audit says so.
func TestClusterAuditFetchFaults(t *testing.T) {
	const exec = "*-n?dishmesh-city?exec?city-0?--?/dishmesh?city?files?--data?/data"
	whole := archive(t, map[string]string{city.BookFile: strings.Repeat("entry\n", 400)})
	for _, tt := range []struct {
		name, script string
		tar          []byte
		want         string
	}{
		{"no pod", `echo 'pods "city-0" not found' >&2; exit 1`, nil, `kubectl: pods "city-0" not found`},
		{"another file", "", archive(t, map[string]string{"orders.jsonl": ""}), `"orders.jsonl" is no file of the city`},
		{"a way out of the folder", "", archive(t, map[string]string{"../" + city.BookFile: ""}), "is no file of the city"},
		{"half a file", "", whole[:1024], "unexpected EOF"},
		{"it breaks off", `head -c 1024 "$dir/files.tar"; echo 'lost connection' >&2; exit 1`, whole, "lost connection"},
		{"no archive", "", bytes.Repeat([]byte("x"), 2048), "invalid tar header"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			instead := map[string]string{}
			if tt.script != "" {
				instead[exec] = tt.script
			}
			cluster, dir := fakeKubectl(t, instead)
			if err := os.WriteFile(filepath.Join(dir, "files.tar"), tt.tar, 0o600); err != nil {
				t.Fatal(err)
			}
			to := filepath.Join(dir, "deep", "er")
			if err := os.MkdirAll(to, 0o700); err != nil {
				t.Fatal(err)
			}
			err := fetchCity(t.Context(), cluster, to)
			if err == nil || !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "what the outside world received: ") {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if strays, _ := filepath.Glob(filepath.Join(dir, "deep", "*.jsonl")); len(strays) > 0 {
				t.Errorf("written beside the folder: %v", strays)
			}
		})
	}
}

// Whatever of a cluster can't be reached is said, and what was opened before is closed.
func TestClusterAuditConfigFaults(t *testing.T) {
	for _, tt := range []struct{ name, ask, script, want string }{
		{"no secret", "*get?secret?redis-users*", `echo 'secrets "redis-users" not found' >&2; exit 1`, `secrets "redis-users" not found`},
		{"no service", "*port-forward*svc/redis*", `echo 'services "redis" not found' >&2; exit 1`, "svc/redis in dishmesh-data can't be reached"},
		{"no age", "*get?namespace?kube-system*", `echo 'connection refused' >&2; exit 1`, "connection refused"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cluster, dir := fakeKubectl(t, map[string]string{tt.ask: tt.script})
			_, done, err := clusterAuditConfig(t.Context(), dir, cluster)
			done()
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			wantShut(t, dir, "postgres")
		})
	}
}
