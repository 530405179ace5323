package manifest_test

import (
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/broker"
	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/manifest"
)

// The overlays that are applied as they are, and the rules of the mesh that are applied beside them.
var overlays = []string{"k8s/overlays/kind"}

const mesh = "mesh"

// built is what kustomize makes of a folder, once for all tests.
func built(t *testing.T, folder string) []manifest.Object {
	t.Helper()
	result, _ := builds.LoadOrStore(folder, sync.OnceValues(func() ([]manifest.Object, []string) {
		return loadSchema(t).Build(root(t), folder)
	}))
	objects, violations := result.(func() ([]manifest.Object, []string))()
	if len(objects) == 0 {
		t.Fatalf("%s: nothing was built: %v", folder, violations)
	}
	return objects
}

var builds sync.Map

func violationsOf(t *testing.T, folder string) []string {
	t.Helper()
	_, violations := loadSchema(t).Build(root(t), folder)
	return violations
}

func each(t *testing.T, rule func(t *testing.T, objects []manifest.Object) []string) {
	for _, overlay := range overlays {
		t.Run(filepath.Base(overlay), func(t *testing.T) {
			objects := slices.Concat(built(t, overlay), built(t, mesh))
			report(t, rule(t, objects))
		})
	}
}

func TestOverlaysBuild(t *testing.T) {
	for _, folder := range append(slices.Clone(overlays), mesh) {
		t.Run(folder, func(t *testing.T) {
			report(t, violationsOf(t, folder))
			t.Logf("%d resources", len(built(t, folder)))
		})
	}
}

func TestServices(t *testing.T) {
	each(t, func(t *testing.T, objects []manifest.Object) []string { return manifest.Services(objects) })
}

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
	each(t, func(t *testing.T, objects []manifest.Object) []string { return manifest.References(objects, names) })
}

func TestPods(t *testing.T) {
	// A folder of the node belongs to root at first; own gives it away.
	exempt := []string{"dishmesh-data/kafka/own", "dishmesh-data/redis/own", "dishmesh-data/postgres/own", "dishmesh-city/city/own"}
	each(t, func(t *testing.T, objects []manifest.Object) []string {
		return slices.Concat(manifest.Images(objects), manifest.Restricted(objects, exempt...), manifest.Secrets(objects), manifest.Probes(objects))
	})
}

func TestNetworkPoliciesFollowTheMap(t *testing.T) {
	each(t, func(t *testing.T, objects []manifest.Object) []string {
		return manifest.Reach(objects, communication.Connections())
	})
}
