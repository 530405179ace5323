package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// checkedOut puts into the fake's checkout and offline set what says a version, as it should be.
func checkedOut(t *testing.T, c *Cluster) {
	t.Helper()
	put := func(dir, file, text string) {
		t.Helper()
		name := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		write(t, name, []byte(text))
	}
	c.set = t.TempDir()
	for _, p := range planes() {
		put(c.cfg.Home, p.folder+"/go.mod", "module x\n\nrequire (\n\texample.net/"+p.path+" v9.9.9\n\t"+p.path+" "+p.moduleVersion+"\n)\n")
		put(c.cfg.Home, p.values, "global: {tag: \""+p.version+"\"}\n")
		for _, name := range p.charts {
			put(c.set, "charts/"+name+"/Chart.yaml", "name: "+name+"\nversion: "+p.unstamped+"\n")
		}
	}
}

func TestCharts(t *testing.T) {
	for _, c := range []struct {
		name  string
		file  func(*Cluster) string
		text  string
		want  []string
		alone bool // nothing else is wrong then
	}{
		{name: "as pinned"},
		{"a release's own chart", chartFile("dapr"), "name: dapr\nversion: v" + DaprVersion, nil, true},
		{"an older chart", chartFile("dapr"), "name: dapr\nversion: 1.17.3", []string{"is dapr 1.17.3, and dapr of Dapr " + DaprVersion + " is needed: remove its folder"}, true},
		{"a newer chart of Istio", chartFile("gateway"), "name: gateway\nversion: 1.32.0", []string{"is gateway 1.32.0, and gateway of Istio " + IstioVersion}, true},
		{"another chart", chartFile("base"), "name: ztunnel\nversion: " + IstioVersion, []string{"is ztunnel " + IstioVersion + ", and base of Istio"}, true},
		{"no chart", chartFile("istiod"), "", []string{"there is no chart istiod in ", "compare kind/offline/modules with git"}, true},
		{"a broken chart", chartFile("istiod"), "name: [", []string{"the chart istiod in ", "can't be read", "remove its folder"}, true},
		{"another tag of Dapr's images", homeFile("kind/values/dapr.yaml"), "global: {tag: 1.17.0}", []string{`kind/values/dapr.yaml has global.tag "1.17.0", and the charts are those of Dapr ` + DaprVersion + ": set it to that"}, true},
		{"no tag of Istio's images", homeFile("kind/values/istiod.yaml"), "global: {hub: docker.io/istio}", []string{`kind/values/istiod.yaml has global.tag "", and the charts are those of Istio ` + IstioVersion}, true},
		{"broken values", homeFile("kind/values/dapr.yaml"), "global: {", []string{"kind/values/dapr.yaml: "}, true},
		{"a checkout of another Dapr", homeFile("components/runtime/go.mod"), "module x\nrequire github.com/dapr/dapr v1.17.0\n",
			[]string{"components/runtime/go.mod pins v1.17.0 of github.com/dapr/dapr, and this dishmesh installs Dapr " + DaprVersion, "`make tool`"}, true},
		{"a checkout without Istio", homeFile("kind/offline/modules/istio/go.mod"), "module x\n", []string{"kind/offline/modules/istio/go.mod pins nothing of istio.io/istio"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, run := newFake(t, fakeMachine{}, nil)
			checkedOut(t, cl)
			if c.file != nil {
				if c.text == "" {
					if err := os.Remove(c.file(cl)); err != nil {
						t.Fatal(err)
					}
				} else {
					write(t, c.file(cl), []byte(c.text))
				}
			}
			_, err := cl.stepCharts(t.Context())
			if len(c.want) == 0 {
				checkError(t, err, "")
			}
			for _, want := range c.want {
				checkError(t, err, want)
			}
			if err != nil && c.alone && strings.Count(err.Error(), "\n") > 1 {
				t.Errorf("not in a line: %v", err)
			}
			if len(run.ran) > 0 {
				t.Errorf("ran %q", run.ran)
			}
		})
	}
}

func chartFile(name string) func(*Cluster) string {
	return func(c *Cluster) string { return filepath.Join(c.set, "charts", name, "Chart.yaml") }
}

func homeFile(name string) func(*Cluster) string {
	return func(c *Cluster) string { return filepath.Join(c.cfg.Home, name) }
}

// All that is wrong is said at once, before anything is made.
func TestChartsTogether(t *testing.T) {
	cl, _ := newFake(t, fakeMachine{}, nil)
	checkedOut(t, cl)
	write(t, chartFile("dapr")(cl), []byte("name: dapr\nversion: 1.17.3"))
	write(t, homeFile("kind/values/istiod.yaml")(cl), []byte("global: {tag: 1.30.0}"))
	_, err := cl.stepCharts(t.Context())
	checkError(t, err, "is dapr 1.17.3")
	checkError(t, err, `kind/values/istiod.yaml has global.tag "1.30.0"`)
}

func TestInstalledVersions(t *testing.T) {
	deployment := func(app, image, release, namespace string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":%q,"labels":{"app":%q},"annotations":{"meta.helm.sh/release-name":%q,"meta.helm.sh/release-namespace":%[2]q}},"spec":{"template":{"spec":{"containers":[{"image":%[5]q}]}}}}`,
			app, namespace, app, release, image)
	}
	dapr := func(tag string) string {
		return deployment("dapr-operator", "ghcr.io/dapr/operator:"+tag, "dapr", namespaceDapr)
	}
	istio := func(tag string) string {
		return deployment("istiod", "docker.io/istio/pilot:"+tag, "istiod", namespaceIstio)
	}
	v, err := parseVersion(DaprVersion)
	if err != nil {
		t.Fatal(err)
	}
	older := version{v.major, v.minor - 1, 9}.String()
	i, err := parseVersion(IstioVersion)
	if err != nil || i.patch == 0 {
		t.Fatalf("Istio %s has no patch before it: %v", IstioVersion, err)
	}
	for _, c := range []struct {
		name  string
		items []string
		want  string
	}{
		{"a new cluster", nil, ""},
		{"the same", []string{dapr(DaprVersion), istio(IstioVersion)}, ""},
		{"the same, by digest", []string{dapr(DaprVersion + "@sha256:0123")}, ""},
		{"one patch ago", []string{istio(version{i.major, i.minor, i.patch - 1}.String())}, ""},
		{"one patch ahead", []string{istio(version{i.major, i.minor, i.patch + 1}.String())}, "and this checkout is for " + IstioVersion},
		{"an older one", []string{dapr(older), istio(IstioVersion)}, "the cluster has Dapr " + older + " and this checkout is for " + DaprVersion + ", which can't be put over it: run `dishmesh cluster down` first"},
		{"a newer one", []string{istio("2.0.0")}, "the cluster has Istio 2.0.0 and this checkout is for " + IstioVersion},
		{"no version", []string{dapr("edge")}, "the cluster has Dapr edge and this checkout"},
		{"no tag", []string{deployment("istiod", "registry:5000/istio/pilot", "istiod", namespaceIstio)}, "the cluster has Istio without a tag"},
		{"somebody else's", []string{deployment("dapr-operator", "ghcr.io/dapr/operator:"+DaprVersion, "dapr", "default")}, "the cluster has Dapr in the namespace default that `dishmesh cluster up` did not install: remove it"},
		{"not by Helm", []string{deployment("istiod", "docker.io/istio/pilot:"+IstioVersion, "", namespaceIstio)}, "the cluster has Istio in the namespace istio-system that"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, run := newFake(t, fakeMachine{}, answers{"kubectl get deployments --all-namespaces": `{"items":[` + strings.Join(c.items, ",") + `]}`})
			_, err := cl.stepVersions(t.Context())
			checkError(t, err, c.want)
			if len(run.ran) != 1 { // it looks, and changes nothing
				t.Errorf("ran %q", run.ran)
			}
		})
	}
	cl, _ := newFake(t, fakeMachine{}, answers{"kubectl get deployments": "!connection refused"})
	_, err = cl.stepVersions(t.Context())
	checkError(t, err, "look for control planes")
}

// A version that doesn't match is found before anything is made of it, or changed by it.
func TestVersionsBeforeChanges(t *testing.T) {
	at := func(name string) int {
		i := slices.IndexFunc(steps(), func(s step) bool { return s.name == name })
		if i < 0 {
			t.Fatalf("there is no step %q", name)
		}
		return i
	}
	if at("charts") < at("tools") || at("charts") > at("build") || at("versions") != at("node")+1 {
		t.Errorf("charts is step %d, versions %d", at("charts"), at("versions"))
	}
}
