package manifest_test

import (
	"io/fs"
	"os"
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
	overlay    = "k8s/overlays/kind"
	production = "k8s/overlays/production"
	mesh       = "mesh"
	// addition is built with the manifests of a module laid beside it (`dishmesh cluster add keda`).
	addition = "kind/keda"
)

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
	folders, components, violations := manifest.Kustomizations(top, files, use)
	report(t, violations)
	folders = slices.DeleteFunc(folders, func(folder string) bool { return folder == addition }) // see TestAddition
	// An overlay is applied, also if another stands on it.
	overlays, err := fs.Glob(top, path.Dir(overlay)+"/*/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range overlays {
		if folder := path.Dir(file); !slices.Contains(folders, folder) {
			folders = append(folders, folder)
		}
	}
	folders = append(folders, mesh) // so are the mesh's rules, which production takes in
	if !slices.Contains(folders, overlay) || !slices.Contains(folders, production) {
		t.Fatalf("%s and %s are not among %v", overlay, production, folders)
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

// made once, because building them is most of the time that these tests take.
var (
	statesOnce sync.Once
	statesMade []state
)

// states are the overlays by themselves, and the one of this machine with each component that it does not have, with each
// canary, and with each file of mesh/ that is applied by hand.
func states(t *testing.T) []state {
	t.Helper()
	statesOnce.Do(func() { statesMade = makeStates(t) })
	if len(statesMade) == 0 {
		t.Fatal("nothing was built, as TestKustomizationsBuild says")
	}
	return statesMade
}

func makeStates(t *testing.T) []state {
	rules := built(t, mesh).objects
	var out []state
	folders, components := kustomizations(t)
	for _, folder := range folders {
		switch {
		case folder == production: // it has the mesh's rules in it
			out = append(out, state{folder, built(t, folder).objects})
		case path.Dir(folder) == path.Dir(overlay):
			out = append(out, state{folder, slices.Concat(built(t, folder).objects, rules)})
		}
	}
	for _, component := range components {
		objects, _ := loadSchema(t).BuildWith(root(t), overlay, component)
		out = append(out, state{component, slices.Concat(objects, rules, others(t, component))})
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
		if strings.HasPrefix(file, mesh+"/") && !inKustomization(top, file) && use(file) == manifest.Resources {
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

// others is what a component wants to find in the cluster, as its own chart makes it.
func others(t *testing.T, component string) []manifest.Object {
	t.Helper()
	if component != "k8s/components/autoscaling-by-lag" {
		return nil
	}
	objects, violations := loadSchema(t).Load("keda", []byte(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: keda-operator, namespace: keda}
spec:
  selector: {matchLabels: {app: keda-operator}}
  template:
    metadata: {labels: {app: keda-operator}}
    spec:
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: keda-operator
          image: ghcr.io/kedacore/keda:2.21.0
          resources: {requests: {cpu: 1m, memory: 1Mi}, limits: {memory: 1Mi}}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`))
	report(t, violations)
	return objects
}

// inKustomization tells whether a file lies beside a kustomization.
func inKustomization(top fs.FS, file string) bool {
	_, err := fs.Stat(top, path.Join(path.Dir(file), "kustomization.yaml"))
	return err == nil
}

// each holds every state to a rule. What is wrong in the overlay itself is wrong in all that is laid over it, and told once.
func each(t *testing.T, rule func(s state) []string) {
	t.Helper()
	told := map[string]bool{}
	for _, s := range states(t) {
		t.Run(s.name, func(t *testing.T) {
			for _, v := range rule(s) {
				_, what, _ := strings.Cut(v, ": ")
				if !told[what] {
					told[what] = true
					t.Error(v)
				}
			}
		})
	}
}

func TestServices(t *testing.T) {
	each(t, func(s state) []string { return manifest.Services(s.objects) })
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
	each(t, func(s state) []string { return manifest.References(s.objects, names) })
}

func TestAddresses(t *testing.T) {
	each(t, func(s state) []string { return manifest.Addresses(s.objects) })
}

func TestPods(t *testing.T) {
	// A folder of the node belongs to root at first; own gives it away.
	exempt := []string{"dishmesh-data/kafka/own", "dishmesh-data/redis/own", "dishmesh-data/postgres/own", "dishmesh-city/city/own"}
	each(t, func(s state) []string {
		return slices.Concat(manifest.Images(s.objects), manifest.Restricted(s.objects, exempt...), manifest.Secrets(s.objects), manifest.Probes(s.objects))
	})
}

// TestAddition builds KEDA as `dishmesh cluster add` does, and wants the images that kind/offline makes.
func TestAddition(t *testing.T) {
	dirs, err := modules()
	if err != nil {
		t.Fatal(err)
	}
	laid := t.TempDir()
	for to, from := range map[string]string{"keda": filepath.Join(root(t), addition), "keda/upstream": filepath.Join(dirs["github.com/kedacore/keda/v2"], "config")} {
		if err := os.CopyFS(filepath.Join(laid, to), os.DirFS(from)); err != nil {
			t.Fatal(err)
		}
	}
	objects, _ := loadSchema(t).Build(laid, "keda") // strictness about them is upstream's
	report(t, manifest.Listed(objects, brought(t)))
	workloads := 0
	for _, o := range objects {
		if o.Kind == "Deployment" {
			workloads++
		}
	}
	if workloads != 2 {
		t.Errorf("%d Deployments, want operator and adapter", workloads)
	}
}

// TestImagesAreBrought compares with the list that `dishmesh cluster up` goes by.
func TestImagesAreBrought(t *testing.T) {
	list := brought(t)
	each(t, func(s state) []string {
		if s.name == production { // with a registry
			return nil
		}
		return manifest.Listed(s.objects, list)
	})
}

// brought are the images of kind/images.txt.
func brought(t *testing.T) (list []string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root(t), "kind", "images.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if name, tag, ok := strings.Cut(strings.TrimSpace(line), " "); ok && !strings.HasPrefix(line, "#") {
			list = append(list, name+":"+strings.Fields(tag)[0])
		}
	}
	return list
}

func TestNetworkPoliciesFollowTheMap(t *testing.T) {
	each(t, func(s state) []string { return manifest.Reach(s.objects, declared(s)) })
}

// declared is the map as it is in a state: what an overlay or a component changes of it is said here.
func declared(s state) []communication.Connection {
	all := communication.Connections()
	var redis, kafka communication.Place
	for _, c := range communication.Data() {
		switch c.To.Name {
		case "redis":
			redis = c.To
		case "kafka":
			kafka = c.To
		}
	}
	switch s.name {
	case production:
		return outside(all)
	case "k8s/overlays/kind-redis", "k8s/components/broker-redis":
		for _, service := range communication.Services() {
			all = append(all, communication.Connection{From: service, To: redis, Why: "events"})
		}
	case "k8s/overlays/kind-observability":
		all = append(all, communication.Telemetry()...)
	case "k8s/components/autoscaling-by-lag":
		all = append(all, communication.Connection{From: "keda-operator", To: kafka, Why: "how far groups are"})
	}
	return all
}
