package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
)

// fakeMachine is a machine in good order, but for what a test changes.
type fakeMachine struct {
	system  string
	memory  uint64
	disk    uint64
	taken   []int
	missing []string
	user    bool
	capped  bool
}

func (m fakeMachine) System() string {
	if m.system == "" {
		return "linux"
	}
	return m.system
}
func (m fakeMachine) Memory() (uint64, bool) {
	if m.memory == 0 {
		return 16 << 30, true
	}
	return m.memory, true
}
func (m fakeMachine) Disk(string) (uint64, error) {
	if m.disk == 0 {
		return 100 << 30, nil
	}
	return m.disk, nil
}
func (m fakeMachine) PortFree(port int) bool {
	for _, p := range m.taken {
		if p == port {
			return false
		}
	}
	return true
}
func (m fakeMachine) LookPath(name string) (string, error) {
	for _, gone := range m.missing {
		if gone == name {
			return "", errors.New("not found")
		}
	}
	return "/usr/bin/" + name, nil
}
func (m fakeMachine) DockerDaemons() []int { return nil }
func (m fakeMachine) Root() bool           { return !m.user }
func (m fakeMachine) MayRaiseLimits() bool { return !m.capped }
func (m fakeMachine) Watches() int         { return 1024 }

// answers are what programs say, by the beginning of their command line; the longest that fits counts. A text that
// begins with "!" is a failure that says the rest.
type answers map[string]string

// fakeRunner answers for all programs and notes what was run.
type fakeRunner struct {
	answers answers
	ran     []string
}

func (f *fakeRunner) Run(ctx context.Context, c tool.Command) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	line := c.String()
	for _, env := range c.Env {
		if strings.HasPrefix(env, "DOCKER_HOST=") {
			line = env + " " + line
		}
	}
	f.ran = append(f.ran, line)
	best, found := "", false
	for prefix := range f.answers {
		if strings.HasPrefix(line, prefix) && (!found || len(prefix) > len(best)) {
			best, found = prefix, true
		}
	}
	if !found {
		return nil, fmt.Errorf("%s: executable file not found in $PATH", c.Name)
	}
	if said, failed := strings.CutPrefix(f.answers[best], "!"); failed {
		return nil, &tool.Error{Command: c, Code: 1, Tail: []string{said}}
	}
	return []byte(f.answers[best]), nil
}

type quiet struct{ notes []string }

func (*quiet) Begin(string, string)              {}
func (*quiet) Progress(string)                   {}
func (*quiet) End(string, string, time.Duration) {}
func (q *quiet) Note(text string)                { q.notes = append(q.notes, text) }

// newFake is a cluster of a small checkout whose machine and programs are a test's.
func newFake(t *testing.T, m machine, a answers) (*Cluster, *fakeRunner) {
	t.Helper()
	t.Setenv("DOCKER_HOST", "")
	home := t.TempDir()
	for _, path := range []string{clusterFile, overlayKind + "/kustomization.yaml", meshFolder + "/kustomization.yaml", modulesFolder + "/kubernetes/go.mod"} {
		file := filepath.Join(home, path)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, file, nil)
	}
	// A socket's path is short, which a test's folder is not.
	data, err := os.MkdirTemp("/tmp", "dm")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(data) })
	c, err := Open(Config{Home: home, Data: data, Cache: t.TempDir()}, new(quiet))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	run := &fakeRunner{answers: a}
	c.machine, c.run = m, run
	return c, run
}

// checkError compares an error with a text that it must contain, or with none.
func checkError(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("error %v, want none", err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("error %v, want one with %q", err, want)
	case err != nil && strings.Contains(err.Error(), "%!"):
		t.Errorf("badly formatted: %v", err)
	}
}
