package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
)

// edited is the service that Tilt has under edit: one is enough to see its overlay, its build and its way into a pod.
const edited = "menu"

// TestTiltCI is what a developer's machine does, without the developer.
func TestTiltCI(t *testing.T) {
	r := shows(t, "tilt", "tilt ci has a service follow its source, sees an order delivered and the audit green; tilt down leaves the Deployment as it was.", "Tiltfile", "tilt")
	before := here.template(r, edited)
	start := time.Now()
	r.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if out, err := here.tilt(ctx, "down", edited); err != nil {
			r.Errorf("tilt down: %v: %s", err, clip(out))
		}
	})
	ctx, cancel := context.WithTimeout(r.Context(), 4*time.Minute)
	defer cancel()
	out, err := here.tilt(ctx, "ci", "--port", "0", edited)
	if err != nil && strings.Contains(out, "no tilt:") {
		r.Skipf("%s", clip(out))
	}
	if err != nil {
		r.Fatalf("tilt ci: %v: %s", err, clip(out))
	}
	r.Figure("tilt ci", fmt.Sprintf("%.0f s", time.Since(start).Seconds()), "")
	if now := here.template(r, edited); now == before {
		r.Errorf("tilt ci has laid nothing over %s", edited)
	}
	if out, err := here.tilt(r.Context(), "down", edited); err != nil {
		r.Fatalf("tilt down: %v: %s", err, clip(out))
	}
	if now := here.template(r, edited); now != before {
		r.Errorf("after tilt down the pods of %s are\n%s\nwant as before:\n%s", edited, now, before)
	}
	here.well(r)
}

// tilt runs Tilt on the cluster.
func (s *site) tilt(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, filepath.Join(s.home, "tilt", "tilt.sh"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig, "NO_COLOR=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// template is what the pods of an app are made of.
func (s *site) template(t *T, app string) string {
	t.Helper()
	out, err := s.Run(t.Context(), "get", "deployment", app, "-n", communication.Namespace, "-o", "jsonpath={.spec.template.spec}")
	if err != nil {
		t.Fatal(err)
	}
	return out
}
