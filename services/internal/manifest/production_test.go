package manifest_test

import (
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/manifest"
)

// TestProductionHasTheMeshsRules compares with those of the overlay of this machine. What differs is names and ports.
func TestProductionHasTheMeshsRules(t *testing.T) {
	provider := []string{"spec.hosts[0]", "spec.http[0].route[0].destination.host"}
	report(t, manifest.Carried(built(t, production).objects, built(t, mesh).objects, map[string][]string{
		"Gateway dishmesh-ingress/edge":            {"spec.servers[0].hosts"},
		"Gateway dishmesh-ingress/plain":           {"spec.servers[0].hosts"},
		"VirtualService dishmesh-ingress/edge":     {"spec.hosts"},
		"VirtualService dishmesh-ingress/redirect": {"spec.hosts", "spec.http[0].redirect.port"},
		"ServiceEntry dishmesh/acquirer":           {"spec.hosts[0]", "spec.ports[0].targetPort"},
		"ServiceEntry dishmesh/sms":                {"spec.hosts[0]", "spec.ports[0].targetPort"},
		"ServiceEntry dishmesh/push":               {"spec.hosts[0]", "spec.ports[0].targetPort"},
		"ServiceEntry dishmesh/mail":               {"spec.hosts[0]", "spec.ports[0].number"},
		"VirtualService dishmesh/acquirer":         provider,
		"VirtualService dishmesh/sms":              provider,
		"VirtualService dishmesh/push":             provider,
		"Sidecar dishmesh/payment":                 {"spec.egress[0].hosts[2]"},
		"Sidecar dishmesh/notification":            {"spec.egress[0].hosts[5]", "spec.egress[0].hosts[6]", "spec.egress[0].hosts[7]"},
	}))
}

// TestProductionEncryptsOnTheWayOut: whatever is sent to a port of TLS in the clear would be read on its way. Port 80 of an
// address outside is asked within the pod only.
func TestProductionEncryptsOnTheWayOut(t *testing.T) {
	report(t, manifest.Encrypted(built(t, production).objects))
}

// TestFluxHasWhatProductionIsBuiltFrom: what Flux is told to ignore is not there when it builds the overlay.
func TestFluxHasWhatProductionIsBuiltFrom(t *testing.T) {
	top, _ := yamlFiles(t)
	docs, err := manifest.Read(top, "k8s/gitops/flux.yaml")
	if err != nil {
		t.Fatal(err)
	}
	objects, violations := loadSchema(t).CheckAll(docs)
	report(t, violations)
	ignore := ""
	for _, o := range manifest.All[*unstructured.Unstructured](objects) {
		if o.Kind == "GitRepository" {
			ignore, _, _ = unstructured.NestedString(o.Of.Object, "spec", "ignore")
		}
	}
	lines := strings.Fields(ignore)
	if len(lines) == 0 || lines[0] != "/*" {
		t.Fatalf("k8s/gitops/flux.yaml: it ignores %q, want all but what follows", lines)
	}
	needed := map[string]bool{}
	var visit func(name string)
	visit = func(name string) {
		folder, _, _ := strings.Cut(name, "/")
		needed["!/"+folder] = true
		var k types.Kustomization
		raw, err := fs.ReadFile(top, path.Join(name, "kustomization.yaml"))
		if err != nil { // a file
			return
		}
		if err := yaml.Unmarshal(raw, &k); err != nil {
			t.Fatal(err)
		}
		for _, r := range slices.Concat(k.Resources, k.Components) {
			visit(path.Join(name, r))
		}
	}
	visit(production)
	if diff := cmp.Diff(slices.Sorted(maps.Keys(needed)), slices.Sorted(slices.Values(lines[1:]))); diff != "" {
		t.Errorf("k8s/gitops/flux.yaml: what it takes and %s needs (-needed +taken):\n%s", production, diff)
	}
}

// outside is the map where broker, stores and the outside world are servers elsewhere: 192.0.2.7 stands for those of the
// company, 203.0.113.7 for acquirer and providers.
func outside(all []communication.Connection) []communication.Connection {
	out := slices.DeleteFunc(slices.Clone(all), func(c communication.Connection) bool {
		return c.To.Namespace == communication.DataNamespace || c.To.Namespace == communication.CityNamespace ||
			c.From == communication.Rights || c.From == communication.City
	})
	add := func(address string, port int, services ...string) {
		for _, s := range services {
			out = append(out, communication.Connection{From: s, To: communication.Place{Name: address, Port: port, Protocol: "TCP"}})
		}
	}
	add("192.0.2.7", 9093, communication.Services()...)
	add("192.0.2.7", 6379, "gateway", "menu", "pricing", "restaurant", "delivery")
	add("192.0.2.7", 5432, "user", "analytics")
	add("192.0.2.7", 26257, "order", "payment")
	add("192.0.2.7", 27017, "notification")
	add("203.0.113.7", 443, "payment", "notification")
	add("203.0.113.7", 587, "notification")
	return out
}
