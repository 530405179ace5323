package daprruntime

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// fakeGo stands in for the go tool: it names three packages and "builds" programs that are small files. Every build
// adds a line to the file builds.
const fakeGo = `#!/bin/sh
here=$(dirname "$0")
[ -f "$here/fail" ] && [ "$1" != env ] && { cat "$here/fail" >&2; exit 1; }
case "$1" in
env) cat "$here/version" ;;
list) printf 'a\nb\nc\n' ;;
build)
	echo x >>"$here/builds"
	printf 'a\nb\nc\n' >&2
	while [ "$1" != -o ]; do shift; done
	for p in daprd placement scheduler sentry; do printf '#!/bin/sh\necho 1.18.0\n' >"$2$p"; chmod +x "$2$p"; done ;;
esac
`

type fake struct {
	dir  string
	opts Options
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{dir: t.TempDir()}
	module := t.TempDir()
	f.opts = Options{ModuleDir: module, CacheDir: filepath.Join(t.TempDir(), "cache"), SkipInstalled: true}
	f.write(t, "go", fakeGo)
	f.write(t, "version", "go1.26.8\n")
	for _, name := range []string{"go.mod", "go.sum"} {
		if err := os.WriteFile(filepath.Join(module, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", f.dir+":/usr/bin:/bin")
	t.Setenv("HOME", t.TempDir())
	return f
}

func (f *fake) write(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.dir, name), []byte(content), 0o700); err != nil {
		t.Fatal(err)
	}
}

func (f *fake) builds(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, "builds"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return strings.Count(string(b), "\n")
}

func TestEnsureBuildsOnce(t *testing.T) {
	f := newFake(t)
	if _, err := Find(t.Context(), f.opts); !errors.Is(err, ErrNotBuilt) {
		t.Fatalf("before the build: got %v, want %v", err, ErrNotBuilt)
	}
	var last Progress
	f.opts.Progress = func(p Progress) { last = p }
	rt, err := Ensure(t.Context(), f.opts)
	if err != nil {
		t.Fatal(err)
	}
	if last.Done != 3 || last.Total != 3 {
		t.Errorf("last progress: got %+v, want 3 of 3", last)
	}
	for _, p := range Programs() {
		if _, err := os.Stat(rt.Path(p)); err != nil {
			t.Error(err)
		}
	}
	again, err := Ensure(t.Context(), f.opts)
	if err != nil || again.Source != "cache" || again.Dir != rt.Dir {
		t.Errorf("second time: got %+v, %v, want the same from the cache", again, err)
	}
	if got := f.builds(t); got != 1 {
		t.Errorf("built %d times, want once", got)
	}
}

func TestHalfWrittenBuildIsRedone(t *testing.T) {
	for name, damage := range map[string]func(dir string) error{
		"truncated program": func(dir string) error { return os.Truncate(filepath.Join(dir, Scheduler), 3) },
		"missing program":   func(dir string) error { return os.Remove(filepath.Join(dir, Sentry)) },
		"not executable":    func(dir string) error { return os.Chmod(filepath.Join(dir, Daprd), 0o600) },
		"no manifest":       func(dir string) error { return os.Remove(filepath.Join(dir, manifestName)) },
		"half a manifest":   func(dir string) error { return os.Truncate(filepath.Join(dir, manifestName), 20) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			rt, err := Ensure(t.Context(), f.opts)
			if err != nil {
				t.Fatal(err)
			}
			if err := damage(rt.Dir); err != nil {
				t.Fatal(err)
			}
			rt, err = Ensure(t.Context(), f.opts)
			if err != nil {
				t.Fatal(err)
			}
			if got := f.builds(t); got != 2 {
				t.Errorf("built %d times, want twice", got)
			}
			if err := checkManifest(rt.Dir); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestInterruptedBuildLeavesNothingUsable(t *testing.T) {
	f := newFake(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Ensure(ctx, f.opts); err == nil {
		t.Fatal("a cancelled build: got no error")
	}
	if _, err := Find(t.Context(), f.opts); !errors.Is(err, ErrNotBuilt) {
		t.Errorf("after a cancelled build: got %v, want %v", err, ErrNotBuilt)
	}
	// What a killed build left beside the target goes with the next one.
	target, err := cacheFolder(t.Context(), f.opts)
	if err != nil {
		t.Fatal(err)
	}
	left := target + ".building-123"
	if err := os.MkdirAll(left, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Ensure(t.Context(), f.opts); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a half-written build is still there: %v", err)
	}
}

func TestTwoThatNeedItBuildItOnce(t *testing.T) {
	f := newFake(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := Ensure(t.Context(), f.opts); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := f.builds(t); got != 1 {
		t.Errorf("built %d times, want once", got)
	}
}

func TestCacheKeyFollowsWhatIsBuilt(t *testing.T) {
	f := newFake(t)
	seen := map[string]string{}
	note := func(what string) {
		t.Helper()
		dir, err := cacheFolder(t.Context(), f.opts)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[dir]; ok {
			t.Errorf("%s has the folder of %s", what, other)
		}
		seen[dir] = what
	}
	note("the first")
	f.write(t, "version", "go1.27.0\n")
	note("another Go")
	if err := os.WriteFile(filepath.Join(f.opts.ModuleDir, "go.sum"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	note("other modules")
	if err := os.Mkdir(filepath.Join(f.opts.ModuleDir, Daprd), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(f.opts.ModuleDir, Daprd, "components.go"), []byte("package main"), 0o600); err != nil {
		t.Fatal(err)
	}
	note("other components")
}

func TestErrorsSayWhatToDo(t *testing.T) {
	for name, c := range map[string]struct{ stderr, want string }{
		"old go":     {"go: go.mod requires go >= 1.26.4 (running go 1.21.0; GOTOOLCHAIN=local)", "install Go 1.26 or later"},
		"disk full":  {"# net/http\nwrite x.a: no space left on device", "make room"},
		"no network": {"go: github.com/dapr/dapr@v1.18.0: Get \"https://modules.example\": dial tcp: lookup proxy.golang.org: no such host", "no network"},
		"else":       {"# some/package\nfile.go:3:1: syntax error", "syntax error"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.write(t, "fail", c.stderr+"\n")
			_, err := Ensure(t.Context(), f.opts)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, c.want)
			}
		})
	}
	t.Run("no go", func(t *testing.T) {
		f := newFake(t)
		t.Setenv("PATH", t.TempDir())
		if _, err := Ensure(t.Context(), f.opts); err == nil || !strings.Contains(err.Error(), "no Go found: install Go") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("no module", func(t *testing.T) {
		f := newFake(t)
		if err := os.Remove(filepath.Join(f.opts.ModuleDir, "go.sum")); err != nil {
			t.Fatal(err)
		}
		if _, err := Ensure(t.Context(), f.opts); err == nil || !strings.Contains(err.Error(), "go.sum") {
			t.Errorf("got %v, want an error that names go.sum", err)
		}
	})
}

func TestInstalledRuntimeOfAnotherVersionIsNotUsed(t *testing.T) {
	dir := t.TempDir()
	for _, p := range Programs() {
		if err := os.WriteFile(filepath.Join(dir, p), []byte("#!/bin/sh\necho 1.17.0\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if usable(t.Context(), dir) {
		t.Error("version 1.17.0 counts as usable")
	}
}

func TestIsPackageLine(t *testing.T) {
	for line, want := range map[string]bool{
		"github.com/dapr/dapr/pkg/runtime":      true,
		"net/http":                              true,
		"":                                      false,
		"# net/http":                            false,
		"go: downloading github.com/x/y v1.0.0": false,
		"file.go:3:1: syntax error: unexpected name": false,
	} {
		if got := isPackageLine(line); got != want {
			t.Errorf("isPackageLine(%q): got %t, want %t", line, got, want)
		}
	}
}
