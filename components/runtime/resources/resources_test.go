// Package resources checks the Dapr resources of the folders beside this module against Dapr's own types, which only
// this module has.
package resources

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	components "github.com/dapr/dapr/pkg/apis/components/v1alpha1"
	configuration "github.com/dapr/dapr/pkg/apis/configuration/v1alpha1"
	endpoints "github.com/dapr/dapr/pkg/apis/httpEndpoint/v1alpha1"
	resiliency "github.com/dapr/dapr/pkg/apis/resiliency/v1alpha1"
	subscriptions "github.com/dapr/dapr/pkg/apis/subscriptions/v2alpha1"
	"github.com/dapr/dapr/pkg/expr"
	resiliencyruntime "github.com/dapr/dapr/pkg/resiliency"
	"github.com/dapr/kit/logger"
	yamlv3 "gopkg.in/yaml.v3"
	"sigs.k8s.io/yaml"
)

// documents splits the files into YAML documents, with the file's name for each.
func documents(t *testing.T) map[string][][]byte {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", "*", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no resources found: %v", err)
	}
	out := map[string][][]byte{}
	for _, file := range files {
		if base := filepath.Base(file); base == "profile.yaml" || base == "kustomization.yaml" {
			continue // not Dapr's
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		dec := yamlv3.NewDecoder(bytes.NewReader(raw))
		for {
			var doc any
			err := dec.Decode(&doc)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			b, err := yamlv3.Marshal(doc)
			if err != nil {
				t.Fatal(err)
			}
			out[file] = append(out[file], b)
		}
	}
	return out
}

// TestResourcesAreWhatDaprReads decodes every resource strictly, so that a misspelt key, which Dapr would pass over in
// silence, fails here.
func TestResourcesAreWhatDaprReads(t *testing.T) {
	for file, docs := range documents(t) {
		for _, doc := range docs {
			var head struct{ Kind, APIVersion string }
			if err := yaml.Unmarshal(doc, &head); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			var into any
			want := "dapr.io/v1alpha1"
			switch head.Kind {
			case "Component":
				into = &components.Component{}
			case "Configuration":
				into = &configuration.Configuration{}
			case "HTTPEndpoint":
				into = &endpoints.HTTPEndpoint{}
			case "Resiliency":
				into = &resiliency.Resiliency{}
			case "Subscription":
				into, want = &subscriptions.Subscription{}, "dapr.io/v2alpha1"
			default:
				t.Errorf("%s: kind %q is unknown", file, head.Kind)
				continue
			}
			if head.APIVersion != want {
				t.Errorf("%s: apiVersion %q, want %q", file, head.APIVersion, want)
			}
			if err := yaml.UnmarshalStrict(doc, into); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			switch r := into.(type) {
			case *resiliency.Resiliency:
				if err := resiliencyruntime.New(logger.NewLogger("test")).DecodeConfiguration(r); err != nil {
					t.Errorf("%s: Dapr refuses it: %v", file, err)
				}
			case *subscriptions.Subscription:
				for _, rule := range r.Spec.Routes.Rules {
					if err := (&expr.Expr{}).DecodeString(rule.Match); err != nil {
						t.Errorf("%s: the rule %q is no CEL: %v", file, rule.Match, err)
					}
				}
			}
		}
	}
}
