package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// plane is a control plane that charts install, and everything that says which version of it that is.
type plane struct {
	name, version string
	// charts come out of one module: in folder its go.mod, which must require exactly moduleVersion of path.
	charts                      []string
	folder, path, moduleVersion string
	// unstamped is the version that the charts have in the project's sources; a release of it carries its own.
	unstamped string
	// values is the file that names the tag of the images.
	values string
	// app is the label of the Deployment by which a cluster that has the plane is known, release what installed it.
	app     string
	release release
}

func planes() []plane {
	all := controlPlanes()
	return []plane{
		{name: "Dapr", version: DaprVersion, charts: []string{"dapr"}, folder: runtimeModule, path: "github.com/dapr/dapr", moduleVersion: "v" + DaprVersion,
			unstamped: "0.0.0", values: valuesFolder + "/dapr.yaml", app: "dapr-operator", release: all[0]},
		{name: "Istio", version: IstioVersion, charts: []string{"base", "istiod", "gateway"}, folder: modulesFolder + "/istio", path: "istio.io/istio", moduleVersion: istioModule,
			unstamped: "1.0.0", values: valuesFolder + "/istiod.yaml", app: "istiod", release: all[2]},
	}
}

// stepCharts holds that modules, values and charts are of the versions that this program is for, before anything is made.
func (c *Cluster) stepCharts(ctx context.Context) (string, error) {
	var wrong []error
	for _, p := range planes() {
		if err := c.checkModule(p); err != nil {
			wrong = append(wrong, err)
			continue // its charts are of that version too
		}
		if err := c.checkValues(p); err != nil {
			wrong = append(wrong, err)
		}
		for _, name := range p.charts {
			dir, err := c.chart(ctx, name)
			if err == nil {
				err = checkChart(dir, name, p)
			}
			if ctx.Err() != nil {
				return "", context.Cause(ctx)
			}
			if err != nil {
				wrong = append(wrong, err)
			}
		}
	}
	return "", errors.Join(wrong...)
}

// checkModule compares the module that the charts come with. It differs where this program was built from another checkout.
func (c *Cluster) checkModule(p plane) error {
	file := filepath.Join(p.folder, "go.mod")
	b, err := os.ReadFile(filepath.Join(c.cfg.Home, file))
	if err != nil {
		return fmt.Errorf("which version of %s is pinned can't be read: %w; run `git status` there", p.name, err)
	}
	m := regexp.MustCompile(`(?m)^(?:require)?\s*` + regexp.QuoteMeta(p.path) + `\s+(\S+)`).FindSubmatch(b)
	got := "nothing"
	if m != nil {
		got = string(m[1])
	}
	if got != p.moduleVersion {
		return fmt.Errorf("%s pins %s of %s, and this dishmesh installs %s %s (%s): build it anew from this checkout with `make tool`, or compare the file with git",
			file, got, p.path, p.name, p.version, p.moduleVersion)
	}
	return nil
}

// checkValues compares the tag of the images with what the charts are for.
func (c *Cluster) checkValues(p plane) error {
	b, err := os.ReadFile(filepath.Join(c.cfg.Home, p.values))
	if err != nil {
		return fmt.Errorf("the values of %s can't be read: %w; run `git status` there", p.name, err)
	}
	var values struct{ Global struct{ Tag string } }
	if err := yaml.Unmarshal(b, &values); err != nil {
		return fmt.Errorf("%s: %w", p.values, err)
	}
	if got := values.Global.Tag; got != p.version {
		return fmt.Errorf("%s has global.tag %q, and the charts are those of %s %s: set it to that, or change all that `dishmesh` knows of the version (kind/README.md)",
			p.values, got, p.name, p.version)
	}
	return nil
}

// checkChart looks at what a chart says of itself.
func checkChart(dir, name string, p plane) error {
	const mend = "remove its folder, and it is fetched or built anew"
	b, err := os.ReadFile(filepath.Join(dir, "Chart.yaml"))
	if err != nil {
		return fmt.Errorf("there is no chart %s in %s: compare kind/offline/modules with git, or %s", name, dir, mend)
	}
	var chart struct{ Name, Version string }
	if err := yaml.Unmarshal(b, &chart); err != nil {
		return fmt.Errorf("the chart %s in %s can't be read: %w; %s", name, dir, err, mend)
	}
	version := strings.TrimPrefix(chart.Version, "v")
	if chart.Name != name || version != p.version && version != p.unstamped {
		return fmt.Errorf("the chart in %s is %s %s, and %s of %s %s is needed: %s", dir, chart.Name, chart.Version, name, p.name, p.version, mend)
	}
	return nil
}

// stepVersions holds that what a cluster has already can become what this program installs, before anything in it is changed.
// Helm leaves the definitions of a chart's resources as they are (crds/), and neither project goes back or takes two steps at
// once: only a patch forward is put over what is there.
func (c *Cluster) stepVersions(ctx context.Context) (string, error) {
	var apps []string
	for _, p := range planes() {
		apps = append(apps, p.app)
	}
	out, err := c.kubectl(ctx, "get", "deployments", "--all-namespaces", "--selector", "app in ("+strings.Join(apps, ",")+")", "--output", "json")
	if err != nil {
		return "", fmt.Errorf("look for control planes: %w", err)
	}
	var there struct{ Items []deployed }
	if err := json.Unmarshal(out, &there); err != nil {
		return "", fmt.Errorf("read what is in the cluster: %w", err)
	}
	var wrong []error
	for _, p := range planes() {
		for _, d := range there.Items {
			if d.Metadata.Labels["app"] == p.app {
				wrong = append(wrong, d.check(p))
			}
		}
	}
	return "", errors.Join(wrong...)
}

// deployed is a Deployment of a control plane.
type deployed struct {
	Metadata struct {
		Name, Namespace     string
		Labels, Annotations map[string]string
	}
	Spec struct {
		Template struct {
			Spec struct{ Containers []struct{ Image string } }
		}
	}
}

func (d deployed) check(p plane) error {
	a := d.Metadata.Annotations
	if a["meta.helm.sh/release-name"] != p.release.name || a["meta.helm.sh/release-namespace"] != p.release.namespace {
		return fmt.Errorf("the cluster has %s in the namespace %s that `dishmesh cluster up` did not install: remove it, or run `dishmesh cluster down` first", p.name, d.Metadata.Namespace)
	}
	tag := ""
	if containers := d.Spec.Template.Spec.Containers; len(containers) > 0 {
		tag = imageTag(containers[0].Image)
	}
	want, err := parseVersion(p.version)
	if err != nil {
		return err
	}
	got, err := parseVersion(tag)
	if err != nil || got.major != want.major || got.minor != want.minor || want.less(got) {
		return fmt.Errorf("the cluster has %s %s and this checkout is for %s, which can't be put over it: run `dishmesh cluster down` first, or use the checkout that made the cluster",
			p.name, tag, p.version)
	}
	return nil
}

// imageTag is the tag of an image's name, without a digest.
func imageTag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndex(image, ":"); i > strings.LastIndex(image, "/") {
		return image[i+1:]
	}
	return "without a tag"
}
