package manifest_test

import (
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/broker"
	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/manifest"
)

const (
	// overlay is the one that runs on this machine; what is a change of it is looked at as such.
	overlay = "k8s/overlays/kind"
	mesh    = "mesh"
)

// apart tells which files lie beside a kustomization and are for somebody else: Helm, the profiles of a laptop.
func apart(file string) bool {
	switch {
	case isValues(file), path.Base(file) == "profile.yaml", file == "components/configuration/local.yaml":
		return true
	}
	ok, _ := path.Match("components/embedded/state-*.yaml", file)
	return ok
}

type build struct {
	objects    []manifest.Object
	violations []string
}

var builds sync.Map

// built is what kustomize makes of a folder, once for all tests.
func built(t *testing.T, folder string) build {
	t.Helper()
	result, _ := builds.LoadOrStore(folder, sync.OnceValue(func() build {
		objects, violations := loadSchema(t).Build(root(t), folder)
		return build{objects, violations}
	}))
	b := result.(func() build)()
	if len(b.objects) == 0 {
		t.Fatalf("%s: nothing was built: %v", folder, b.violations)
	}
	return b
}

func kustomizations(t *testing.T) (folders, components []string) {
	t.Helper()
	top, files := yamlFiles(t)
	folders, components, violations := manifest.Kustomizations(top, files, apart)
	report(t, violations)
	if !slices.Contains(folders, overlay) || !slices.Contains(folders, mesh) {
		t.Fatalf("%s and %s are not among %v", overlay, mesh, folders)
	}
	return folders, components
}

// TestKustomizationsBuild builds every kustomization, and the overlay with every component that it does not have.
func TestKustomizationsBuild(t *testing.T) {
	folders, components := kustomizations(t)
	for _, folder := range folders {
		t.Run(folder, func(t *testing.T) {
			b := built(t, folder)
			report(t, b.violations)
			t.Logf("%d resources", len(b.objects))
		})
	}
	for _, component := range components {
		t.Run(component, func(t *testing.T) {
			objects, violations := loadSchema(t).BuildWith(root(t), overlay, component)
			report(t, violations)
			t.Logf("%d resources", len(objects))
		})
	}
}

// state is a cluster as it may be: an overlay and the mesh, and what is applied over them.
type state struct {
	name    string
	objects []manifest.Object
}

// states are the overlays by themselves, and the one of this machine with each canary and each file of mesh/ that is
// applied by hand.
func states(t *testing.T) []state {
	t.Helper()
	rules := built(t, mesh).objects
	var out []state
	folders, components := kustomizations(t)
	for _, folder := range folders {
		if path.Dir(folder) == path.Dir(overlay) {
			out = append(out, state{folder, slices.Concat(built(t, folder).objects, rules)})
		}
	}
	for _, component := range components {
		objects, _ := loadSchema(t).BuildWith(root(t), overlay, component)
		out = append(out, state{component, slices.Concat(objects, rules)})
	}
	base := slices.Concat(built(t, overlay).objects, rules)
	canaries := base
	for _, folder := range folders {
		if strings.HasPrefix(folder, mesh+"/canary/") {
			over := slices.DeleteFunc(slices.Clone(built(t, folder).objects), func(o manifest.Object) bool {
				return !strings.Contains(string(o.JSON), `"dishmesh/canary"`)
			})
			out = append(out, state{folder, manifest.Lay(base, over)})
			canaries = manifest.Lay(canaries, over)
		}
	}
	top, files := yamlFiles(t)
	for _, file := range files {
		if strings.HasPrefix(file, mesh+"/") && !inKustomization(top, file) && !isValues(file) {
			docs, err := manifest.Read(top, file)
			if err != nil {
				t.Fatal(err)
			}
			over, _ := loadSchema(t).CheckAll(docs)
			out = append(out, state{file, manifest.Lay(canaries, over)})
		}
	}
	return out
}

// inKustomization tells whether a file lies beside a kustomization.
func inKustomization(top fs.FS, file string) bool {
	_, err := fs.Stat(top, path.Join(path.Dir(file), "kustomization.yaml"))
	return err == nil
}

func each(t *testing.T, rule func(objects []manifest.Object) []string) {
	t.Helper()
	for _, s := range states(t) {
		t.Run(s.name, func(t *testing.T) { report(t, rule(s.objects)) })
	}
}

func TestServices(t *testing.T) { each(t, manifest.Services) }

func TestReferences(t *testing.T) {
	subs, err := broker.ReadSubscriptions(filepath.Join(root(t), "components", "subscriptions"))
	if err != nil {
		t.Fatal(err)
	}
	topics, err := broker.Topics(subs)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, topic := range topics {
		names = append(names, topic.Name)
	}
	each(t, func(objects []manifest.Object) []string { return manifest.References(objects, names) })
}

func TestPods(t *testing.T) {
	// A folder of the node belongs to root at first; own gives it away.
	exempt := []string{"dishmesh-data/kafka/own", "dishmesh-data/redis/own", "dishmesh-data/postgres/own", "dishmesh-city/city/own"}
	each(t, func(objects []manifest.Object) []string {
		return slices.Concat(manifest.Images(objects), manifest.Restricted(objects, exempt...), manifest.Secrets(objects), manifest.Probes(objects))
	})
}

func TestNetworkPoliciesFollowTheMap(t *testing.T) {
	each(t, func(objects []manifest.Object) []string { return manifest.Reach(objects, communication.Connections()) })
}
