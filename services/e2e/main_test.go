package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// shared is the platform that the tests share. TestMain sets it.
var shared *site

// programs is the folder of the programs under test.
var programs string

// Bounds of what TestMain waits for, on a machine that does other things too.
const (
	buildWithin = 10 * time.Minute
	// startWithin has room for the first build of the Dapr runtime.
	startWithin = 25 * time.Minute
	// reserve is kept of -timeout to stop what runs.
	reserve = 30 * time.Second
)

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run())
	}
	code, err := runAll(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// runAll runs the tests with the shared platform around them. Whatever happens, no process is left behind.
func runAll(m *testing.M) (code int, err error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	dir, err := os.MkdirTemp("", "dishmesh-e2e-")
	if err != nil {
		return 1, err
	}
	defer func() {
		if code != 0 || err != nil {
			fmt.Fprintln(os.Stderr, "e2e: the logs and data are kept in", dir)
			return
		}
		err = os.RemoveAll(dir)
	}()
	if programs, err = build(ctx, filepath.Join(dir, "bin")); err != nil {
		return 1, err
	}
	guard := guarded()
	defer guard.Stop()
	// The kitchens' deadline is shorter than usual, for the tests in which nobody answers.
	shared = newSite(filepath.Join(programs, "dishmesh"), filepath.Join(dir, "data"), "--time-scale", "0", "--set", "order.TICKET_DEADLINE=10s",
		"--set", "gateway.BREAKER_PAUSE="+breakerPause.String(), "--set", "order.BREAKER_PAUSE="+breakerPause.String())
	defer func() {
		if downErr := shared.down(); downErr != nil {
			code, err = 1, downErr
		}
	}()
	watching := context.AfterFunc(ctx, func() { // tests can't be interrupted
		killAll()
		os.Exit(130)
	})
	defer watching()
	start := time.Now()
	if err := shared.up(ctx); err != nil {
		return 1, err
	}
	report("platform started", start)
	start = time.Now()
	code = m.Run()
	report("tests", start)
	return code, nil
}

func report(what string, start time.Time) {
	fmt.Printf("e2e: %-20s %6.1f s\n", what, time.Since(start).Seconds())
}

// guarded kills what runs shortly before the test program would be stopped for its -timeout, which runs no deferred
// function.
func guarded() *time.Timer {
	limit, err := time.ParseDuration(flag.Lookup("test.timeout").Value.String())
	if err != nil || limit <= reserve {
		limit = 24 * time.Hour
	}
	return time.AfterFunc(limit-reserve, func() {
		fmt.Fprintf(os.Stderr, "e2e: -timeout %s is almost over: everything is killed\n", limit)
		killAll()
	})
}

// build builds the programs into dir, or takes those that DISHMESH_BIN has.
func build(ctx context.Context, dir string) (string, error) {
	if given := os.Getenv("DISHMESH_BIN"); given != "" {
		fmt.Println("e2e: testing the programs in", given)
		return filepath.Abs(given)
	}
	start := time.Now()
	if err := goBuild(ctx, dir, "", "./services/cmd/..."); err != nil {
		return "", err
	}
	report("programs built", start)
	return dir, nil
}

func goBuild(ctx context.Context, dir, tags, pattern string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, buildWithin)
	defer cancel()
	cmd := exec.CommandContext(ctx, "go", "build", "-tags", tags, "-o", dir+string(filepath.Separator), pattern)
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}
