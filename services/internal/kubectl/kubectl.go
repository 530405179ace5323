// Package kubectl reaches into a cluster by the program kubectl, as people do: it needs no more rights than they have,
// and no client library of a cluster's size.
package kubectl

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Cluster is a cluster as a kubeconfig names it.
type Cluster struct {
	// Program is kubectl; "" means the one of $KUBECTL, or of the path.
	Program string
	// Kubeconfig is the file; Context is the one to take of it, "" its current one.
	Kubeconfig, Context string
}

// callTimeout bounds a call that reads something small.
const callTimeout = 30 * time.Second

func (c Cluster) command(ctx context.Context, args ...string) *exec.Cmd {
	program := c.Program
	if program == "" {
		program = os.Getenv("KUBECTL")
	}
	if program == "" {
		program = "kubectl"
	}
	all := []string{"--kubeconfig", c.Kubeconfig}
	if c.Context != "" {
		all = append(all, "--context", c.Context)
	}
	return exec.CommandContext(ctx, program, append(all, args...)...)
}

// failure is what kubectl said, in one line.
func failure(err error, said []byte) error {
	if errors.Is(err, exec.ErrNotFound) {
		return errors.New("kubectl is not here: install it, or name it in $KUBECTL")
	}
	lines := strings.Split(strings.TrimSpace(string(said)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return fmt.Errorf("kubectl: %s", last)
	}
	return fmt.Errorf("kubectl: %w", err)
}

// Secret reads one key of a secret.
func (c Cluster) Secret(ctx context.Context, namespace, name, key string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	var out, said bytes.Buffer
	cmd := c.command(ctx, "-n", namespace, "get", "secret", name, "-o", "go-template={{index .data "+strconv.Quote(key)+"}}")
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return "", failure(err, said.Bytes())
	}
	value, err := base64.StdEncoding.DecodeString(strings.TrimSpace(out.String()))
	if err != nil {
		return "", fmt.Errorf("the secret %s in %s has no key %s", name, namespace, key)
	}
	return string(value), nil
}

// Exec runs a program in a pod and hands on what it writes.
func (c Cluster) Exec(ctx context.Context, out io.Writer, namespace, pod string, args ...string) error {
	var said bytes.Buffer
	cmd := c.command(ctx, append([]string{"-n", namespace, "exec", pod, "--"}, args...)...)
	cmd.Stdout, cmd.Stderr = out, &said
	if err := cmd.Run(); err != nil {
		return failure(err, said.Bytes())
	}
	return nil
}

var forwarding = regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+) ->`)

// Forward makes a port of a pod or service, such as svc/postgres, an address on this machine until stop is called.
func (c Cluster) Forward(ctx context.Context, namespace, target string, port int) (addr string, stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	cmd := c.command(ctx, "-n", namespace, "port-forward", "--address", "127.0.0.1", target, ":"+strconv.Itoa(port))
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		return "", nil, failure(err, nil)
	}
	stop = func() {
		cancel()
		_ = cmd.Wait() // it was killed
	}
	first := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(out)
		if lines.Scan() {
			first <- lines.Text()
		}
		close(first)
		for lines.Scan() { // a line for each connection, which must not fill the pipe
		}
	}()
	timer := time.NewTimer(callTimeout)
	defer timer.Stop()
	select {
	case line := <-first:
		if m := forwarding.FindStringSubmatch(line); m != nil {
			return m[1], stop, nil
		}
	case <-timer.C:
	case <-ctx.Done():
	}
	stop()
	return "", nil, fmt.Errorf("%s in %s can't be reached: %w", target, namespace, failure(errors.New("no port was opened"), said.Bytes()))
}
