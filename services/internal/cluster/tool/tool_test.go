package tool_test

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
)

func sh(script string) tool.Command { return tool.Command{Name: "sh", Args: []string{"-c", script}} }

func TestRun(t *testing.T) {
	var log bytes.Buffer
	box := &tool.Box{Log: &log, Env: []string{"GREETING=hello"}}
	var lines []string
	c := sh(`read -r x; echo "$GREETING $x"; echo one >&2; printf 'two\rthree' >&2`)
	c.Stdin = strings.NewReader("secret\n")
	c.Line = func(l string) { lines = append(lines, l) }
	out, err := box.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(out), "hello secret\n"; got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if diff := cmp.Diff([]string{"one", "two", "three"}, lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if !strings.Contains(log.String(), "= ok") {
		t.Errorf("the log does not say how it ended:\n%s", log.String())
	}
}

func TestRunFailure(t *testing.T) {
	for _, c := range []struct{ name, script, want string }{
		{"stderr", "echo first >&2; echo the disk is full >&2; exit 3", "sh -c: first | the disk is full"},
		{"only the last lines", "for i in 1 2 3 4 5 6; do echo $i >&2; done; exit 1", "sh -c: 3 | 4 | 5 | 6"},
		{"stdout where stderr is silent", "echo sorry; exit 1", "sh -c: sorry"},
		{"silent", "exit 7", "sh -c: exit code 7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := new(tool.Box).Run(t.Context(), sh(c.script+"                                        "))
			if err == nil || err.Error() != c.want {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func TestRunMissingProgram(t *testing.T) {
	_, err := new(tool.Box).Run(t.Context(), tool.Command{Name: "no-such-program-here"})
	var e *tool.Error
	if err == nil || errors.As(err, &e) {
		t.Errorf("got %v, want an error that is no exit code", err)
	}
}

func TestRunInterrupted(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 100*time.Millisecond, errors.New("enough"))
	defer cancel()
	start := time.Now()
	_, err := new(tool.Box).Run(ctx, sh("sleep 60 & wait"))
	if err == nil || err.Error() != "enough" {
		t.Errorf("error %v, want the cause", err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
}

func TestSaid(t *testing.T) {
	_, err := new(tool.Box).Run(t.Context(), sh("echo Permission Denied >&2; exit 1"))
	if !tool.Said(err, "permission denied") || tool.Said(err, "not found") {
		t.Errorf("Said is wrong about %v", err)
	}
}
