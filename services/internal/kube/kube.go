// Package kube drives a cluster by the kubectl program, as its users do: one child process a command, JSON read
// into the few fields that are needed. It costs no client library, and what it does can be repeated by hand.
package kube

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

// Client is a cluster and who to be there.
type Client struct {
	// Program is kubectl; default: the one on the PATH.
	Program string
	// Kubeconfig is the file of the cluster's address and credentials. The user's own is never taken by itself.
	Kubeconfig string
	// Context is the context of Kubeconfig to take; "": its current one.
	Context string
}

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
func (c Client) Command(ctx context.Context, args ...string) *exec.Cmd {
	program := c.Program
	if program == "" {
		program = "kubectl"
	}
	global := []string{"--kubeconfig", c.Kubeconfig}
	if c.Context != "" {
		global = append(global, "--context", c.Context)
	}
	cmd := exec.CommandContext(ctx, program, append(global, args...)...)
	cmd.Env = append(os.Environ(), "KUBECTL_KUBERC=false") // nobody's own shorthands
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// Run runs a command and returns what it wrote to its standard output.
func (c Client) Run(ctx context.Context, args ...string) (string, error) {
	return c.Feed(ctx, nil, args...)
}

// Feed is Run with a standard input.
func (c Client) Feed(ctx context.Context, in io.Reader, args ...string) (string, error) {
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
func (c Client) Get(ctx context.Context, out any, args ...string) error {
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
func (c Client) Apply(ctx context.Context, manifests string, flags ...string) error {
	_, err := c.Feed(ctx, strings.NewReader(manifests), append([]string{"apply", "-f", "-"}, flags...)...)
	return err
}

// Delete deletes what manifests name and waits until it is gone. What does not exist is no error.
func (c Client) Delete(ctx context.Context, manifests string) error {
	_, err := c.Feed(ctx, strings.NewReader(manifests), "delete", "--ignore-not-found", "-f", "-")
	return err
}

// Patch changes an object by a merge patch, given as JSON.
func (c Client) Patch(ctx context.Context, namespace, object, patch string) error {
	_, err := c.Run(ctx, "patch", "-n", namespace, object, "--type", "merge", "-p", patch)
	return err
}

// PatchJSON changes an object by an RFC 6902 patch.
func (c Client) PatchJSON(ctx context.Context, namespace, object, patch string) error {
	_, err := c.Run(ctx, "patch", "-n", namespace, object, "--type", "json", "-p", patch)
	return err
}

// Restart replaces the pods of a workload, such as deployment/order, one after the other, and waits until that is done.
func (c Client) Restart(ctx context.Context, namespace, workload string, within time.Duration) error {
	if _, err := c.Run(ctx, "rollout", "restart", "-n", namespace, workload); err != nil {
		return err
	}
	return c.RolledOut(ctx, namespace, workload, within)
}

// RolledOut waits until every pod of a workload is of its newest form and ready.
func (c Client) RolledOut(ctx context.Context, namespace, workload string, within time.Duration) error {
	_, err := c.Run(ctx, "rollout", "status", "-n", namespace, workload, "--timeout", within.String())
	return err
}

// Exec runs a program in a container and returns its standard output.
func (c Client) Exec(ctx context.Context, in io.Reader, at Container, argv ...string) (string, error) {
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
