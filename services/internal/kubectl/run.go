package kubectl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// Error is a command that failed.
type Error struct {
	Args   []string
	Stderr string // what kubectl said, shortened
	Err    error
}

func (e *Error) Error() string {
	said := strings.Join(strings.Fields(e.Stderr), " ")
	if said == "" {
		said = e.Err.Error()
	}
	return "kubectl " + strings.Join(e.Args, " ") + ": " + said
}

func (e *Error) Unwrap() error { return e.Err }

// NotFound tells whether an error says that the thing does not exist.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && (strings.Contains(e.Stderr, "(NotFound)") || strings.Contains(e.Stderr, "not found"))
}

// Command is a kubectl that is ready to start. When ctx ends it is asked to stop, and killed if it does not.
func (c Cluster) Command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := c.command(ctx, args...)
	cmd.Env = append(os.Environ(), "KUBECTL_KUBERC=false") // nobody's own shorthands
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Run runs a command and returns what it wrote to its standard output.
func (c Cluster) Run(ctx context.Context, args ...string) (string, error) {
	return c.Feed(ctx, nil, args...)
}

// Feed is Run with a standard input.
func (c Cluster) Feed(ctx context.Context, in io.Reader, args ...string) (string, error) {
	cmd := c.Command(ctx, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return stdout.String(), &Error{Args: args, Stderr: clip(stderr.String()), Err: err}
	}
	return stdout.String(), nil
}

// clip shortens what a program said to what people read.
func clip(s string) string {
	const most = 2000
	if s = strings.TrimSpace(s); len(s) > most {
		return s[:most/2] + " … " + s[len(s)-most/2:]
	}
	return s
}

// Get reads objects as JSON into out: one if it is named, a List otherwise. args are those of kubectl get.
func (c Cluster) Get(ctx context.Context, out any, args ...string) error {
	args = append([]string{"get"}, append(args, "-o", "json")...)
	text, err := c.Run(ctx, args...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		return &Error{Args: args, Err: fmt.Errorf("the answer is not what is expected: %w", err)}
	}
	return nil
}

// Apply applies manifests, as YAML, from memory.
func (c Cluster) Apply(ctx context.Context, manifests string, flags ...string) error {
	_, err := c.Feed(ctx, strings.NewReader(manifests), append([]string{"apply", "-f", "-"}, flags...)...)
	return err
}

// Delete deletes what manifests name and waits until it is gone. What does not exist is no error.
func (c Cluster) Delete(ctx context.Context, manifests string) error {
	_, err := c.Feed(ctx, strings.NewReader(manifests), "delete", "--ignore-not-found", "-f", "-")
	return err
}

// Patch changes an object by a merge patch, given as JSON.
func (c Cluster) Patch(ctx context.Context, namespace, object, patch string) error {
	_, err := c.Run(ctx, "patch", "-n", namespace, object, "--type", "merge", "-p", patch)
	return err
}

// PatchJSON changes an object by an RFC 6902 patch.
func (c Cluster) PatchJSON(ctx context.Context, namespace, object, patch string) error {
	_, err := c.Run(ctx, "patch", "-n", namespace, object, "--type", "json", "-p", patch)
	return err
}

// Restart replaces the pods of a workload, such as deployment/order, one after the other, and waits until that is done.
func (c Cluster) Restart(ctx context.Context, namespace, workload string, within time.Duration) error {
	if _, err := c.Run(ctx, "rollout", "restart", "-n", namespace, workload); err != nil {
		return err
	}
	return c.RolledOut(ctx, namespace, workload, within)
}

// RolledOut waits until every pod of a workload is of its newest form and ready.
func (c Cluster) RolledOut(ctx context.Context, namespace, workload string, within time.Duration) error {
	_, err := c.Run(ctx, "rollout", "status", "-n", namespace, workload, "--timeout", within.String())
	return err
}

// Call runs a program in a container, with a standard input unless in is nil, and returns its standard output.
func (c Cluster) Call(ctx context.Context, in io.Reader, at Container, argv ...string) (string, error) {
	return c.Feed(ctx, in, at.exec(in != nil, argv)...)
}

// Container is a container of a pod.
type Container struct{ Namespace, Pod, Name string }

func (at Container) exec(input bool, argv []string) []string {
	args := []string{"exec", "-n", at.Namespace, at.Pod, "-c", at.Name}
	if input {
		args = append(args, "-i")
	}
	return append(append(args, "--"), argv...)
}
