package communication_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/dishmesh/dishmesh/services/internal/communication"
)

// outlierDetection says when a pod is left alone. Numbers that are not there are nil: Istio's defaults are others.
type outlierDetection struct {
	GatewayErrors *int   `yaml:"consecutiveGatewayErrors"`
	Errors        *int   `yaml:"consecutive5xxErrors"`
	Interval      string `yaml:"interval"`
	Ejection      string `yaml:"baseEjectionTime"`
	Most          *int   `yaml:"maxEjectionPercent"`
	Healthy       *int   `yaml:"minHealthPercent"`
}

// ejections says what is wrong with the ejection of a destination, by its file.
func ejections(file string, text []byte) (violations []string) {
	var found *outlierDetection
	for dec := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var r struct {
			Kind string
			Spec struct {
				TrafficPolicy struct {
					Outlier *outlierDetection `yaml:"outlierDetection"`
				} `yaml:"trafficPolicy"`
			}
		}
		err := dec.Decode(&r)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return []string{fmt.Sprintf("%s: %v", file, err)}
		}
		if r.Kind == "DestinationRule" {
			found = r.Spec.TrafficPolicy.Outlier
		}
	}
	if found == nil {
		return []string{file + ": no pod is ever left alone"}
	}
	complain := func(text string, args ...any) {
		violations = append(violations, file+": "+fmt.Sprintf(text, args...))
	}
	if found.GatewayErrors == nil || *found.GatewayErrors < 1 {
		complain("pods that give 502, 503, 504 or no connection are not left alone")
	}
	// A saga that is refused is an answer, and every pod gives the same.
	if found.Errors == nil || *found.Errors != 0 {
		complain("pods are left alone for what is an answer: consecutive5xxErrors must be 0")
	}
	if found.Interval == "" || found.Ejection == "" {
		complain("it is not said for how long")
	}
	// Envoy ejects a pod if no more than this share of all is out then: half of two is one, and of one it is none.
	if found.Most == nil || *found.Most < 50 || *found.Most >= 100 {
		complain("maxEjectionPercent must let one of two pods go and keep the only one: 50 to 99")
	}
	// Below that share Envoy sends to all pods, the bad ones too. Without one, Istio 1.31 tells Envoy of pods that are not ready,
	// which count (PILOT_AUTO_SEND_UNHEALTHY_ENDPOINTS): while a new pod starts, the only other one could be left alone.
	if found.Healthy == nil || *found.Healthy < 1 || *found.Healthy > 50 {
		complain("minHealthPercent must keep pods that are not ready from Envoy, and one of two that is well enough: 1 to 50")
	}
	return violations
}

func TestEveryDestinationLeavesBadPodsAlone(t *testing.T) {
	for _, service := range communication.Services() {
		file := "mesh/destinations/" + service + ".yaml"
		text, err := os.ReadFile(filepath.Join(top, file))
		if err != nil {
			t.Fatal(err)
		}
		report(t, ejections(file, text))
	}
}

func TestEjectionsAreSeenToFail(t *testing.T) {
	for _, c := range []struct {
		name, rule string
		want       []string
	}{
		{"good", "{consecutiveGatewayErrors: 5, consecutive5xxErrors: 0, interval: 5s, baseEjectionTime: 15s, maxEjectionPercent: 50, minHealthPercent: 50}", nil},
		{"none", "null", []string{"f: no pod is ever left alone"}},
		{"answers count", "{consecutiveGatewayErrors: 5, interval: 5s, baseEjectionTime: 15s, maxEjectionPercent: 50, minHealthPercent: 50}",
			[]string{"f: pods are left alone for what is an answer: consecutive5xxErrors must be 0"}},
		{"nothing counts", "{consecutive5xxErrors: 0, interval: 5s, baseEjectionTime: 15s, maxEjectionPercent: 50, minHealthPercent: 50}",
			[]string{"f: pods that give 502, 503, 504 or no connection are not left alone"}},
		{"of two none may go", "{consecutiveGatewayErrors: 5, consecutive5xxErrors: 0, interval: 5s, baseEjectionTime: 15s, maxEjectionPercent: 49, minHealthPercent: 50}",
			[]string{"f: maxEjectionPercent must let one of two pods go and keep the only one: 50 to 99"}},
		{"all may go", "{consecutiveGatewayErrors: 5, consecutive5xxErrors: 0, interval: 5s, baseEjectionTime: 15s, maxEjectionPercent: 100, minHealthPercent: 50}",
			[]string{"f: maxEjectionPercent must let one of two pods go and keep the only one: 50 to 99"}},
		{"panic", "{consecutiveGatewayErrors: 5, consecutive5xxErrors: 0, interval: 5s, baseEjectionTime: 15s, maxEjectionPercent: 50, minHealthPercent: 60}",
			[]string{"f: minHealthPercent must keep pods that are not ready from Envoy, and one of two that is well enough: 1 to 50"}},
		{"pods that are not ready count", "{consecutiveGatewayErrors: 5, consecutive5xxErrors: 0, interval: 5s, baseEjectionTime: 15s, maxEjectionPercent: 50}",
			[]string{"f: minHealthPercent must keep pods that are not ready from Envoy, and one of two that is well enough: 1 to 50"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			text := "{kind: DestinationRule, spec: {trafficPolicy: {outlierDetection: " + c.rule + "}}}"
			if diff := cmp.Diff(c.want, ejections("f", []byte(text))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
