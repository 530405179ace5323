package calls

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/daprruntime"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// counter is the callee: it answers as the query says, and counts the calls that reach it by path.
//
//	?status=503          answers this status
//	?status=503&times=2  the first two times, then 200
//	?hang=               does not answer before the caller gives up
type counter struct {
	mu      sync.Mutex
	reached map[string]int
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.reached[r.URL.Path]++
	n := c.reached[r.URL.Path]
	c.mu.Unlock()
	_, _ = io.Copy(io.Discard, r.Body) // only then does the server notice that the caller has gone
	q := r.URL.Query()
	if q.Has("hang") {
		<-r.Context().Done()
		return
	}
	code, _ := strconv.Atoi(q.Get("status"))
	times, err := strconv.Atoi(q.Get("times"))
	if code != 0 && (err != nil || n <= times) {
		w.Header().Set("Content-Type", "text/plain")
		w.WriteHeader(code)
		return
	}
	_ = web.JSON(w, http.StatusOK, map[string]string{})
}

func (c *counter) count(path string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reached[path]
}

// ports of one sidecar.
type ports struct{ http, grpc, internal, metrics int }

// mesh is a callee and two callers, each with a sidecar of its own. One caller is a service, the other is the gateway.
type mesh struct {
	callee  *counter
	callers map[string]ports
}

const (
	callee  = "payment"
	service = "order"
	edge    = "gateway"
)

// startMesh starts the three sidecars. Where the Dapr runtime is not built yet, the test is skipped.
func startMesh(t *testing.T) *mesh {
	t.Helper()
	home, err := platform.FindHome()
	if err != nil {
		t.Fatal(err)
	}
	rt, err := daprruntime.Find(t.Context(), daprruntime.Options{ModuleDir: home.RuntimeModule()})
	if errors.Is(err, daprruntime.ErrNotBuilt) {
		t.Skip("the Dapr runtime is not built yet: `dishmesh up` or `make e2e` builds it")
	}
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "config.yaml")
	names := fmt.Sprintf(`apiVersion: dapr.io/v1alpha1
kind: Configuration
metadata: {name: test}
spec:
  nameResolution:
    component: sqlite
    version: v1
    configuration: {connectionString: %q}
`, filepath.Join(dir, "names.db"))
	if err := os.WriteFile(config, []byte(names), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &mesh{callee: &counter{reached: map[string]int{}}, callers: map[string]ports{}}
	app := httptest.NewServer(m.callee)
	t.Cleanup(app.Close)
	appPort := app.Listener.Addr().(*net.TCPAddr).Port
	for _, id := range []string{callee, service, edge} {
		p := ports{freePort(t), freePort(t), freePort(t), freePort(t)}
		m.callers[id] = p
		args := []string{"--app-id", id, "--config", config, "--resources-path", home.Components("resiliency"),
			"--dapr-http-port", strconv.Itoa(p.http), "--dapr-grpc-port", strconv.Itoa(p.grpc),
			"--dapr-internal-grpc-port", strconv.Itoa(p.internal), "--metrics-port", strconv.Itoa(p.metrics),
			"--dapr-listen-addresses", "127.0.0.1", "--dapr-internal-grpc-listen-address", "127.0.0.1",
			"--placement-host-address", "", "--scheduler-host-address", "", "--log-level", "warn",
			"--dapr-graceful-shutdown-seconds", "1"}
		if id == callee {
			args = append(args, "--app-port", strconv.Itoa(appPort), "--app-channel-address", "127.0.0.1")
		}
		cmd := exec.Command(rt.Path(daprruntime.Daprd), args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "DAPR_HOST_IP=127.0.0.1")
		log := &tail{}
		cmd.Stdout, cmd.Stderr = log, log
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = cmd.Process.Kill() // it keeps nothing
			_ = cmd.Wait()
			if t.Failed() {
				t.Logf("sidecar of %s:\n%s", id, log)
			}
		})
	}
	for id := range m.callers {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		if err := m.caller(t, id, sidecar.DefaultLimits()).Wait(ctx); err != nil {
			t.Fatalf("sidecar of %s: %v", id, err)
		}
		cancel()
	}
	// The callee has put its name down when it is found.
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for _, id := range []string{service, edge} {
		for c := m.caller(t, id, sidecar.Limits{Concurrent: 1, Failures: 1000, Pause: time.Second}); ; {
			if err := call(ctx, c, "/ready", ""); err == nil {
				break
			} else if ctx.Err() != nil {
				t.Fatalf("%s does not reach %s: %v", id, callee, err)
			}
		}
	}
	return m
}

// caller is an app's connection to its sidecar, with guards of its own.
func (m *mesh) caller(t *testing.T, id string, limits sidecar.Limits) *sidecar.Sidecar {
	t.Helper()
	p := m.callers[id]
	sc, err := sidecar.New(sidecar.Config{HTTPPort: p.http, GRPCPort: p.grpc,
		Guards: sidecar.NewGuards(limits, slog.New(slog.DiscardHandler), prometheus.NewRegistry())})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sc.Close() }) // nothing is under way any more
	return sc
}

func call(ctx context.Context, c *sidecar.Sidecar, path, query string) error {
	return c.Invoke(ctx, sidecar.Call{App: callee, Method: http.MethodPost, Path: path + "?" + query, In: struct{}{}})
}

// freePort finds a port below those that the system gives to outgoing connections, which could take it again before the
// sidecar does.
func freePort(t *testing.T) int {
	t.Helper()
	for {
		port := 10000 + rand.IntN(10000)
		if l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port))); err == nil {
			_ = l.Close() // it only had to be there
			return port
		}
		if t.Context().Err() != nil {
			t.Fatal(t.Context().Err())
		}
	}
}

// tail keeps the last of what a sidecar says.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// Write implements io.Writer.
func (l *tail) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, b...)
	l.text = l.text[max(0, len(l.text)-4000):]
	return len(b), nil
}

// String implements fmt.Stringer.
func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}

func isProblem(t *testing.T, err error, want problem.Type) {
	t.Helper()
	if got := problem.Of(err); err == nil || got != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
