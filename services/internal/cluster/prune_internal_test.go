package cluster

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// deletes are the commands that remove something, among those that were run.
func deletes(run *fakeRunner) []string {
	var out []string
	for _, line := range run.ran {
		if rest, ok := strings.CutPrefix(line, "kubectl delete "); ok {
			out = append(out, rest)
		}
	}
	return out
}

// item is a resource as kubectl shows it; meta stands in its metadata.
func item(apiVersion, kind, namespace, name, meta string) string {
	return fmt.Sprintf(`{"apiVersion":%q,"kind":%q,"metadata":{"namespace":%q,"name":%q,%s}}`, apiVersion, kind, namespace, name, meta)
}

// manifestsOf are overlays in which each folder has one resource of its own.
func manifestsOf() map[string][]byte {
	return map[string][]byte{
		kindManifests: []byte("apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: metrics}\n"),
		namespaces:    []byte("apiVersion: v1\nkind: Namespace\nmetadata: {name: dishmesh}\n"),
		overlayData:   []byte("apiVersion: apps/v1\nkind: StatefulSet\nmetadata: {name: kafka, namespace: dishmesh-data}\n"),
		overlayKind:   []byte("apiVersion: v1\nkind: Service\nmetadata: {name: order, namespace: dishmesh}\n---\napiVersion: apps/v1\nkind: Deployment\nmetadata: {name: order, namespace: dishmesh}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: plain}\n---\napiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingAdmissionPolicyBinding\nmetadata: {name: restricted, namespace: dishmesh}\n"),
		meshFolder:    []byte("apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: order, namespace: dishmesh}\n"),
	}
}

func TestPrune(t *testing.T) {
	const (
		mine    = `"managedFields":[{"manager":"dishmesh","operation":"Apply"},{"manager":"kube-controller-manager","operation":"Update"}]`
		account = "ServiceAccount"
	)
	for _, c := range []struct {
		name string
		item string
		want []string
		note string
	}{
		{"still in the manifests", item("apps/v1", "Deployment", "dishmesh", "order", mine), nil, ""},
		{"read in another version", item("networking.istio.io/v1beta1", "Sidecar", "dishmesh", "order", mine), nil, ""},
		{"in the namespace that a manifest needn't name", item("v1", "ConfigMap", "default", "plain", mine), nil, ""},
		{"of the whole cluster, with a namespace in the manifest", item("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "", "restricted", mine), nil, ""},
		{"gone", item("apps/v1", "Deployment", "dishmesh", "coupons", mine), []string{"deployments.apps coupons --ignore-not-found --wait=false --namespace dishmesh"}, ""},
		{"moved to another namespace", item("v1", "Service", "dishmesh-data", "order", mine), []string{"services order --ignore-not-found --wait=false --namespace dishmesh-data"}, ""},
		{"of the whole cluster", item("rbac.authorization.k8s.io/v1", "ClusterRole", "", "old", mine), []string{"clusterroles.rbac.authorization.k8s.io old --ignore-not-found --wait=false"}, ""},
		{"a rule of the mesh", item("security.istio.io/v1", "AuthorizationPolicy", "dishmesh", "coupons", mine), []string{"authorizationpolicies.security.istio.io coupons --ignore-not-found --wait=false --namespace dishmesh"}, ""},
		{"the same kind of another group", item("gateway.networking.k8s.io/v1", "Gateway", "dishmesh", "edge", mine), nil, "Gateway dishmesh/edge"},
		{"somebody else's", item("v1", account, "dishmesh", "x", `"managedFields":[{"manager":"kubectl-client-side-apply","operation":"Update"}]`), nil, ""},
		{"nobody's", item("v1", account, "dishmesh", "x", `"managedFields":[]`), nil, ""},
		{"changed by hand, never applied", item("v1", account, "dishmesh", "x", `"managedFields":[{"manager":"dishmesh","operation":"Update"}]`), nil, ""},
		{"somebody else wants it too", item("v1", account, "dishmesh", "x", `"managedFields":[{"manager":"dishmesh","operation":"Apply"},{"manager":"kustomize-controller","operation":"Apply"}]`), nil, ""},
		{"applied by hand since", item("v1", account, "dishmesh", "x", mine+`,"annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}"}`), nil, ""},
		{"Helm's by its manager", item("v1", account, "dishmesh", "x", `"managedFields":[{"manager":"dishmesh","operation":"Apply"},{"manager":"helm","operation":"Update"}]`), nil, ""},
		{"Helm's by its label", item("v1", account, "dishmesh", "x", mine+`,"labels":{"app.kubernetes.io/managed-by":"Helm"}`), nil, ""},
		{"Helm's by its annotation", item("v1", account, "dishmesh", "x", mine+`,"annotations":{"meta.helm.sh/release-name":"dapr"}`), nil, ""},
		{"what `add` brought", item("apps/v1", "Deployment", "keda", "keda-operator", `"managedFields":[{"manager":"`+addManager+`","operation":"Apply"}]`), nil, ""},
		{"a canary", item("apps/v1", "Deployment", "dishmesh", "pricing-v2", mine+`,"labels":{"dishmesh/canary":"pricing"}`), nil, ""},
		{"a controller's", item("v1", "Service", "dishmesh", "order-dapr", mine+`,"ownerReferences":[{"name":"order"}]`), nil, ""},
		{"on its way out", item("v1", account, "dishmesh", "x", mine+`,"deletionTimestamp":"2026-01-01T00:00:00Z"`), nil, ""},
		{"a store", item("apps/v1", "StatefulSet", "dishmesh-data", "mongodb", mine), nil, "StatefulSet dishmesh-data/mongodb"},
		{"a claim", item("v1", "PersistentVolumeClaim", "dishmesh-data", "data-mongodb-0", mine), nil, "PersistentVolumeClaim dishmesh-data/data-mongodb-0"},
		{"a volume", item("v1", "PersistentVolume", "", "mongodb", mine), nil, "PersistentVolume mongodb"},
		{"a namespace", item("v1", "Namespace", "", "dishmesh-old", mine), nil, "Namespace dishmesh-old"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, run := newFake(t, fakeMachine{}, answers{"kubectl get": `{"items":[` + c.item + `]}`, "kubectl delete": ""})
			cl.overlays = manifestsOf()
			did, err := cl.stepPrune(t.Context())
			checkError(t, err, "")
			if diff := cmp.Diff(c.want, deletes(run)); diff != "" || (did == "") != (len(c.want) == 0) {
				t.Errorf("did %q (-want +got):\n%s", did, diff)
			}
			notes := strings.Join(cl.report.(*quiet).notes, "\n")
			if c.note == "" && notes != "" || !strings.Contains(notes, c.note) {
				t.Errorf("notes %q, want %q", notes, c.note)
			}
		})
	}
}

// What can't be looked at, or is half there, removes nothing.
func TestPruneFails(t *testing.T) {
	all := `{"items":[` + item("v1", "ServiceAccount", "dishmesh", "x", `"managedFields":[{"manager":"dishmesh","operation":"Apply"}]`) + `]}`
	for _, c := range []struct {
		name    string
		answers answers
		change  func(map[string][]byte)
		want    string
		deleted int
	}{
		{"no manifests", answers{"kubectl get": all, "kubectl delete": ""}, func(m map[string][]byte) { clear(m) }, "kind/manifests has no resources", 0},
		{"an empty folder", answers{"kubectl get": all, "kubectl delete": ""}, func(m map[string][]byte) { m[meshFolder] = []byte("\n") }, "mesh has no resources", 0},
		{"no answer", answers{"kubectl get": "!connection refused"}, nil, "look for what left the manifests: kubectl get", 0},
		{"nonsense", answers{"kubectl get": "No resources"}, nil, "read what is in the cluster", 0},
		{"not allowed", answers{"kubectl get": all, "kubectl delete": "!forbidden"}, nil, "remove ServiceAccount dishmesh/x, which is no longer in the manifests", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, run := newFake(t, fakeMachine{}, c.answers)
			cl.overlays = manifestsOf()
			if c.change != nil {
				c.change(cl.overlays)
			}
			_, err := cl.stepPrune(t.Context())
			checkError(t, err, c.want)
			if got := deletes(run); len(got) != c.deleted {
				t.Errorf("ran %q", got)
			}
		})
	}
}

// A kind that a manifest has and neither list names would stay for ever, unseen; one that holds data must not be in the first.
func TestEveryKindIsPrunedOrKept(t *testing.T) {
	for _, r := range kept() {
		if slices.Contains(pruned(), r) {
			t.Errorf("%s is removed and kept", r)
		}
	}
	for _, r := range []string{"secrets", "pods", "namespaces", "persistentvolumeclaims", "persistentvolumes", "statefulsets.apps", "jobs.batch", "customresourcedefinitions.apiextensions.k8s.io"} {
		if slices.Contains(pruned(), r) {
			t.Errorf("%s are removed", r)
		}
	}
	// What is for Helm, kind, KEDA or Flux, or never reaches a cluster.
	others := []string{"kustomize.config.k8s.io", "kind.x-k8s.io", "keda.sh", "source.toolkit.fluxcd.io", "kustomize.toolkit.fluxcd.io"}
	seen := 0
	for _, folder := range []string{"k8s", "mesh", kindManifests, "components"} {
		err := filepath.WalkDir(filepath.Join("../../..", folder), func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || filepath.Ext(name) != ".yaml" {
				return err
			}
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			for doc := range strings.SplitSeq("\n"+string(b), "\n---\n") {
				var o thing
				if err := yaml.Unmarshal([]byte(doc), &o); err != nil || o.APIVersion == "" || slices.Contains(others, o.group()) {
					continue // a patch, or values
				}
				seen++
				if _, ok := o.resource(slices.Concat(pruned(), kept())); !ok {
					t.Errorf("%s: %s %s is in neither list", name, o.APIVersion, o.Kind)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 100 {
		t.Errorf("%d resources seen", seen)
	}
}
