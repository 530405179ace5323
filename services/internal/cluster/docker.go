package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
)

// oldestDocker is the oldest daemon that kind's nodes were seen to run in.
var oldestDocker = version{20, 10, 0}

// stepDocker makes sure that a docker daemon answers: the private one of this data folder if there is one, else the
// machine's, else it starts a private one.
func (c *Cluster) stepDocker(ctx context.Context) (string, error) {
	d := c.daemon()
	if d.made() {
		did := ""
		if !c.answers(ctx, d.host()) {
			if err := d.start(ctx); err != nil {
				return "", err
			}
			did = "private docker daemon started again"
		}
		return did, c.useDocker(d.host())
	}
	server, err := c.docker(ctx, "version", "--format", "{{.Server.Version}}")
	if err == nil {
		v, err := parseVersion(string(server))
		if err != nil {
			return "", fmt.Errorf("docker: %w", err)
		}
		if v.less(oldestDocker) {
			return "", fmt.Errorf("the docker daemon is %s and %s or later is needed: update it", v, oldestDocker)
		}
		return "", c.useDocker(os.Getenv("DOCKER_HOST"))
	}
	if ctx.Err() != nil {
		return "", err
	}
	if denied(err) {
		return "", errors.New("docker refuses this user: run with sudo, or join the group docker (`sudo usermod -aG docker $USER`, then log in again)")
	}
	if host := os.Getenv("DOCKER_HOST"); host != "" {
		return "", fmt.Errorf("no docker daemon answers at DOCKER_HOST=%s: start it, or unset DOCKER_HOST", host)
	}
	if err := d.possible(); err != nil {
		return "", err
	}
	if others := c.machine.DockerDaemons(); len(others) > 0 {
		c.report.Note(fmt.Sprintf("another docker daemon runs here (process %d) and does not listen where docker looks: both write the machine's network rules; to use that one set DOCKER_HOST", others[0]))
	}
	if err := d.start(ctx); err != nil {
		return "", err
	}
	c.startedDocker = true
	return "private docker daemon started", c.useDocker(d.host())
}

// denied reports whether the daemon is there and doesn't let this user in.
func denied(err error) bool { return tool.Said(err, "permission denied") }

// useDocker has every program talk to one daemon, now and in later runs.
func (c *Cluster) useDocker(host string) error {
	c.box.Setenv("DOCKER_HOST", host)
	c.state.DockerHost = host
	return c.save()
}

// answers reports whether a daemon listens at an address.
func (c *Cluster) answers(ctx context.Context, host string) bool {
	_, err := c.run.Run(ctx, tool.Command{Name: "docker", Args: []string{"version", "--format", "{{.Server.Version}}"},
		Env: []string{"DOCKER_HOST=" + host}})
	return err == nil
}

// private reports whether the cluster runs in a daemon of its own.
func (c *Cluster) private() bool {
	return strings.HasPrefix(c.state.DockerHost, "unix://"+c.files.Docker())
}
