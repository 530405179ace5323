package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
)

// nodeName is the container of the node.
const nodeName = Name + "-control-plane"

// Ports of the node that kind maps to the loopback interface, see kind/cluster.yaml and kind/values/ingress.yaml.
const (
	nodeHTTPS = 30443
	nodeHTTP  = 30080
)

// kindConfig is cluster.yaml with this run's ports.
func kindConfig(file []byte, httpsPort, httpPort int) ([]byte, error) {
	var conf map[string]any
	if err := yaml.UnmarshalStrict(file, &conf); err != nil {
		return nil, err
	}
	ports := map[int]int{nodeHTTPS: httpsPort, nodeHTTP: httpPort}
	nodes, _ := conf["nodes"].([]any)
	for _, n := range nodes {
		node, _ := n.(map[string]any)
		mappings, _ := node["extraPortMappings"].([]any)
		for _, m := range mappings {
			mapping, _ := m.(map[string]any)
			port, _ := mapping["containerPort"].(float64)
			if host, ok := ports[int(port)]; ok {
				mapping["hostPort"] = host
				delete(ports, int(port))
			}
		}
	}
	if len(ports) > 0 {
		return nil, fmt.Errorf("extraPortMappings lacks the container ports %d and %d of the ingress", nodeHTTP, nodeHTTPS)
	}
	return yaml.Marshal(conf)
}

// nodeExists reports whether the node's container is there, running or not.
func (c *Cluster) nodeExists(ctx context.Context) bool {
	_, err := c.docker(ctx, "container", "inspect", "--format", "{{.State.Status}}", nodeName)
	return err == nil
}

// stepNode creates the cluster, or mends the one that is there: starts a stopped node, and makes one anew that never
// became whole.
func (c *Cluster) stepNode(ctx context.Context) (string, error) {
	out, err := c.run.Run(ctx, tool.Command{Name: "kind", Args: []string{"get", "clusters"}})
	if err != nil {
		return "", err
	}
	if slices.Contains(strings.Fields(string(out)), Name) {
		did, err := c.mendNode(ctx)
		if err == nil || ctx.Err() != nil {
			return did, err
		}
		if !c.state.Complete.IsZero() {
			return "", fmt.Errorf("the cluster does not answer (%w): look with `docker logs %s`, or run `dishmesh cluster down` and start anew", err, nodeName)
		}
		c.report.Note("the cluster was half made: making it anew")
		if err := c.deleteNode(ctx); err != nil {
			return "", err
		}
	}
	return c.createNode(ctx)
}

func (c *Cluster) createNode(ctx context.Context) (string, error) {
	file, err := os.ReadFile(filepath.Join(c.cfg.Home, clusterFile))
	if err != nil {
		return "", err
	}
	conf, err := kindConfig(file, c.cfg.HTTPSPort, c.cfg.HTTPPort)
	if err != nil {
		return "", fmt.Errorf("%s: %w", clusterFile, err)
	}
	image := nodeUpstream
	if c.source == SourceOffline {
		image = nodeOffline
	}
	c.startedNode = true
	_, err = c.run.Run(ctx, tool.Command{Name: "kind", Stdin: bytes.NewReader(conf), Line: func(line string) { c.report.Progress(kindLine(line)) },
		Args: []string{"create", "cluster", "--name", Name, "--image", image, "--config", "-", "--kubeconfig", c.files.Kubeconfig(), "--wait", "120s"}})
	if err != nil {
		return "", err
	}
	c.state.Created, c.state.Complete = c.now(), time.Time{}
	c.state.HTTPSPort, c.state.HTTPPort = c.cfg.HTTPSPort, c.cfg.HTTPPort
	if err := c.save(); err != nil {
		return "", err
	}
	return "created, Kubernetes " + KubernetesVersion, c.prepareNode(ctx)
}

// prepareNode makes the folders of volumes that live on the node, see kind/manifests.
func (c *Cluster) prepareNode(ctx context.Context) error {
	_, err := c.docker(ctx, "exec", nodeName, "mkdir", "-p", "/var/dishmesh/scheduler/0", "/var/dishmesh/scheduler/1", "/var/dishmesh/scheduler/2")
	return err
}

// mendNode has the node run and the API server answer.
func (c *Cluster) mendNode(ctx context.Context) (string, error) {
	status, err := c.docker(ctx, "container", "inspect", "--format", "{{.State.Status}}", nodeName)
	if err != nil {
		return "", err
	}
	did := ""
	switch s := strings.TrimSpace(string(status)); s {
	case "running":
	case "exited", "created":
		if _, err := c.docker(ctx, "start", nodeName); err != nil {
			return "", err
		}
		did = "the stopped node was started"
	default:
		return "", fmt.Errorf("its node is %s", s)
	}
	if _, err := c.run.Run(ctx, tool.Command{Name: "kind", Args: []string{"export", "kubeconfig", "--name", Name, "--kubeconfig", c.files.Kubeconfig()}}); err != nil {
		return "", err
	}
	patience := 10 * time.Second
	if did != "" {
		patience = 2 * time.Minute
	}
	waiting, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("its API server gave no answer for %s", patience))
	defer cancel()
	for {
		_, err := c.kubectl(waiting, "get", "--raw", "/readyz")
		if err == nil {
			return did, c.prepareNode(ctx)
		}
		if err := pause(waiting, time.Second); err != nil {
			return "", err
		}
	}
}

func (c *Cluster) deleteNode(ctx context.Context) error {
	_, err := c.run.Run(ctx, tool.Command{Name: "kind", Args: []string{"delete", "cluster", "--name", Name, "--kubeconfig", c.files.Kubeconfig()}})
	if err != nil {
		// Without kind, or with a node that kind can't take away, docker can.
		if _, e := c.docker(ctx, "rm", "--force", "--volumes", nodeName); e != nil && !tool.Said(e, "no such container") {
			return errors.Join(err, e)
		}
	}
	c.state.Created, c.state.Complete = time.Time{}, time.Time{}
	return c.save()
}

// kindLine is a line of kind's without its signs.
func kindLine(line string) string {
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < 0x80 {
			return r
		}
		return -1
	}, strings.TrimLeft(line, " •✓✗")))
}

// pause waits, or ends early with the context's cause.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
