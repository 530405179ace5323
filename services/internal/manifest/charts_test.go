package manifest_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/manifest"
)

// charts say which chart a file of values is for; they come with the modules that go.mod pins.
var charts = []struct{ values, module, chart string }{
	{"kind/values/dapr.yaml", "github.com/dapr/dapr", "charts/dapr"},
	{"kind/values/istio-base.yaml", "istio.io/istio", "manifests/charts/base"},
	{"mesh/mesh-config.yaml", "istio.io/istio", "manifests/charts/istio-control/istio-discovery"},
	{"kind/values/istiod.yaml", "istio.io/istio", "manifests/charts/istio-control/istio-discovery"},
	{"kind/values/ingress.yaml", "istio.io/istio", "manifests/charts/gateway"},
	{"kind/offline/values/istiod.yaml", "istio.io/istio", "manifests/charts/istio-control/istio-discovery"},
	{"kind/offline/values/gateway.yaml", "istio.io/istio", "manifests/charts/gateway"},
}

func isValues(file string) bool {
	for _, c := range charts {
		if c.values == file {
			return true
		}
	}
	return false
}

func TestValuesAreTheCharts(t *testing.T) {
	top, files := yamlFiles(t)
	for _, file := range files {
		if filepath.Base(filepath.Dir(file)) == "values" && !isValues(file) {
			t.Errorf("%s: for which chart? Add it to charts in services/internal/manifest/charts_test.go", file)
		}
	}
	for _, c := range charts {
		docs, err := manifest.Read(top, c.values)
		if os.IsNotExist(err) && strings.HasPrefix(c.values, "kind/offline/") {
			continue
		}
		if err != nil {
			t.Error(err)
			continue
		}
		dirs, err := modules()
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range docs {
			report(t, manifest.Values(filepath.Join(dirs[c.module], c.chart), d))
		}
	}
}

// TestIstioIsTheInstalledOne: what is checked here and what is installed are of one version.
func TestIstioIsTheInstalledOne(t *testing.T) {
	const requirement = "istio.io/istio v"
	version := func(file string) string {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, after, _ := strings.Cut(string(raw), requirement)
		return strings.Fields(after + " -")[0]
	}
	if got, want := version("go.mod"), version(filepath.Join(root(t), "kind/offline/modules/istio/go.mod")); got != want {
		t.Errorf("this module reads Istio %s, the cluster runs %s", got, want)
	}
}

func TestWrongValuesAreRefused(t *testing.T) {
	chart := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		file := filepath.Join(chart, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("values.yaml", "_internal_defaults_do_not_set:\n  replicaCount: 1\n  global: {tag: x, proxy: {image: y}}\n  env: {}\n  meshConfig: {enablePrometheusMerge: true}\n")
	write("charts/part/values.yaml", "resources: {}\nlogLevel: info\n")
	for _, tt := range []struct{ name, values, want string }{
		{"right", "replicaCount: 2\nglobal: {proxy: {image: z}}\nenv: {ANY: thing}\npart: {resources: {limits: {cpu: 1}}}\n", ""},
		{"misspelt", "replicas: 2\n", "v.yaml:1: the chart has no value replicas"},
		{"misspelt below", "global:\n  proxy: {imge: z}\n", "v.yaml:2: the chart has no value global.proxy.imge"},
		{"misspelt in a chart of the chart", "part: {loglevel: debug}\n", "v.yaml:1: the chart has no value part.loglevel"},
		{"mesh config", "meshConfig: {defaultHttpRetryPolicy: {attempts: 0}}\n", ""},
		{"wrong mesh config", "meshConfig: {defaultRetryPolicy: {attempts: 0}}\n", `v.yaml:1: unknown field "defaultRetryPolicy"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			docs, err := manifest.Parse("v.yaml", []byte(tt.values))
			if err != nil {
				t.Fatal(err)
			}
			one(t, manifest.Values(chart, docs[0]), tt.want)
		})
	}
}
