package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
)

// What a cluster takes, as it was measured without a registry (2 cores, 24 GiB).
const (
	// needMemory: the node with all that is in it had 2.9 GiB at rest, 3.7 to 3.9 GiB during the proof (`kubectl top node`, docker's
	// own figure). The rest is for docker, the builds and what the kernel keeps of files.
	needMemory = 5 << 30
	// needDisk: after the proof the data folder had 5.8 GiB: 3.6 images in the node, 1.4 the node's own, 0.7 the stores, etcd and
	// logs, which grow with the orders. The cache is looked at where it is filled (kind/offline/machine.sh).
	needDisk = 7 << 30
	// needWatches: fewer than this many inotify instances are told of.
	needWatches = 256
)

// need is one thing that must be there before anything is made. An error is one line that says how to mend it.
type need struct {
	name  string
	check func(*Cluster, context.Context) error
}

// needs in the order in which they are looked at: what is quick and common first. Those of an existing cluster are
// fewer: it holds its ports and memory itself.
func needs() []need {
	return []need{
		{"checkout", (*Cluster).needCheckout},
		{"memory", (*Cluster).needMemory},
		{"disk", (*Cluster).needDisk},
		{"ports", (*Cluster).needPorts},
		{"docker client", (*Cluster).needDockerClient},
	}
}

// stepNeeds runs every check and reports all that is wrong at once.
func (c *Cluster) stepNeeds(ctx context.Context) (string, error) {
	var wrong []error
	for _, n := range needs() {
		if err := n.check(c, ctx); err != nil {
			wrong = append(wrong, err)
		}
	}
	if len(wrong) > 0 {
		return "", errors.Join(wrong...)
	}
	if n := c.machine.Watches(); n > 0 && n < needWatches {
		c.report.Note(fmt.Sprintf("fs.inotify.max_user_instances is %d, which is few for a cluster: if pods fail with \"too many open files\", run `sysctl fs.inotify.max_user_instances=512`", n))
	}
	return "", nil
}

func (c *Cluster) needCheckout(context.Context) error {
	for _, path := range []string{clusterFile, overlayKind, meshFolder} {
		if !exists(filepath.Join(c.cfg.Home, path)) {
			return fmt.Errorf("%s is missing in %s: the cluster is made from a whole checkout; run `git status` there", path, c.cfg.Home)
		}
	}
	return nil
}

func (c *Cluster) needMemory(context.Context) error {
	if !c.state.Created.IsZero() {
		return nil // what it takes is taken
	}
	available, ok := c.machine.Memory()
	if ok && available < needMemory {
		return fmt.Errorf("too little memory: %s is available and the cluster takes %s; close other programs", gib(available), gib(needMemory))
	}
	return nil
}

func (c *Cluster) needDisk(context.Context) error {
	if !c.state.Created.IsZero() {
		return nil
	}
	free, err := c.machine.Disk(c.files.Dir)
	if err != nil {
		return err
	}
	if free < needDisk {
		return fmt.Errorf("too little disk: %s is free for %s and the cluster takes %s; make room, or choose another disk with --data", gib(free), c.files.Dir, gib(needDisk))
	}
	return nil
}

func (c *Cluster) needPorts(context.Context) error {
	if !c.state.Created.IsZero() {
		if c.cfg.HTTPSPort != c.state.HTTPSPort || c.cfg.HTTPPort != c.state.HTTPPort {
			return fmt.Errorf("the cluster has the ports %d and %d: to change them run `dishmesh cluster down` first", c.state.HTTPSPort, c.state.HTTPPort)
		}
		return nil
	}
	for _, p := range []struct {
		flag string
		port int
	}{{"--https-port", c.cfg.HTTPSPort}, {"--http-port", c.cfg.HTTPPort}} {
		if !c.machine.PortFree(p.port) {
			return fmt.Errorf("port %d is taken: stop the program that has it, or choose another with %s", p.port, p.flag)
		}
	}
	return nil
}

func (c *Cluster) needDockerClient(ctx context.Context) error {
	if _, err := c.machine.LookPath("docker"); err != nil {
		return errors.New("no docker: install Docker Engine (https://docs.docker.com/engine/install, on Debian `apt-get install docker.io`)")
	}
	_, err := c.docker(ctx, "version", "--format", "{{.Client.Version}}")
	var failed *tool.Error
	if err != nil && !errors.As(err, &failed) {
		return err
	}
	return nil // whether a daemon answers is looked at next
}

func gib(bytes uint64) string { return fmt.Sprintf("%.1f GB", float64(bytes)/(1<<30)) }

// version is a release number.
type version struct{ major, minor, patch int }

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }

func (v version) less(w version) bool {
	if v.major != w.major {
		return v.major < w.major
	}
	if v.minor != w.minor {
		return v.minor < w.minor
	}
	return v.patch < w.patch
}

var versionPattern = regexp.MustCompile(`v?(\d+)\.(\d+)(?:\.(\d+))?`)

// parseVersion finds the first release number in what a program says about itself.
func parseVersion(text string) (version, error) {
	m := versionPattern.FindStringSubmatch(text)
	if m == nil {
		return version{}, fmt.Errorf("no version in %q", strings.TrimSpace(text))
	}
	var v version
	for i, to := range []*int{&v.major, &v.minor, &v.patch} {
		*to, _ = strconv.Atoi(m[i+1]) // digits, or nothing for a missing patch
	}
	return v, nil
}

// kubectlVersion reads `kubectl version --client -o json`.
func kubectlVersion(out []byte) (version, error) {
	var v struct {
		ClientVersion struct {
			GitVersion string `json:"gitVersion"`
		} `json:"clientVersion"`
	}
	if err := json.Unmarshal(out, &v); err != nil {
		return version{}, fmt.Errorf("read kubectl's version: %w", err)
	}
	return parseVersion(v.ClientVersion.GitVersion)
}
