package cluster

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/dishmesh/dishmesh/services/internal/platform"
)

func TestPinImages(t *testing.T) {
	const manifests = `apiVersion: apps/v1
kind: Deployment
metadata: {name: order}
spec:
  template:
    metadata:
      annotations: {dapr.io/enabled: "true"}
    spec:
      containers: [{name: order, image: "dishmesh/order:dev"}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: redis}
spec:
  template:
    spec:
      initContainers: [{name: own, image: "dishmesh/dishmesh:dev"}]
      containers: [{name: redis, image: "redis:7"}]
---
apiVersion: v1
kind: Service
metadata: {name: order}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: city}
spec:
  template:
    spec:
      containers: [{name: city, image: "dishmesh/dishmesh:dev"}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: foreign}
spec:
  template:
    spec:
      containers: [{name: x, image: "x:1"}]
`
	out, err := pinImages([]byte(manifests), map[string]string{"dishmesh/order:dev": "aa", "dishmesh/daprd:" + DaprVersion: "bb", "dishmesh/dishmesh:dev": "cc"})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	docs := strings.Split(strings.TrimSuffix(string(out), "\n---\n"), "\n---\n")
	for _, doc := range docs {
		var o struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     struct {
				Template struct {
					Metadata struct{ Annotations map[string]string }
				}
			}
		}
		if err := yaml.Unmarshal([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		if pin := o.Spec.Template.Metadata.Annotations[imageAnnotation]; pin != "" {
			got[o.Metadata.Name] = pin
		}
	}
	want := map[string]string{"order": "order:dev@aa daprd:" + DaprVersion + "@bb", "city": "dishmesh:dev@cc"}
	if diff := cmp.Diff(want, got); diff != "" || len(docs) != 5 {
		t.Errorf("%d documents (-want +got):\n%s", len(docs), diff)
	}
}

func TestSecrets(t *testing.T) {
	l := Layout{Dir: t.TempDir()}
	ca, ingress, _, err := l.ensureCertificates(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	apps := platform.Apps()
	all, err := seed("a").secrets(apps, ca, ingress)
	if err != nil {
		t.Fatal(err)
	}
	again, err := seed("a").secrets(apps, ca, ingress)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all, again, cmp.AllowUnexported(secret{})); diff != "" {
		t.Errorf("the same seed gave other values:\n%s", diff)
	}
	at := map[string]map[string][]byte{}
	for _, s := range all {
		key := s.namespace + "/" + s.name
		if at[key] != nil {
			t.Errorf("%s twice", key)
		}
		at[key] = s.data
	}
	for _, same := range [][4]string{
		{"dishmesh/order-credentials", "kafka", "dishmesh-data/kafka-users", "order"},
		{"dishmesh/menu-credentials", "redis", "dishmesh-data/redis-users", "menu"},
		{"dishmesh/user-credentials", "postgres", "dishmesh-data/postgres-users", "user"},
		{"dishmesh/payment-acquirer", "api-key", "dishmesh-city/city", "acquirer-api-key"},
		{"dishmesh/user-accounts", "accounts.json", "dishmesh-city/city", "accounts.json"},
	} {
		a, b := at[same[0]][same[1]], at[same[2]][same[3]]
		if len(a) < 32 || string(a) != string(b) {
			t.Errorf("%v: %d and %d bytes that should be the same", same, len(a), len(b))
		}
	}
	// Everybody has a password of his own, of characters that need no quoting.
	seen := map[string]string{}
	for _, app := range append(apps, "admin") {
		for _, server := range servers {
			v := string(at["dishmesh-data/"+server+"-users"][app])
			if !regexp.MustCompile(`^[A-Za-z0-9_-]{32}$`).MatchString(v) || seen[v] != "" {
				t.Errorf("%s at %s: %q, also of %q", app, server, v, seen[v])
			}
			seen[v] = app + "@" + server
		}
	}
	// What KEDA is to ask Kafka with (https://keda.sh/docs/latest/concepts/authentication).
	for _, app := range []string{"analytics", "notification"} {
		file := filepath.Join("../../..", "k8s/components/autoscaling-by-lag", app+".yaml")
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, second, _ := strings.Cut(string(b), "\n---\n")
		var auth struct {
			Kind string
			Spec struct {
				SecretTargetRef []struct{ Parameter, Name, Key string }
			}
		}
		if err := yaml.Unmarshal([]byte(second), &auth); err != nil || auth.Kind != "TriggerAuthentication" || len(auth.Spec.SecretTargetRef) != 2 {
			t.Fatalf("%s: %+v, %v, want a TriggerAuthentication of user and password", file, auth, err)
		}
		for _, ref := range auth.Spec.SecretTargetRef {
			if len(at["dishmesh/"+ref.Name][ref.Key]) == 0 {
				t.Errorf("%s: %s is %s of the secret %s, which has none", file, ref.Parameter, ref.Key, ref.Name)
			}
		}
	}
	var accounts []platform.Account
	if err := json.Unmarshal(at["dishmesh/user-accounts"]["accounts.json"], &accounts); err != nil || len(accounts) != 37 {
		t.Errorf("%d accounts, %v", len(accounts), err)
	}
}

func TestWorkloads(t *testing.T) {
	const list = `{"items":[
	{"kind":"Deployment","metadata":{"name":"order","namespace":"dishmesh","generation":2},"spec":{"replicas":2},"status":{"observedGeneration":2,"replicas":2,"updatedReplicas":2,"availableReplicas":2}},
	{"kind":"Deployment","metadata":{"name":"menu","namespace":"dishmesh","generation":2},"spec":{"replicas":2},"status":{"observedGeneration":1,"replicas":2,"updatedReplicas":2,"availableReplicas":2}},
	{"kind":"Deployment","metadata":{"name":"user","namespace":"dishmesh","generation":1},"spec":{"replicas":2},"status":{"observedGeneration":1,"replicas":3,"updatedReplicas":2,"availableReplicas":3}},
	{"kind":"StatefulSet","metadata":{"name":"kafka","namespace":"dishmesh-data","generation":1},"spec":{"replicas":1},"status":{"observedGeneration":1,"replicas":1,"readyReplicas":1,"currentRevision":"a","updateRevision":"a"}},
	{"kind":"StatefulSet","metadata":{"name":"redis","namespace":"dishmesh-data","generation":1},"spec":{"replicas":1},"status":{"observedGeneration":1,"replicas":1}},
	{"kind":"DaemonSet","metadata":{"name":"kube-proxy","namespace":"kube-system","generation":1},"status":{"observedGeneration":1,"desiredNumberScheduled":1,"updatedNumberScheduled":1,"numberAvailable":1}}]}`
	all, err := parseWorkloads([]byte(list))
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	var waiting []Workload
	for _, w := range all {
		got[w.Name] = w.IsReady()
		if !w.IsReady() {
			waiting = append(waiting, w)
		}
	}
	if diff := cmp.Diff(map[string]bool{"order": true, "menu": false, "user": false, "kafka": true, "redis": false, "kube-proxy": true}, got); diff != "" {
		t.Errorf("ready (-want +got):\n%s", diff)
	}
	if got, want := describe(all, waiting), "3 of 6 ready; waiting for menu 2/2, user 3/2, redis 0/1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestTrouble(t *testing.T) {
	const list = `{"items":[
	{"metadata":{"name":"a","namespace":"dishmesh","labels":{"controller-revision-hash":"a-1"}},"status":{"containerStatuses":[{"name":"app","state":{"waiting":{"reason":"ImagePullBackOff","message":"no such image"}}}]}},
	{"metadata":{"name":"b","namespace":"dishmesh"},"status":{"containerStatuses":[{"name":"app","restartCount":5,"state":{"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":1,"reason":"Error"}}}]}},
	{"metadata":{"name":"c","namespace":"dishmesh"},"status":{"containerStatuses":[{"name":"app","restartCount":1,"state":{"waiting":{"reason":"CrashLoopBackOff"}}}]}},
	{"metadata":{"name":"d","namespace":"dishmesh"},"status":{"conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"Insufficient cpu"}]}},
	{"metadata":{"name":"e","namespace":"dishmesh"},"status":{"initContainerStatuses":[{"name":"init","state":{"waiting":{"reason":"PodInitializing"}}}]}}]}`
	all, err := parseTrouble([]byte(list))
	if err != nil {
		t.Fatal(err)
	}
	want := []trouble{{"dishmesh/a", "app", "ImagePullBackOff", "no such image", "a-1"},
		{"dishmesh/b", "app", "CrashLoopBackOff", "it ended with 1 Error", ""}, {"dishmesh/d", "", "Unschedulable", "Insufficient cpu", ""}}
	if diff := cmp.Diff(want, all, cmp.AllowUnexported(trouble{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNodeImages(t *testing.T) {
	const table = `REF                          TYPE                                      DIGEST   SIZE      PLATFORMS   LABELS
docker.io/dishmesh/order:dev application/vnd.oci.image.manifest.v1+json sha256:1 14.5 MiB linux/amd64 dev.dishmesh.content=aa,io.cri-containerd.image=managed
docker.io/library/redis:7    application/vnd.oci.image.manifest.v1+json sha256:2 98.1 MiB linux/amd64 dev.dishmesh.content=bb
registry.k8s.io/pause:3.10   application/vnd.oci.image.manifest.v1+json sha256:3 1.0 MiB  linux/amd64 io.cri-containerd.image=managed
sha256:3                     application/vnd.oci.image.manifest.v1+json sha256:3 1.0 MiB  linux/amd64 -
`
	if diff := cmp.Diff(map[string]string{"dishmesh/order:dev": "aa", "redis:7": "bb"}, parseNodeImages(table)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReferences(t *testing.T) {
	for short, long := range map[string]string{"redis:7": "docker.io/library/redis:7", "dishmesh/order:dev": "docker.io/dishmesh/order:dev",
		"ghcr.io/dapr/sentry:1": "ghcr.io/dapr/sentry:1", "localhost:5000/x:1": "localhost:5000/x:1"} {
		if got := canonical(short); got != long {
			t.Errorf("canonical(%s) = %s, want %s", short, got, long)
		}
		if got := familiar(long); got != short {
			t.Errorf("familiar(%s) = %s, want %s", long, got, short)
		}
	}
}

// One version of everything: the tool's constants, the values of the charts, the pinned modules, the Dockerfile.
func TestVersionsAgree(t *testing.T) {
	for _, c := range []struct{ file, want string }{
		{"kind/values/dapr.yaml", `tag: "` + DaprVersion + `"`},
		{"kind/values/dapr.yaml", "name: dishmesh/daprd:" + DaprVersion},
		{"components/runtime/go.mod", "github.com/dapr/dapr v" + DaprVersion},
		{"kind/values/istiod.yaml", "tag: " + IstioVersion},
		{"kind/offline/modules/istio/go.mod", "istio.io/istio " + istioModule},
		{"services/internal/manifest/go.mod", "istio.io/istio " + istioModule},
		{"services/internal/manifest/go.mod", "github.com/dapr/dapr v" + DaprVersion},
		{"kind/offline/modules/kind/go.mod", "sigs.k8s.io/kind v" + KindVersion},
		{"kind/offline/modules/kubernetes/go.mod", "k8s.io/kubernetes v" + KubernetesVersion},
	} {
		b, err := os.ReadFile(filepath.Join("../../..", c.file))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(b), c.want) {
			t.Errorf("%s lacks %q", c.file, c.want)
		}
	}
}

// The names by which the steps, the needs and the ports are known are said once.
func TestStepsAreTold(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range steps() {
		if seen[s.name] || s.title == "" || s.do == nil {
			t.Errorf("step %q is told twice or not at all", s.name)
		}
		seen[s.name] = true
	}
}

// A broken pod of an older version of a StatefulSet is removed; one of the newest is given time, then reported.
func TestTroubleOfAnOlderVersion(t *testing.T) {
	const pods = `{"items":[{"metadata":{"name":"redis-0","namespace":"dishmesh-data","labels":{"controller-revision-hash":"redis-1"}},
	"status":{"containerStatuses":[{"name":"redis","state":{"waiting":{"reason":"ImagePullBackOff","message":"no such image"}}}]}}]}`
	for _, c := range []struct {
		newest  string
		deleted bool
		want    string
	}{{"redis-2", true, ""}, {"redis-1", false, "dishmesh-data/redis-0 redis: ImagePullBackOff no such image"}} {
		cl, run := newFake(t, fakeMachine{}, answers{"kubectl get pods": pods, "kubectl delete pod redis-0 --namespace dishmesh-data": ""})
		since := map[string]time.Time{"dishmesh-data/redis-0 redis": time.Now().Add(-hopeless)}
		err := cl.checkTrouble(t.Context(), []string{NamespaceData}, []string{c.newest}, since)
		checkError(t, err, c.want)
		if deleted := len(run.ran) == 2; deleted != c.deleted {
			t.Errorf("newest %s: ran %q", c.newest, run.ran)
		}
	}
}

// An Envoy whose clusters are taken away while it starts may wait for them for ever.
func TestRulesBeforeServices(t *testing.T) {
	at := func(name string) int {
		return slices.IndexFunc(steps(), func(s step) bool { return s.name == name })
	}
	if rules, services := at("rules"), at("services"); rules < 0 || rules > services {
		t.Errorf("the rules are step %d, the services %d", rules, services)
	}
}
