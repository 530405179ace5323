// Package analysis asks Istio's own analysis, which is what "istioctl analyze" runs, about resources that no cluster has
// yet: whether routes lead somewhere, selectors select, policies can have an effect.
package analysis

import (
	"fmt"
	"io"
	"strings"

	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/diag"
	"istio.io/istio/pkg/config/analysis/local"
)

// Source is a text of resources and what it is called.
type Source struct {
	Name string
	YAML io.Reader
}

// Analyze returns what Istio has to say against the resources, from warnings on, one line each with Istio's code. They
// must be complete: a Service that is not among them does not exist. meshConfig is the file of istiod's settings, "" for
// Istio's defaults.
func Analyze(meshConfig string, sources ...Source) ([]string, error) {
	a := local.NewSourceAnalyzer(analyzers.AllCombined(), "", "istio-system", nil)
	if meshConfig != "" {
		if err := a.AddFileKubeMeshConfig(meshConfig); err != nil {
			return nil, err
		}
	}
	var readers []local.ReaderSource
	for _, s := range sources {
		readers = append(readers, local.ReaderSource{Name: s.Name, Reader: s.YAML})
	}
	// The variant "for tests" looks at Services, pods and namespaces too, which istioctl takes from the cluster.
	if err := a.AddTestReaderKubeSource(readers); err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	defer close(stop)
	result, err := a.Analyze(stop)
	if err != nil {
		return nil, err
	}
	if len(result.SkippedAnalyzers) > 0 {
		return nil, fmt.Errorf("these analyzers did not run: %v", result.SkippedAnalyzers)
	}
	var out []string
	for _, m := range result.Messages {
		if m.Type.Level().IsWorseThanOrEqualTo(diag.Warning) {
			out = append(out, strings.TrimSpace(fmt.Sprintf("%s %s: %s", m.Type.Code(), subject(m), fmt.Sprintf(m.Type.Template(), m.Parameters...))))
		}
	}
	return out, nil
}

func subject(m diag.Message) string {
	if m.Resource == nil || m.Resource.Metadata.FullName.Name == "" {
		return "all"
	}
	return m.Resource.Metadata.Schema.Kind() + " " + m.Resource.Metadata.FullName.String()
}
