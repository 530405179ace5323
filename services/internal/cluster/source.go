package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
)

// Files and folders of the checkout that the cluster is made from.
const (
	clusterFile    = "kind/cluster.yaml"
	kindManifests  = "kind/manifests"
	valuesFolder   = "kind/values"
	offlineValues  = "kind/offline/values"
	offlineBuild   = "kind/offline/build.sh"
	modulesFolder  = "kind/offline/modules"
	runtimeModule  = "components/runtime"
	runtimeWrapper = "kind/runc-capped"
	namespaces     = "k8s/namespaces"
	overlayData    = "k8s/overlays/kind/data"
	overlayKind    = "k8s/overlays/kind"
	meshFolder     = "mesh"
	dockerfile     = "k8s/Dockerfile"
)

// Images of a kind node: the same cluster.yaml runs on both.
const (
	nodeUpstream = "kindest/node:v" + KubernetesVersion
	nodeOffline  = "dishmesh/node:v" + KubernetesVersion
)

// lookPatience is how long a registry may take to answer whether it has an image.
const lookPatience = 15 * time.Second

// stepSource decides where images come from: as told, as the cluster that is there was made, or by looking.
func (c *Cluster) stepSource(ctx context.Context) (string, error) {
	had := c.state.Images
	switch {
	case !c.state.Created.IsZero() && had != "":
		if c.cfg.Images != SourceAuto && c.cfg.Images != had {
			return "", fmt.Errorf("the cluster was made with --images=%s: to change that run `dishmesh cluster down` first", had)
		}
		c.source = had
		return "", nil
	case c.cfg.Images != SourceAuto:
		c.source = c.cfg.Images
	default:
		c.source = c.lookForRegistry(ctx)
	}
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	c.state.Images = c.source
	if err := c.save(); err != nil {
		return "", err
	}
	if c.source == SourceOffline {
		return "offline: built from Go modules, Debian and Maven", nil
	}
	return "from the registries", nil
}

// lookForRegistry asks for the node image: here already, or to be had. Where it is neither, the others aren't either.
func (c *Cluster) lookForRegistry(ctx context.Context) Source {
	if _, err := c.docker(ctx, "image", "inspect", "--format", "{{.Id}}", nodeUpstream); err == nil {
		return SourceRegistry
	}
	c.report.Progress("asking whether a registry has " + nodeUpstream)
	asking, cancel := context.WithTimeout(ctx, lookPatience)
	defer cancel()
	if _, err := c.docker(asking, "manifest", "inspect", nodeUpstream); err == nil {
		return SourceRegistry
	}
	return SourceOffline
}

// offlineSet is the folder of what kind/offline made for this checkout; empty where that isn't used or isn't made yet.
func (c *Cluster) offlineSet(ctx context.Context) string {
	if c.source == SourceRegistry {
		return ""
	}
	if c.set == "" {
		out, err := c.run.Run(ctx, tool.Command{Name: "bash", Args: []string{filepath.Join(c.cfg.Home, offlineBuild), "--where"}})
		if err == nil {
			c.set = strings.TrimSpace(string(out))
		}
	}
	return c.set
}

// stepOffline builds what is missing of the offline set and has the docker daemon know the node image.
func (c *Cluster) stepOffline(ctx context.Context) (string, error) {
	if c.source != SourceOffline {
		return "", nil
	}
	did := ""
	if c.offlineSet(ctx) == "" {
		out, err := c.run.Run(ctx, tool.Command{Name: "bash", Args: []string{filepath.Join(c.cfg.Home, offlineBuild)},
			Line: func(line string) { c.report.Progress(strings.TrimPrefix(line, "offline: ")) }})
		if err != nil {
			return "", err
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		c.set = lines[len(lines)-1]
		did = "images and programs built"
		if err := c.needDisk(ctx); err != nil { // of what the build has left
			return "", err
		}
	}
	if c.nodeExists(ctx) {
		return did, nil
	}
	file := filepath.Join(c.set, "node.tar")
	real, err := filepath.EvalSymlinks(file)
	if err != nil {
		return "", fmt.Errorf("the offline set is not whole: remove %s and try again: %w", c.set, err)
	}
	if had, err := os.ReadFile(c.loadedNode()); err == nil && string(had) == real {
		if _, err := c.docker(ctx, "image", "inspect", "--format", "{{.Id}}", nodeOffline); err == nil {
			return did, nil
		}
	}
	c.report.Progress("loading the node image into docker")
	if _, err := c.docker(ctx, "load", "--quiet", "--input", real); err != nil {
		return "", fmt.Errorf("load the node image: %w", err)
	}
	if err := os.WriteFile(c.loadedNode(), []byte(real), 0o600); err != nil {
		return "", err
	}
	return strings.TrimPrefix(did+", node image loaded", ", "), nil
}

// loadedNode names the archive that the daemon's node image was loaded from.
func (c *Cluster) loadedNode() string { return filepath.Join(c.files.Dir, "node-image") }

// chart finds the folder of a Helm chart: the pinned modules carry them, so that go.sum vouches for every byte.
func (c *Cluster) chart(ctx context.Context, name string) (string, error) {
	if set := c.offlineSet(ctx); set != "" {
		return filepath.Join(set, "charts", name), nil
	}
	where := map[string]struct{ module, path, folder string }{
		"dapr":    {runtimeModule, "github.com/dapr/dapr", "charts/dapr"},
		"base":    {modulesFolder + "/istio", "istio.io/istio", "manifests/charts/base"},
		"istiod":  {modulesFolder + "/istio", "istio.io/istio", "manifests/charts/istio-control/istio-discovery"},
		"gateway": {modulesFolder + "/istio", "istio.io/istio", "manifests/charts/gateway"},
	}[name]
	module, err := c.moduleFolder(ctx, where.module, where.path)
	if err != nil {
		return "", fmt.Errorf("the chart %s: %w", name, err)
	}
	return filepath.Join(module, where.folder), nil
}

// moduleFolder is where the go tool keeps a module that another one, in a folder of the checkout, pins.
func (c *Cluster) moduleFolder(ctx context.Context, from, path string) (string, error) {
	out, err := c.run.Run(ctx, tool.Command{Name: "go", Dir: filepath.Join(c.cfg.Home, from),
		Args: []string{"mod", "download", "-json", path}, Env: []string{"GOWORK=off"}})
	if err != nil {
		return "", fmt.Errorf("it comes with the Go module %s: connect once, or set GOPROXY to a proxy you can reach: %w", path, err)
	}
	var mod struct{ Dir string }
	if err := json.Unmarshal(out, &mod); err != nil {
		return "", fmt.Errorf("read where the module %s is: %w", path, err)
	}
	return mod.Dir, nil
}
