package tiltfile_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// checkout is a folder with tilt.sh in it and stand-ins of all that it runs. They note how they were called; kubectl
// finds the name of the context in the file that KUBECONFIG names.
type checkout struct {
	t    *testing.T
	dir  string
	path string
}

func newCheckout(t *testing.T) checkout {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir()) // as pwd gives it
	if err != nil {
		t.Fatal(err)
	}
	c := checkout{t, dir, filepath.Join(dir, "path")}
	script, err := os.ReadFile(filepath.Join(root, "tilt/tilt.sh"))
	if err != nil {
		t.Fatal(err)
	}
	c.write("tilt/tilt.sh", string(script))
	c.program("kind/offline/build.sh", "exit 1") // nothing was built for a cluster
	c.program("bin/dishmesh", `echo "dishmesh $*" >>"$NOTES"; mkdir -p .dishmesh/cluster; echo kind-dishmesh >.dishmesh/cluster/kubeconfig`)
	c.program("path/kubectl", `[ "$*" = "config current-context" ] && cat "$KUBECONFIG"`)
	c.program("path/tilt", `echo "tilt $* with ${KUBECONFIG-nothing}" >>"$NOTES"`)
	for _, name := range []string{"sh", "dirname", "cat", "mkdir"} { // and no other program of this machine
		real, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(real, filepath.Join(c.path, name)); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (c checkout) write(name, content string) string {
	c.t.Helper()
	path := filepath.Join(c.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		c.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		c.t.Fatal(err)
	}
	return path
}

func (c checkout) program(name, script string) { c.write(name, "#!/bin/sh\n"+script+"\n") }

// start runs tilt.sh from somewhere else and gives what was called, and what was said if it failed.
func (c checkout) start(env []string, args ...string) (calls []string, said string) {
	c.t.Helper()
	notes := filepath.Join(c.dir, "notes")
	cmd := exec.Command(filepath.Join(c.dir, "tilt/tilt.sh"), args...)
	cmd.Dir = os.TempDir()
	cmd.Env = append([]string{"PATH=" + c.path, "HOME=" + c.dir, "NOTES=" + notes}, env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		c.t.Fatal(err)
	}
	if said = stderr.String(); err == nil {
		said = ""
	}
	raw, err := os.ReadFile(notes)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		c.t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		calls = append(calls, strings.ReplaceAll(strings.TrimSuffix(line, "\n"), c.dir, "CHECKOUT"))
	}
	return calls, strings.ReplaceAll(said, c.dir, "CHECKOUT")
}

// Whose cluster Tilt is started on: our own, which is made first, or the one that KUBECONFIG names, as it is, if it is one
// of ours and runs.
func TestStart(t *testing.T) {
	const (
		ours    = "tilt up order with CHECKOUT/.dishmesh/cluster/kubeconfig"
		made    = "dishmesh cluster up"
		refused = "is not of a cluster that runs: make one by `bin/dishmesh cluster up`, or unset KUBECONFIG\n"
	)
	for _, tt := range []struct {
		name string
		// arrange gives the environment.
		arrange func(c checkout) []string
		calls   []string
		said    string
	}{
		{"nothing is said", func(checkout) []string { return nil }, []string{made, ours}, ""},
		{"an empty KUBECONFIG", func(checkout) []string { return []string{"KUBECONFIG="} }, []string{made, ours}, ""},
		{"the cluster of another folder", func(c checkout) []string {
			return []string{"KUBECONFIG=" + c.write("data/cluster/kubeconfig", "kind-dishmesh")}
		}, []string{"tilt up order with CHECKOUT/data/cluster/kubeconfig"}, ""},
		{"somebody else's cluster", func(c checkout) []string {
			return []string{"KUBECONFIG=" + c.write("theirs", "production")}
		}, nil, "KUBECONFIG=CHECKOUT/theirs " + refused},
		{"a cluster that is gone", func(c checkout) []string {
			return []string{"KUBECONFIG=" + filepath.Join(c.dir, "gone")}
		}, nil, "KUBECONFIG=CHECKOUT/gone " + refused},
		{"the cluster can't be made", func(c checkout) []string {
			c.program("bin/dishmesh", `echo "dishmesh $*" >>"$NOTES"; echo "no docker" >&2; exit 1`)
			return nil
		}, []string{made}, "no docker\n"},
		{"no Tilt", func(c checkout) []string {
			if err := os.Remove(filepath.Join(c.path, "tilt")); err != nil {
				c.t.Fatal(err)
			}
			return nil
		}, nil, "no tilt: install 0.37.5 or later (https://docs.tilt.dev/install.html), or build it with kind/offline/build.sh\n"},
		{"a Tilt that was built for the cluster", func(c checkout) []string {
			c.program("kind/offline/build.sh", `[ "$*" = --where ] && echo "`+c.dir+`/set"`)
			c.program("set/bin/tilt", `echo "the built tilt $*" >>"$NOTES"`)
			return nil
		}, []string{made, "the built tilt up order"}, ""},
		{"a Tilt of the cache, where the machine has none", func(c checkout) []string {
			if err := os.Rename(filepath.Join(c.path, "tilt"), filepath.Join(c.dir, "tilt.moved")); err != nil {
				c.t.Fatal(err)
			}
			c.program("cache/dishmesh/cluster/bin/tilt", `echo "the cached tilt $*" >>"$NOTES"`)
			return []string{"XDG_CACHE_HOME=" + filepath.Join(c.dir, "cache")}
		}, []string{made, "the cached tilt up order"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCheckout(t)
			calls, said := c.start(tt.arrange(c), "up", "order")
			if diff := cmp.Diff(tt.calls, calls); diff != "" {
				t.Errorf("calls (-want +got):\n%s", diff)
			}
			if !strings.HasSuffix(said, tt.said) || tt.said == "" && said != "" {
				t.Errorf("it says %q, want %q", said, tt.said)
			}
		})
	}
}
