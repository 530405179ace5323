package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
)

// ErrNone is the answer of commands that need a cluster.
var ErrNone = errors.New("there is no cluster: make one with `dishmesh cluster up`")

// Down removes the cluster and everything that was made for it: the node with all data in it, the private docker daemon
// with its images, mounts and rules, keys and certificates. Caches stay. It works on whatever is left of a cluster.
func (c *Cluster) Down(ctx context.Context) error {
	for _, s := range []step{
		{name: "node", title: "removing the node", do: (*Cluster).downNode},
		{name: "docker", title: "removing the private docker daemon", do: (*Cluster).downDocker},
		{name: "files", title: "removing keys, certificates and logs", do: (*Cluster).downFiles},
	} {
		start := time.Now()
		c.report.Begin(s.name, s.title)
		did, err := s.do(c, ctx)
		if err != nil {
			if ctx.Err() != nil {
				err = errInterrupted
			}
			return &StepError{Step: s.name, Err: err}
		}
		c.report.End(s.name, did, time.Since(start))
	}
	return nil
}

func (c *Cluster) downNode(ctx context.Context) (string, error) {
	host := c.state.DockerHost
	if c.private() && !c.answers(ctx, host) {
		return "", nil // its node goes with the daemon's folder
	}
	if _, err := c.machine.LookPath("docker"); err != nil {
		return "", nil
	}
	if _, err := c.docker(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		if denied(err) {
			return "", errors.New("docker refuses this user: run with sudo, or join the group docker")
		}
		if !c.state.Created.IsZero() {
			return "", fmt.Errorf("docker does not answer, so the node cannot be removed: start docker first: %w", err)
		}
		return "", nil
	}
	if !c.nodeExists(ctx) {
		return "", nil
	}
	c.useBuilt(ctx)
	if err := c.deleteNode(ctx); err != nil {
		return "", err
	}
	return "removed", nil
}

// useBuilt makes the box use the programs that are here, without building any.
func (c *Cluster) useBuilt(ctx context.Context) {
	for _, p := range programs() {
		for _, path := range c.candidates(ctx, p) {
			v, err := c.ask(ctx, path, p)
			if err == nil && !v.less(p.from) && v.less(p.below) {
				c.box.Use(p.name, path)
				break
			}
		}
	}
}

func (c *Cluster) downDocker(ctx context.Context) (string, error) {
	if c.daemon().made() {
		return "removed", c.removeDaemon(ctx)
	}
	// The machine's own daemon keeps the network that kind made; nobody else uses it once no cluster is left.
	if _, err := c.machine.LookPath("docker"); err == nil {
		out, err := c.docker(ctx, "ps", "--all", "--quiet", "--filter", "label=io.x-k8s.kind.cluster")
		if err == nil && len(out) == 0 {
			_, _ = c.docker(ctx, "network", "rm", "kind") // it may not be there
		}
		return "", c.removeImages(ctx)
	}
	return "", nil
}

// removeImages removes our own images and the node's from the machine's daemon.
func (c *Cluster) removeImages(ctx context.Context) error {
	have, err := c.imagesByContent(ctx)
	if err != nil {
		return nil // without a daemon there are no images
	}
	args := []string{"image", "rm", "--force"}
	for ref := range have {
		args = append(args, ref)
	}
	if c.state.Images == SourceOffline {
		args = append(args, nodeOffline)
	}
	if len(args) == 3 {
		return nil
	}
	if _, err := c.docker(ctx, args...); err != nil && !tool.Said(err, "no such image") {
		return err
	}
	return nil
}

// removeDaemon stops the private daemon and removes every trace of it.
func (c *Cluster) removeDaemon(ctx context.Context) error {
	d := c.daemon()
	if c.answers(ctx, d.host()) {
		// Its bridge and its rules go with it.
		_, _ = c.docker(ctx, "network", "rm", "kind") // it may not be there
	}
	if err := d.stop(ctx); err != nil {
		return err
	}
	c.state.DockerHost = ""
	return errors.Join(d.erase(ctx), c.save())
}

func (c *Cluster) downFiles(context.Context) (string, error) {
	if err := os.RemoveAll(c.files.Dir); err != nil {
		return "", fmt.Errorf("remove the cluster's files: %w", err)
	}
	return "", nil
}
