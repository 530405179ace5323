package rights_test

import (
	"context"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/dishmesh/dishmesh/services/internal/profile"
	"github.com/dishmesh/dishmesh/services/internal/rights"
)

// postgres starts a server of its own, as the profile of that name does, with nothing in it but the user admin. It skips
// where PostgreSQL is not installed.
func postgres(t *testing.T) rights.Postgres {
	t.Helper()
	if found := (profile.Postgres{}).Probe(t.Context()); !found.Here {
		t.Skipf("no PostgreSQL: %s", found.Mend)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, d := range []string{dir, filepath.Dir(dir)} { // root's server runs as somebody else, who must get there
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	const password = "first"
	p := profile.Postgres{}.Processes(profile.Site{Dir: filepath.Join(dir, "postgres"), Ports: map[string]int{"postgres": port}, Password: password})[0]
	if err := p.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	// Nothing here outlives the test: no write needs to reach the disk.
	cmd := exec.Command(p.Path, append(p.Args, "-c", "fsync=off", "-c", "shared_buffers=16MB")...)
	cmd.Dir, cmd.SysProcAttr = p.Dir, &syscall.SysProcAttr{Credential: p.Credential}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(p.Stop) // if it has ended, Wait says so
		_ = cmd.Wait()
	})
	eventually(t, p.ReadyWithin, func() error { return p.Ready(t.Context()) })
	conn, err := pgx.Connect(t.Context(), profile.PostgresURL(port, password, "postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if _, err := conn.Exec(t.Context(), `CREATE ROLE `+rights.Admin+` SUPERUSER LOGIN PASSWORD 'root'`); err != nil {
		t.Fatal(err)
	}
	return rights.Postgres{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Passwords: map[string]string{rights.Admin: "root", "order": `it's "100%" \ so:/@`, "payment": "two"},
		Databases: map[string]string{"order": "order", "order_workflow": "order", "payment": "payment"}}
}

func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	for deadline := time.Now().Add(within); ; {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// enter runs a statement in a database as a user.
func enter(ctx context.Context, p rights.Postgres, user, password, database, statement string) error {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password), Host: p.Addr, Path: "/" + database, RawQuery: "sslmode=disable"}
	conn, err := pgx.Connect(ctx, u.String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	_, err = conn.Exec(ctx, statement)
	return err
}

// askAdmin reads one value of the server as its administrator.
func askAdmin(t *testing.T, p rights.Postgres, query string, args ...any) string {
	t.Helper()
	u := url.URL{Scheme: "postgres", User: url.UserPassword(rights.Admin, p.Passwords[rights.Admin]), Host: p.Addr, Path: "/postgres", RawQuery: "sslmode=disable"}
	conn, err := pgx.Connect(t.Context(), u.String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var out string
	if err := conn.QueryRow(t.Context(), query, args...).Scan(&out); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return out
}
