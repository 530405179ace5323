package communication_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/dishmesh/dishmesh/services/internal/communication"
)

// reach is what a service's Envoy must know: those whom it calls, what it leaves the platform for, its own replicas where
// they carry each other's actors, the stores and brokers, and whom it tells of its requests.
func reach(service string) []string {
	hosts := []string{communication.DataNamespace + "/*"}
	in := func(host string) { hosts = append(hosts, communication.Namespace+"/"+host) }
	for _, callee := range communication.Callees(service) {
		in(callee + "." + communication.Namespace + ".svc.cluster.local")
	}
	for _, c := range communication.Outside() {
		if c.From == service {
			in(c.To.Host()) // a ServiceEntry of ours stands for it
		}
	}
	for _, c := range communication.Actors() {
		if c.From == service {
			in(c.To.Name + "-dapr." + communication.Namespace + ".svc.cluster.local") // the operator's
		}
	}
	for _, c := range communication.Telemetry() {
		if c.From == service {
			hosts = append(hosts, c.To.Namespace+"/"+c.To.Host())
		}
	}
	slices.Sort(hosts)
	return hosts
}

func TestSidecarsFollowTheMap(t *testing.T) {
	services := communication.Services()
	for _, s := range read(t, "mesh/sidecars") {
		name := s.Metadata.Name
		i := slices.Index(services, name)
		if i < 0 || s.file != "mesh/sidecars/"+name+".yaml" || !cmp.Equal(s.Spec.WorkloadSelector.Labels, map[string]string{"app": name}) {
			t.Errorf("%s is not for the pods of the service that it is named after", s.file)
			continue
		}
		services = slices.Delete(services, i, i+1)
		if s.Spec.Outbound.Mode != "REGISTRY_ONLY" || len(s.Spec.Egress) != 1 {
			t.Errorf("%s lets through what is not known", s.file)
			continue
		}
		got := slices.Sorted(slices.Values(s.Spec.Egress[0].Hosts))
		if diff := cmp.Diff(reach(name), got); diff != "" {
			t.Errorf("%s against the map (-want +got):\n%s", s.file, diff)
		}
	}
	if len(services) > 0 {
		t.Errorf("no Sidecar for %v", services)
	}
}

// fromEdge tells whether a route leads from the edge, before which there is no Dapr.
func fromEdge(h route) bool {
	for _, d := range h.Route {
		if d.Destination.Host != communication.Gateway+"."+communication.Namespace+".svc.cluster.local" {
			return false
		}
	}
	return len(h.Route) > 0
}

// unsent tells whether a route leads from the edge and tries again only where nothing was sent
// (https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter, x-envoy-retry-on).
func unsent(h route) bool {
	if !fromEdge(h) {
		return false
	}
	for on := range strings.SplitSeq(h.Retries.RetryOn, ",") {
		if on != "connect-failure" && on != "refused-stream" {
			return false
		}
	}
	return true
}

// routeRules hold for every route of mesh/: nothing is tried twice that may have been sent, nothing lasts for ever but a live stream, what is
// split adds up, and all goes to a subset, because a service without one gives its canary a share that nobody decided on.
func routeRules(r resource) []string {
	var violations []string
	complain := func(h route, text string, args ...any) {
		violations = append(violations, fmt.Sprintf("%s: route %q %s", r.file, h.Name, fmt.Sprintf(text, args...)))
	}
	for _, h := range r.Spec.HTTP {
		if h.Redirect != nil {
			continue
		}
		if h.Retries == nil || h.Retries.Attempts == nil || *h.Retries.Attempts != 0 && !unsent(h) {
			complain(h, "may be tried again; that is Dapr's")
		} else if *h.Retries.Attempts == 0 && fromEdge(h) {
			complain(h, "is given up where no connection came about, and nobody before it tries again")
		}
		if h.Timeout == "" && h.Name != "live" {
			complain(h, "has no end")
		}
		if h.Timeout != "" && h.Name == "live" { // 0s, which the API server refuses, would be the same as none
			complain(h, "ends while somebody listens")
		}
		sum, destinations := 0, h.Mirrors
		for _, d := range h.Route {
			sum += d.Weight
			destinations = append(destinations, struct {
				Destination struct{ Host, Subset string }
			}{d.Destination})
		}
		if len(h.Route) == 0 || len(h.Route) > 1 && sum != 100 {
			complain(h, "has weights that add up to %d", sum)
		}
		for _, d := range destinations {
			service, ours := strings.CutSuffix(d.Destination.Host, "."+communication.Namespace+".svc.cluster.local")
			switch {
			case !ours && strings.HasSuffix(d.Destination.Host, "."+communication.CityNamespace+".svc.cluster.local"):
			case !ours || !slices.Contains(communication.Services(), service):
				complain(h, "goes to %q, which is no service", d.Destination.Host)
			case d.Destination.Subset != "v1" && d.Destination.Subset != "v2":
				complain(h, "goes to no version of %s", service)
			}
		}
	}
	return violations
}

func TestRoutes(t *testing.T) {
	always := map[string]bool{}
	seen := 0
	for _, r := range read(t, "mesh") {
		if r.Kind != "VirtualService" {
			continue
		}
		seen++
		report(t, routeRules(r))
		id := r.Metadata.Namespace + "/" + r.Metadata.Name
		if strings.HasPrefix(r.file, "mesh/canary/") || strings.HasPrefix(r.file, "mesh/faults/") {
			continue
		}
		if always[id] {
			t.Errorf("%s: there are two of %s", r.file, id)
		}
		always[id] = true
	}
	for _, folder := range []string{"mesh/canary/traffic", "mesh/faults"} {
		for _, r := range read(t, folder) {
			if id := r.Metadata.Namespace + "/" + r.Metadata.Name; r.Kind != "VirtualService" || !always[id] {
				t.Errorf("%s: %s replaces nothing, so it can't be taken back by what is always applied", r.file, id)
			}
		}
	}
	if seen == 0 {
		t.Error("no routes")
	}
}

func TestRouteRulesFail(t *testing.T) {
	for _, c := range []struct {
		name, route string
		want        []string
	}{
		{"good", "{name: x, timeout: 6s, retries: {attempts: 0}, route: [{destination: {host: menu.dishmesh.svc.cluster.local, subset: v1}}]}", nil},
		{"redirect", "{redirect: {scheme: https}}", nil},
		{"tries and no end", "{name: x, route: [{destination: {host: menu.dishmesh.svc.cluster.local, subset: v1}}]}",
			[]string{`f: route "x" may be tried again; that is Dapr's`, `f: route "x" has no end`}},
		{"one try", "{name: x, timeout: 6s, retries: {attempts: 1}, route: [{destination: {host: menu.dishmesh.svc.cluster.local, subset: v1}}]}",
			[]string{`f: route "x" may be tried again; that is Dapr's`}},
		{"no connection, at the edge", "{name: x, timeout: 6s, retries: {attempts: 2, retryOn: 'connect-failure,refused-stream'}, route: [{destination: {host: gateway.dishmesh.svc.cluster.local, subset: v1}}]}", nil},
		{"one try, at the edge", "{name: x, timeout: 6s, retries: {attempts: 0}, route: [{destination: {host: gateway.dishmesh.svc.cluster.local, subset: v1}}]}",
			[]string{`f: route "x" is given up where no connection came about, and nobody before it tries again`}},
		{"no connection, behind it", "{name: x, timeout: 6s, retries: {attempts: 2, retryOn: connect-failure}, route: [{destination: {host: menu.dishmesh.svc.cluster.local, subset: v1}}]}",
			[]string{`f: route "x" may be tried again; that is Dapr's`}},
		{"any failure, at the edge", "{name: x, timeout: 6s, retries: {attempts: 2, retryOn: 'connect-failure,5xx'}, route: [{destination: {host: gateway.dishmesh.svc.cluster.local, subset: v1}}]}",
			[]string{`f: route "x" may be tried again; that is Dapr's`}},
		{"weights", "{name: x, timeout: 6s, retries: {attempts: 0}, route: [{destination: {host: menu.dishmesh.svc.cluster.local, subset: v1}, weight: 90}, {destination: {host: menu.dishmesh.svc.cluster.local, subset: v2}, weight: 5}]}",
			[]string{`f: route "x" has weights that add up to 95`}},
		{"destinations", "{name: x, timeout: 6s, retries: {attempts: 0}, route: [{destination: {host: menu.dishmesh.svc.cluster.local}}], mirrors: [{destination: {host: evil.example, subset: v1}}]}",
			[]string{`f: route "x" goes to "evil.example", which is no service`, `f: route "x" goes to no version of menu`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := resource{file: "f"}
			if err := yaml.Unmarshal([]byte("{spec: {http: ["+c.route+"]}}"), &r); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, routeRules(r)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestDestinations(t *testing.T) {
	services := communication.Services()
	routed := map[string]bool{communication.Gateway: true} // by the ingress
	for _, r := range read(t, "mesh/destinations") {
		name := r.Metadata.Name
		host := name + "." + communication.Namespace + ".svc.cluster.local"
		if r.file != "mesh/destinations/"+name+".yaml" || r.Metadata.Namespace != communication.Namespace {
			t.Errorf("%s holds %s of %s", r.file, name, r.Metadata.Namespace)
		}
		switch r.Kind {
		case "DestinationRule":
			services = slices.DeleteFunc(services, func(s string) bool { return s == name })
			if r.Spec.Host != host || len(r.Spec.Subsets) != 2 {
				t.Errorf("%s is about %s with %d versions, want %s with 2", r.file, r.Spec.Host, len(r.Spec.Subsets), host)
			}
			// The handshake of mutual TLS is part of it: with a pod that has just begun on a busy node it took longer than a
			// second, and rollouts failed requests. A try of Dapr's is given up after 5 s.
			if d, err := time.ParseDuration(r.Spec.TrafficPolicy.ConnectionPool.TCP.ConnectTimeout); err != nil || d < 3*time.Second || d >= 5*time.Second {
				t.Errorf("%s: a connection may take %v (%v), want from 3 to less than 5 s", r.file, d, err)
			}
			for _, s := range r.Spec.Subsets {
				if !cmp.Equal(s.Labels, map[string]string{"version": s.Name}) {
					t.Errorf("%s: the subset %s is the pods with %v", r.file, s.Name, s.Labels)
				}
			}
		case "VirtualService":
			routed[name] = true
			if !slices.Equal(r.Spec.Hosts, []string{host}) || len(r.Spec.HTTP) != 1 || r.Spec.HTTP[0].Route[0].Destination.Subset != "v1" {
				t.Errorf("%s does not send all of %s to v1", r.file, host)
			}
		default:
			t.Errorf("%s: there is no place for a %s here", r.file, r.Kind)
		}
	}
	for _, s := range communication.Services() {
		if slices.Contains(services, s) || !routed[s] {
			t.Errorf("nothing says how %s is called", s)
		}
	}
}

// TestFoldersAreWhole holds that a folder's kustomization lists all that is in it, so that no file is forgotten.
func TestFoldersAreWhole(t *testing.T) {
	for _, folder := range []string{"mesh", "mesh/authorization", "mesh/sidecars", "mesh/destinations", "mesh/ingress", "mesh/egress", "mesh/telemetry"} {
		text, err := os.ReadFile(filepath.Join(top, folder, "kustomization.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var k struct{ Resources []string }
		if err := yaml.Unmarshal(text, &k); err != nil {
			t.Fatalf("%s: %v", folder, err)
		}
		entries, err := os.ReadDir(filepath.Join(top, folder))
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, e := range entries {
			switch {
			case e.Name() == "kustomization.yaml", e.Name() == "mesh-config.yaml", e.Name() == "canary", e.Name() == "faults":
			case e.IsDir(), filepath.Ext(e.Name()) == ".yaml":
				want = append(want, e.Name())
			}
		}
		if diff := cmp.Diff(want, slices.Sorted(slices.Values(k.Resources))); diff != "" {
			t.Errorf("%s/kustomization.yaml (-in the folder +listed):\n%s", folder, diff)
		}
	}
}
