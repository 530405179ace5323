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

// Versions of what the cluster is made of. A test compares them with kind/, the values files and the pinned modules.
const (
	KubernetesVersion = "1.36.3"
	KindVersion       = "0.33.0"
	DaprVersion       = "1.18.0"
	IstioVersion      = "1.31.1"
	// istioModule is what the Go module of that release is called, which has no tag of it.
	istioModule = "v0.0.0-20260827124520-eed52ebb66ad"
)

// program is a tool that the cluster is made with: taken from PATH where that one will do, else built from a pinned
// module of the checkout into the cache.
type program struct {
	name string
	// version asks the program which one it is.
	version []string
	read    func([]byte) (version, error)
	// from and below bound the versions that will do: from ≤ v < below.
	from, below version
	// module is the folder of its module in the checkout, pkg the package in there.
	module, pkg string
	// ldflags are needed for it to know its own version.
	ldflags string
}

func programs() []program {
	k8s, _ := parseVersion(KubernetesVersion) // a constant, see the test
	plain := func(out []byte) (version, error) { return parseVersion(string(out)) }
	const setVersion = "k8s.io/component-base/version"
	return []program{
		// A node image is made for its kind.
		{name: "kind", version: []string{"version"}, read: plain, from: version{0, 33, 0}, below: version{1, 0, 0},
			module: "kind", pkg: "sigs.k8s.io/kind"},
		// One minor version of skew to the server is supported (https://kubernetes.io/releases/version-skew-policy).
		{name: "kubectl", version: []string{"version", "--client", "-o", "json"}, read: kubectlVersion,
			from: version{k8s.major, k8s.minor - 1, 0}, below: version{k8s.major, k8s.minor + 2, 0},
			module: "kubernetes", pkg: "k8s.io/kubernetes/cmd/kubectl",
			ldflags: fmt.Sprintf("-X %s.gitVersion=v%s -X %s.gitMajor=%d -X %s.gitMinor=%d", setVersion, k8s, setVersion, k8s.major, setVersion, k8s.minor)},
		{name: "helm", version: []string{"version", "--short"}, read: plain, from: version{3, 14, 0}, below: version{5, 0, 0},
			module: "helm", pkg: "helm.sh/helm/v3/cmd/helm"},
	}
}

// stepTools finds the programs, and builds those that are not here or too old.
func (c *Cluster) stepTools(ctx context.Context) (string, error) {
	var did []string
	for _, p := range programs() {
		how, err := c.findProgram(ctx, p)
		if err != nil {
			return "", err
		}
		if how != "" {
			did = append(did, how)
		}
	}
	return strings.Join(did, ", "), nil
}

// candidates are the places where a program may be: the offline set, the cache, PATH.
func (c *Cluster) candidates(ctx context.Context, p program) []string {
	var places []string
	for _, path := range []string{filepath.Join(c.offlineSet(ctx), "bin", p.name), c.cached(p)} {
		if filepath.IsAbs(path) && exists(path) {
			places = append(places, path)
		}
	}
	return append(places, p.name)
}

func (c *Cluster) cached(p program) string { return filepath.Join(c.cfg.Cache, "bin", p.name) }

// findProgram makes the box use a version of the program that will do, and builds one where none is here.
func (c *Cluster) findProgram(ctx context.Context, p program) (did string, err error) {
	why := ""
	for _, path := range c.candidates(ctx, p) {
		v, err := c.ask(ctx, path, p)
		switch {
		case err != nil && ctx.Err() != nil:
			return "", err
		case err != nil:
		case v.less(p.from) || !v.less(p.below):
			why = fmt.Sprintf("%s is %s, and %s or later, before %s, is needed", p.name, v, p.from, p.below)
		default:
			if path != p.name {
				c.box.Use(p.name, path)
			}
			return "", nil
		}
	}
	if why == "" {
		why = "there is no " + p.name
	}
	c.report.Progress(why + ": building it")
	if err := c.build(ctx, p); err != nil {
		return "", fmt.Errorf("%s, and building it failed: install it on PATH: %w", why, err)
	}
	c.box.Use(p.name, c.cached(p))
	return "built " + p.name, nil
}

func (c *Cluster) ask(ctx context.Context, path string, p program) (version, error) {
	out, err := c.run.Run(ctx, tool.Command{Name: path, Args: p.version})
	if err != nil {
		return version{}, err
	}
	return p.read(out)
}

// build makes one program from its module and puts it into the cache when it is whole.
func (c *Cluster) build(ctx context.Context, p program) error {
	target := c.cached(p)
	module := filepath.Join(c.cfg.Home, modulesFolder, p.module)
	if !exists(module) {
		return fmt.Errorf("the module %s is missing", module)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return fmt.Errorf("cannot write the cache: set XDG_CACHE_HOME to a writable folder: %w", err)
	}
	tmp := target + ".new"
	_, err := c.run.Run(ctx, tool.Command{Name: "go", Dir: module, Env: []string{"CGO_ENABLED=0", "GOWORK=off"},
		Args: []string{"build", "-mod=readonly", "-trimpath", "-ldflags", strings.TrimSpace("-s -w " + p.ldflags), "-o", tmp, p.pkg}})
	if err != nil {
		return errors.Join(err, os.RemoveAll(tmp))
	}
	return os.Rename(tmp, target)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
