package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
)

// addManager is by which Kubernetes knows what was added. It is another than fieldManager, so that `up`, whose manifests don't
// have it, does not remove it.
const addManager = "dishmesh-add"

// Addition is what can be brought into a cluster beside the platform, for parts of k8s/components that want it.
type Addition struct {
	// Name is what `dishmesh cluster add` calls it, and its part of kind/offline.
	Name string
	// Title says what it is good for.
	Title string
	// Namespace is where it runs.
	Namespace string
	// Next is what to do with it.
	Next string

	// overlay is the folder of the checkout that builds its manifests, with upstream's in the folder "upstream".
	overlay string
	// upstream is where those are: the folder of the checkout with a Go module that pins them, the path of the one that has them,
	// and the folder in there.
	upstream struct{ module, path, folder string }
}

// Additions are all that there are.
func Additions() []Addition {
	keda := Addition{Name: "keda", Title: "KEDA, which scales by how far consumers lag behind", Namespace: "keda", overlay: "kind/keda",
		Next: "k8s/README.md, \"Scaling by lag\""}
	keda.upstream.module, keda.upstream.path, keda.upstream.folder = modulesFolder+"/keda", "github.com/kedacore/keda/v2", "config"
	return []Addition{keda}
}

// FindAddition finds one by its name.
func FindAddition(name string) (Addition, error) {
	var names []string
	for _, a := range Additions() {
		if a.Name == name {
			return a, nil
		}
		names = append(names, a.Name)
	}
	return Addition{}, fmt.Errorf("%q can't be added: choose of %s", name, strings.Join(names, ", "))
}

// Manifests is the file of what was applied last for an addition; deleting what is in it takes the addition away.
func (l Layout) Manifests(a Addition) string { return filepath.Join(l.addition(a), "manifests.yaml") }

func (l Layout) addition(a Addition) string { return filepath.Join(l.Dir, "additions", a.Name) }

// Add brings an addition into the cluster, or up to date there, and waits until it is ready.
func (c *Cluster) Add(ctx context.Context, a Addition) error {
	if c.state.Created.IsZero() {
		return ErrNone
	}
	on := func(do func(*Cluster, context.Context, Addition) (string, error)) func(*Cluster, context.Context) (string, error) {
		return func(c *Cluster, ctx context.Context) (string, error) { return do(c, ctx, a) }
	}
	return c.walk(ctx, []step{
		{"docker", "looking for docker", (*Cluster).stepDocker, false},
		{"images", "choosing where images come from", (*Cluster).stepSource, false},
		{"tools", "finding kind, kubectl and helm", (*Cluster).stepTools, false},
		{"manifests", "taking upstream's manifests", on((*Cluster).renderAddition), false},
		{"load", "loading its images into the node", on((*Cluster).loadAddition), false},
		{"apply", "applying " + a.Name, on((*Cluster).applyAddition), false},
		{"ready", "waiting until it is ready", on(func(c *Cluster, ctx context.Context, a Addition) (string, error) {
			return "", c.waitReady(ctx, a.Namespace)
		}), false},
	})
}

// renderAddition builds the manifests from upstream's, and keeps them: whoever wants the addition gone deletes what is in the file.
func (c *Cluster) renderAddition(ctx context.Context, a Addition) (string, error) {
	module, err := c.moduleFolder(ctx, a.upstream.module, a.upstream.path)
	if err != nil {
		return "", fmt.Errorf("the manifests of %s: %w", a.Name, err)
	}
	dir := c.files.addition(a)
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	err = errors.Join(
		os.CopyFS(dir, os.DirFS(filepath.Join(c.cfg.Home, a.overlay))),
		os.CopyFS(filepath.Join(dir, "upstream"), os.DirFS(filepath.Join(module, a.upstream.folder))))
	if err != nil {
		return "", fmt.Errorf("lay out the manifests of %s: %w", a.Name, err)
	}
	manifests, err := c.kubectl(ctx, "kustomize", dir)
	if err != nil {
		return "", fmt.Errorf("%s does not build: %w", a.overlay, err)
	}
	return "", os.WriteFile(c.files.Manifests(a), manifests, 0o644)
}

// loadAddition builds the images and loads them, where no registry has them.
func (c *Cluster) loadAddition(ctx context.Context, a Addition) (string, error) {
	if c.source != SourceOffline {
		return "", nil
	}
	out, err := c.run.Run(ctx, tool.Command{Name: "bash", Args: []string{filepath.Join(c.cfg.Home, offlineBuild), a.Name},
		Line: func(line string) { c.report.Progress(strings.TrimPrefix(line, "offline: ")) }})
	if err != nil {
		return "", err
	}
	archives, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(out)), "*.tar"))
	if err != nil {
		return "", err
	}
	have, err := c.nodeImages(ctx)
	if err != nil {
		return "", err
	}
	loaded, err := c.loadArchives(ctx, archives, have)
	if err != nil || loaded == 0 {
		return "", err
	}
	return fmt.Sprintf("%d images", loaded), nil
}

func (c *Cluster) applyAddition(ctx context.Context, a Addition) (string, error) {
	manifests, err := os.ReadFile(c.files.Manifests(a))
	if err != nil {
		return "", err
	}
	return "", c.apply(ctx, addManager, manifests)
}
