package manifest_test

import (
	"context"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/manifest"
)

// modules are where the sources of what the cluster runs are: those that this module is built from, and those of crds.
var modules = sync.OnceValues(func() (map[string]string, error) {
	out, err := manifest.Modules(context.Background(), ".", "github.com/dapr/dapr", "istio.io/api", "istio.io/istio")
	if err != nil {
		return nil, err
	}
	others, err := manifest.Modules(context.Background(), "crds", "github.com/fluxcd/kustomize-controller", "github.com/fluxcd/source-controller", "github.com/kedacore/keda/v2")
	if err != nil {
		return nil, err
	}
	maps.Copy(out, others)
	return out, nil
})

// schema is the one that all tests read with: it takes a second to put together.
var schema = sync.OnceValues(func() (*manifest.Schema, error) {
	dirs, err := modules()
	if err != nil {
		return nil, err
	}
	crds, err := manifest.Definitions(dirs)
	if err != nil {
		return nil, err
	}
	return manifest.NewSchema(crds...)
})

func loadSchema(t *testing.T) *manifest.Schema {
	t.Helper()
	s, err := schema()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// root is the top of the checkout.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "Makefile")); err != nil {
		t.Fatalf("the top of the checkout is not where it should be: %v", err)
	}
	return dir
}

// folders hold all YAML that the cluster is told; components/runtime is code.
var folders = []string{"components", "k8s", "kind", "mesh", "tilt"}

// use is what the files are for that no kustomization names.
func use(file string) manifest.Use {
	switch {
	case isValues(file), path.Base(file) == "profile.yaml", file == "components/configuration/local.yaml", path.Base(file) == "otelcol.yaml":
		return manifest.Apart // Helm, services/internal/profile, the laptop's daprd and the collector
	case file == "tilt/live.yaml":
		return manifest.Part
	}
	if ok, _ := path.Match("components/embedded/state-*.yaml", file); ok {
		return manifest.Apart
	}
	return manifest.Resources
}

func yamlFiles(t *testing.T) (fs.FS, []string) {
	t.Helper()
	top := os.DirFS(root(t))
	files, err := manifest.Files(top, folders...)
	if err != nil {
		t.Fatal(err)
	}
	return top, files
}

// report fails the test with each violation.
func report(t *testing.T, violations []string) {
	t.Helper()
	for _, v := range violations {
		t.Error(v)
	}
}

// one compares the only violation that made-up input must have; "" is none.
func one(t *testing.T, got []string, want string) {
	t.Helper()
	if diff := cmp.Diff(want, strings.Join(got, "\n")); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}
