package communication_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"

	"github.com/dishmesh/dishmesh/services/internal/communication"
)

// top is the checkout.
const top = "../../.."

// resource is what these rules look at in a resource of mesh/. Whether the rest of it is what Istio knows is decided
// elsewhere, by Istio's own types.
type resource struct {
	file     string
	Kind     string
	Metadata struct{ Name, Namespace string }
	Spec     struct {
		// AuthorizationPolicy
		Selector struct {
			MatchLabels map[string]string `yaml:"matchLabels"`
		}
		Action string
		Rules  []rule
		// Sidecar
		WorkloadSelector struct{ Labels map[string]string } `yaml:"workloadSelector"`
		Outbound         struct{ Mode string }              `yaml:"outboundTrafficPolicy"`
		Egress           []struct{ Hosts []string }
		// VirtualService, DestinationRule, ServiceEntry
		Hosts    []string
		Gateways []string
		Host     string
		HTTP     []route
		Subsets  []struct {
			Name   string
			Labels map[string]string
		}
		TrafficPolicy struct {
			ConnectionPool struct {
				TCP struct {
					ConnectTimeout string `yaml:"connectTimeout"`
				}
			} `yaml:"connectionPool"`
		} `yaml:"trafficPolicy"`
	}
}

type rule struct {
	From []struct {
		Source struct {
			Principals        []string
			RequestPrincipals []string `yaml:"requestPrincipals"`
		}
	}
	To []struct {
		Operation struct{ Ports, Methods, Paths []string }
	}
}

type route struct {
	Name     string
	Timeout  string
	Redirect map[string]any
	Retries  *struct {
		Attempts *int
		RetryOn  string `yaml:"retryOn"`
	}
	Route []struct {
		Destination struct{ Host, Subset string }
		Weight      int
	}
	Mirrors []struct {
		Destination struct{ Host, Subset string }
	}
}

// read gives the resources of the YAML files below a folder of the checkout, kustomizations and values left out.
func read(t *testing.T, folder string) []resource {
	t.Helper()
	var all []resource
	err := filepath.WalkDir(filepath.Join(top, folder), func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".yaml" || d.Name() == "kustomization.yaml" || d.Name() == "mesh-config.yaml" {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		for dec := yaml.NewDecoder(bytes.NewReader(text)); ; {
			r := resource{file: filepath.ToSlash(file)}
			if err := dec.Decode(&r); errors.Is(err, io.EOF) {
				return nil
			} else if err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			all = append(all, r)
		}
	})
	if err != nil || len(all) == 0 {
		t.Fatalf("%s: %d resources, %v", folder, len(all), err)
	}
	return all
}

var variable = regexp.MustCompile(`\{[^{}]*\}`)

// pattern is a path as a policy names it: each variable is one segment.
func pattern(path string) string { return variable.ReplaceAllString(path, "{*}") }

// principal is how the mesh knows a caller: by the account that its pods run under.
func principal(caller string) string {
	namespace := communication.Namespace
	if caller == communication.Ingress {
		namespace = communication.IngressNamespace
	}
	return "cluster.local/ns/" + namespace + "/sa/" + caller
}

func permission(who string, port int, method, path, callee string) string {
	return who + " " + method + " " + callee + ":" + strconv.Itoa(port) + path
}

// declared is what the map permits, as the policies say it.
func declared(calls []communication.Call) []string {
	var all []string
	for _, c := range calls {
		port := communication.AppPort
		if c.Caller == communication.Ingress {
			port = communication.PublicPort
		}
		for _, r := range c.Requests {
			all = append(all, permission(principal(c.Caller), port, r.Method, pattern(r.Path), c.Callee))
		}
	}
	return all
}

// actors are the methods of Dapr's own protocol by which sidecars reach actors of other replicas. What is not among them
// is CallLocal, by which a service would be called past its policy.
var actors = []string{"CallActor", "CallActorReminder", "CallActorStream"}

func declaredActors(connections []communication.Connection) []string {
	var all []string
	for _, c := range connections {
		for _, m := range actors {
			all = append(all, permission(principal(c.From), c.To.Port, "POST", "/dapr.proto.internals.v1.ServiceInvocation/"+m, c.To.Name))
		}
	}
	return all
}

// permitted is what the policies permit. One that leaves anything open is a violation, as it permits more than it says.
func permitted(policies []resource) (all, violations []string) {
	for _, p := range policies {
		callee := p.Metadata.Name
		if p.Kind != "AuthorizationPolicy" || p.Metadata.Namespace != communication.Namespace || p.Spec.Action != "ALLOW" ||
			!cmp.Equal(p.Spec.Selector.MatchLabels, map[string]string{"app": callee}) || p.file != "mesh/authorization/"+callee+".yaml" {
			violations = append(violations, p.file+": is no ALLOW for the pods of the service that it is named after")
			continue
		}
		for i, r := range p.Spec.Rules {
			where := p.file + ": rule " + strconv.Itoa(i+1)
			if len(r.From) == 0 || len(r.To) == 0 {
				violations = append(violations, where+" is for everybody or for everything")
			}
			for _, from := range r.From {
				if len(from.Source.Principals) == 0 {
					violations = append(violations, where+" names no account")
				}
				for _, who := range from.Source.Principals {
					for _, to := range r.To {
						op := to.Operation
						if len(op.Ports) == 0 || len(op.Methods) == 0 || len(op.Paths) == 0 {
							violations = append(violations, where+" leaves ports, methods or paths open")
						}
						for _, port := range op.Ports {
							n, _ := strconv.Atoi(port)
							for _, method := range op.Methods {
								for _, path := range op.Paths {
									all = append(all, permission(who, n, method, path, callee))
								}
							}
						}
					}
				}
			}
		}
	}
	return all, violations
}

// compare says what one list has and the other has not, and what stands twice in a file.
func compare(inFiles, inMap []string) []string {
	var violations []string
	slices.Sort(inFiles)
	for i, s := range inFiles {
		if i > 0 && inFiles[i-1] == s {
			violations = append(violations, "stands twice: "+s)
		} else if !slices.Contains(inMap, s) {
			violations = append(violations, "is permitted, and the map has not: "+s)
		}
	}
	slices.Sort(inMap)
	for _, s := range slices.Compact(inMap) { // two requests may have one pattern
		if !slices.Contains(inFiles, s) {
			violations = append(violations, "the map has, and is not permitted: "+s)
		}
	}
	return violations
}

func report(t *testing.T, violations []string) {
	t.Helper()
	for _, v := range violations {
		t.Error(v)
	}
}

func TestAuthorizationFollowsTheMap(t *testing.T) {
	all, violations := permitted(read(t, "mesh/authorization"))
	report(t, violations)
	report(t, compare(all, slices.Concat(declared(communication.Calls()), declaredActors(communication.Actors()))))
}

func TestAuthorizationIsSeenToFail(t *testing.T) {
	calls := []communication.Call{{Caller: "order", Callee: "menu", Requests: []communication.Request{{Method: "GET", Path: "/a/{x}"}, {Method: "GET", Path: "/a/{y}"}, {Method: "POST", Path: "/b"}}}}
	const order = "cluster.local/ns/dishmesh/sa/order"
	policy := func(rules string) []resource {
		t.Helper()
		p := resource{file: "mesh/authorization/menu.yaml"}
		text := "{kind: AuthorizationPolicy, metadata: {name: menu, namespace: dishmesh}, spec: {selector: {matchLabels: {app: menu}}, action: ALLOW, rules: [" + rules + "]}}"
		if err := yaml.Unmarshal([]byte(text), &p); err != nil {
			t.Fatal(err)
		}
		return []resource{p}
	}
	from := "from: [{source: {principals: [" + order + "]}}], "
	good := "{" + from + `to: [{operation: {ports: ["8080"], methods: [GET], paths: ["/a/{*}"]}}, {operation: {ports: ["8080"], methods: [POST], paths: [/b]}}]}`
	for _, c := range []struct {
		name, rules string
		want        []string
	}{
		{"as the map says", good, nil},
		{"an arrow too few", "{" + from + `to: [{operation: {ports: ["8080"], methods: [GET], paths: ["/a/{*}"]}}]}`, []string{"the map has, and is not permitted: " + order + " POST menu:8080/b"}},
		{"a caller too many", strings.Replace(good, "sa/order]", "sa/order, cluster.local/ns/x/sa/user]", 1), []string{
			"is permitted, and the map has not: cluster.local/ns/x/sa/user GET menu:8080/a/{*}", "is permitted, and the map has not: cluster.local/ns/x/sa/user POST menu:8080/b"}},
		{"another port", strings.Replace(good, `["8080"], methods: [POST]`, `["8081"], methods: [POST]`, 1), []string{
			"is permitted, and the map has not: " + order + " POST menu:8081/b", "the map has, and is not permitted: " + order + " POST menu:8080/b"}},
		{"twice", good + "," + good, []string{"stands twice: " + order + " GET menu:8080/a/{*}", "stands twice: " + order + " POST menu:8080/b"}},
		{"open", good + ",{" + from + `to: [{operation: {ports: ["8080"]}}]}`, []string{"mesh/authorization/menu.yaml: rule 2 leaves ports, methods or paths open"}},
		{"for everybody", good + ",{to: [{operation: {ports: [\"8080\"], methods: [GET], paths: [/c]}}]}", []string{"mesh/authorization/menu.yaml: rule 2 is for everybody or for everything"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			all, violations := permitted(policy(c.rules))
			got := append(violations, compare(all, declared(calls))...)
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
	other := policy(good)
	other[0].Spec.Selector.MatchLabels = map[string]string{"app": "user"}
	if _, violations := permitted(other); len(violations) != 1 {
		t.Errorf("a policy of other pods: %q", violations)
	}
}

// The edge has two kinds of rules: without a token, and with one of ours.
func TestEdgeFollowsTheMap(t *testing.T) {
	policies := read(t, "mesh/ingress/authorization.yaml")
	var open, closed []string
	for _, r := range policies[0].Spec.Rules {
		for _, to := range r.To {
			op := to.Operation
			if slices.Equal(op.Ports, []string{"80"}) && len(op.Paths) == 0 && len(r.From) == 0 {
				continue // the redirect
			}
			if !slices.Equal(op.Ports, []string{"443"}) || len(op.Methods) == 0 || len(op.Paths) == 0 {
				t.Errorf("%s leaves ports, methods or paths open: %+v", policies[0].file, op)
			}
			for _, method := range op.Methods {
				for _, path := range op.Paths {
					switch {
					case len(r.From) == 0:
						open = append(open, method+" "+path)
					case slices.Equal(r.From[0].Source.RequestPrincipals, []string{"dishmesh/*"}):
						closed = append(closed, method+" "+path)
					default:
						t.Errorf("%s: %+v is neither for everybody nor for who has a token of ours", policies[0].file, r.From)
					}
				}
			}
		}
	}
	var wantOpen, wantClosed []string
	without := communication.WithoutToken()
	for _, r := range communication.Edge()[0].Requests {
		if slices.Contains(without, r) {
			wantOpen = append(wantOpen, r.Method+" "+pattern(r.Path))
		} else {
			wantClosed = append(wantClosed, r.Method+" "+pattern(r.Path))
		}
	}
	report(t, compare(open, wantOpen))
	report(t, compare(closed, wantClosed))
}
