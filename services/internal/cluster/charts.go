package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dishmesh/dishmesh/services/internal/cluster/tool"
)

// release is one Helm chart that is installed.
type release struct {
	name, namespace, chart string
	// values are files below the checkout, the later over the earlier. An overlay of the same name in
	// kind/offline/values comes last where images are built here.
	values []string
}

// controlPlanes are installed before anything that they inject into.
func controlPlanes() []release {
	return []release{
		{name: "dapr", namespace: namespaceDapr, chart: "dapr", values: []string{valuesFolder + "/dapr.yaml"}},
		{name: "istio-base", namespace: namespaceIstio, chart: "base", values: []string{valuesFolder + "/istio-base.yaml"}},
		{name: "istiod", namespace: namespaceIstio, chart: "istiod", values: []string{meshFolder + "/mesh-config.yaml", valuesFolder + "/istiod.yaml"}},
	}
}

// ingress is installed by istiod's injection, so it comes after.
func ingress() release {
	return release{name: "ingress", namespace: NamespaceIngress, chart: "gateway", values: []string{valuesFolder + "/ingress.yaml"}}
}

// stepControlPlanes installs Dapr and Istio and waits until their webhooks answer.
func (c *Cluster) stepControlPlanes(ctx context.Context) (string, error) {
	var did []string
	for _, r := range controlPlanes() {
		c.report.Progress(r.name)
		changed, err := c.install(ctx, r)
		if err != nil {
			return "", err
		}
		if changed {
			did = append(did, r.name)
		}
	}
	return strings.Join(did, ", "), c.waitReady(ctx, namespaceDapr, namespaceIstio)
}

// stepIngress installs the ingress gateway.
func (c *Cluster) stepIngress(ctx context.Context) (string, error) {
	changed, err := c.install(ctx, ingress())
	if err != nil || !changed {
		return "", err
	}
	return "installed", nil
}

// install brings a release to what chart and values say; one that is so already is left alone.
func (c *Cluster) install(ctx context.Context, r release) (changed bool, err error) {
	chart, err := c.chart(ctx, r.chart)
	if err != nil {
		return false, err
	}
	args := []string{"upgrade", "--install", r.name, chart, "--namespace", r.namespace, "--create-namespace"}
	h := sha256.New()
	fmt.Fprintln(h, chartID(chart))
	for _, file := range c.valuesOf(r) {
		b, err := os.ReadFile(file)
		if err != nil {
			return false, err
		}
		h.Write(b)
		args = append(args, "--values", file)
	}
	inputs := "made from " + hex.EncodeToString(h.Sum(nil))[:16]
	if c.released(ctx, r) == inputs {
		return false, nil
	}
	_, err = c.run.Run(ctx, tool.Command{Name: "helm", Args: append(args, "--description", inputs, "--timeout", "3m")})
	if err != nil {
		return false, fmt.Errorf("install %s: %w", r.name, err)
	}
	return true, nil
}

// chartID names the chart's very content: the module's folder carries its version, the offline set's its digest.
func chartID(chart string) string {
	if real, err := filepath.EvalSymlinks(chart); err == nil {
		return real
	}
	return chart
}

func (c *Cluster) valuesOf(r release) []string {
	var files []string
	for _, f := range r.values {
		files = append(files, filepath.Join(c.cfg.Home, f))
	}
	overlay := filepath.Join(c.cfg.Home, offlineValues, r.chart+".yaml")
	if c.source == SourceOffline && exists(overlay) {
		files = append(files, overlay)
	}
	return files
}

// released is the description of a deployed release, empty for none or one that failed.
func (c *Cluster) released(ctx context.Context, r release) string {
	out, err := c.run.Run(ctx, tool.Command{Name: "helm", Args: []string{"history", r.name, "--namespace", r.namespace, "--max", "1", "--output", "json"}})
	if err != nil {
		return ""
	}
	var history []struct{ Status, Description string }
	if err := json.Unmarshal(out, &history); err != nil || len(history) == 0 || history[len(history)-1].Status != "deployed" {
		return ""
	}
	return history[len(history)-1].Description
}
