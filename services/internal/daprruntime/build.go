package daprruntime

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// needBytes is the room that a cold build takes: module sources, build cache and the programs themselves.
const needBytes = 4 << 30

// GoVersion returns the version of the Go tool that builds in dir, for example "go1.26.8", or an error that says
// how to get one.
func GoVersion(ctx context.Context, dir string) (string, error) {
	tool, err := exec.LookPath("go")
	if err != nil {
		return "", errors.New("no Go found: install Go 1.26 or later from https://go.dev/dl and put its bin folder on PATH")
	}
	cmd := exec.CommandContext(ctx, tool, "env", "GOVERSION")
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", explain(err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

// build makes the set in a folder beside target and renames it into place when it is whole.
func build(ctx context.Context, moduleDir, target string, report func(Progress)) error {
	parent := filepath.Dir(target)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("cannot write the runtime cache: make %s writable or set XDG_CACHE_HOME: %w", parent, err)
	}
	if free, err := freeBytes(parent); err == nil && free < needBytes {
		return fmt.Errorf("not enough disk: building the Dapr runtime takes %d GB, %s has %.1f GB free; make room or set XDG_CACHE_HOME and GOCACHE to another disk",
			needBytes>>30, parent, float64(free)/(1<<30))
	}
	// What an interrupted build left behind: the lock says that nobody is writing it any more.
	stale, err := filepath.Glob(target + ".building-*")
	if err != nil {
		return err
	}
	for _, dir := range stale {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove a half-written build: %w", err)
		}
	}
	tmp, err := os.MkdirTemp(parent, filepath.Base(target)+".building-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	if err := goBuild(ctx, moduleDir, tmp, report); err != nil {
		return err
	}
	if err := writeManifest(tmp); err != nil {
		return fmt.Errorf("write the runtime's manifest: %w", err)
	}
	if err := checkManifest(tmp); err != nil {
		return fmt.Errorf("the built runtime is not whole: %w", err)
	}
	if err := os.Chmod(tmp, 0o755); err != nil {
		return err
	}
	if err := os.RemoveAll(target); err != nil {
		return err
	}
	return os.Rename(tmp, target)
}

func buildArgs(verb string, extra ...string) []string {
	args := []string{verb, "-mod=readonly", "-trimpath", "-ldflags", "-s -w -X github.com/dapr/dapr/pkg/buildinfo.version=" + Version}
	args = append(args, extra...)
	for _, p := range Programs() {
		args = append(args, buildPath(p))
	}
	return args
}

func goCommand(ctx context.Context, moduleDir string, args []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = moduleDir
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off")
	// The go tool passes an interrupt on to its compilers, a kill it cannot.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// goBuild runs the go tool and counts the packages that it names against the number there are.
func goBuild(ctx context.Context, moduleDir, outDir string, report func(Progress)) error {
	start := time.Now()
	report(Progress{Step: "fetching the sources of the Dapr runtime " + Version})
	var list, listErr bytes.Buffer
	cmd := goCommand(ctx, moduleDir, buildArgs("list", "-deps"))
	cmd.Stdout, cmd.Stderr = &list, &listErr
	if err := cmd.Run(); err != nil {
		return explain(err, listErr.String())
	}
	total := bytes.Count(list.Bytes(), []byte("\n"))

	cmd = goCommand(ctx, moduleDir, buildArgs("build", "-v", "-o", outDir+string(filepath.Separator)))
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return explain(err, "")
	}
	packages := make(chan int)
	var problems tail
	go func() {
		defer close(packages)
		sc := bufio.NewScanner(stderr)
		n := 0
		for sc.Scan() {
			if isPackageLine(sc.Text()) {
				n++
				packages <- n
			} else {
				problems.add(sc.Text())
			}
		}
	}()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	p := Progress{Step: "building the Dapr runtime " + Version, Total: total}
	for open := true; open; {
		select {
		case p.Done, open = <-packages:
		case <-tick.C:
		}
		p.Elapsed = time.Since(start)
		if open {
			report(p)
		}
	}
	// What the reader could not take is drained, so that the tool never blocks on its way out.
	_, _ = io.Copy(io.Discard, stderr)
	if err := cmd.Wait(); err != nil {
		if ctx.Err() != nil {
			return fmt.Errorf("building the Dapr runtime was interrupted; what is compiled is kept and the next start goes on: %w", ctx.Err())
		}
		return explain(err, problems.String())
	}
	report(Progress{Step: "the Dapr runtime is built", Done: total, Total: total, Elapsed: time.Since(start)})
	return nil
}

// isPackageLine tells a line of "go build -v", which is an import path, from a message.
func isPackageLine(line string) bool {
	return line != "" && !strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "go: ") && !strings.ContainsAny(line, " \t:")
}

// tail keeps the last lines of a tool's messages.
type tail struct{ lines []string }

func (t *tail) add(line string) {
	if t.lines = append(t.lines, line); len(t.lines) > 20 {
		t.lines = t.lines[1:]
	}
}

func (t *tail) String() string { return strings.Join(t.lines, "\n") }

// explain turns a failure of the go tool into one line with its mend.
func explain(err error, stderr string) error {
	low := strings.ToLower(stderr)
	first, _, _ := strings.Cut(strings.TrimSpace(stderr), "\n")
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return errors.New("no Go found: install Go 1.26 or later from https://go.dev/dl and put its bin folder on PATH")
	case strings.Contains(low, "no space left on device"):
		return errors.New("the disk is full: the build of the Dapr runtime needs about 4 GB in the Go caches; make room or set GOCACHE and GOMODCACHE to another disk")
	case strings.Contains(low, "requires go >="), strings.Contains(low, "toolchain not available"):
		return fmt.Errorf("this Go is too old: install Go 1.26 or later from https://go.dev/dl (%s)", first)
	case strings.Contains(low, "dial tcp"), strings.Contains(low, "no such host"), strings.Contains(low, "i/o timeout"),
		strings.Contains(low, "connection refused"), strings.Contains(low, "module lookup disabled"):
		return fmt.Errorf("no network to fetch Go modules: connect once, or set GOPROXY to a proxy you can reach (%s)", first)
	case first == "":
		return fmt.Errorf("go: %w", err)
	}
	return fmt.Errorf("building the Dapr runtime failed: %s", strings.Join(strings.Fields(lastLines(stderr, 3)), " "))
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	if len(lines) > n {
		lines = lines[len(lines)-n:]
	}
	return strings.Join(lines, "\n")
}
