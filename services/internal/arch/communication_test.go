package arch

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"gopkg.in/yaml.v3"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/profile"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
)

var variable = regexp.MustCompile(`\{[^{}]*\}`)

// arrow is one request of the map as these rules compare it: the names of variables don't matter.
func arrow(caller, callee, method, path string) string {
	return caller + " -> " + callee + ": " + method + " " + variable.ReplaceAllString(path, "{}")
}

func arrows(calls []communication.Call) []string {
	var all []string
	for _, c := range calls {
		for _, r := range c.Requests {
			all = append(all, arrow(c.Caller, c.Callee, r.Method, r.Path))
		}
	}
	return all
}

// hopArrows are those of the table of calls, which TestCallTable compares with the code.
func hopArrows(hops []hop) []string {
	var all []string
	for _, h := range hops {
		for _, caller := range h.callers {
			for _, call := range h.calls {
				if method, path, ok := strings.Cut(call, " "); ok && call != public {
					all = append(all, arrow(caller, h.callee, method, path))
				}
			}
		}
	}
	return all
}

// heard is a subscription that keeps an inbox, and so asks the owner of the stream for what it misses.
type heard struct{ consumer, owner, stream string }

func historyArrows(subscriptions []heard) []string {
	var all []string
	for _, h := range subscriptions {
		all = append(all, arrow(h.consumer, h.owner, "GET", "/internal/events/"+h.stream+"/{id}"))
	}
	return all
}

// inboxes builds a service and reads off its subscriptions which streams it must hear completely.
func inboxes(t *testing.T, service string) []heard {
	t.Helper()
	d, _ := runtest.New(t, service)
	d.Proxy = func() (string, http.RoundTripper) { return "http://sidecar.invalid", http.DefaultTransport }
	built, err := build(d)
	if err != nil {
		t.Fatalf("%s: %v", service, err)
	}
	built.Routes(mux.NewRouter())
	var all []heard
	for _, sub := range d.Topics.Subscriptions() {
		if !sub.Live {
			all = append(all, heard{service, strings.TrimPrefix(sub.Topic, cloudevent.Topic("")), sub.StreamName()})
		}
	}
	return all
}

// sameArrows says what one list has and the other has not. One that is there twice is twice the work to remove.
func sameArrows(declared, actual []string) []string {
	var violations []string
	slices.Sort(declared)
	for i, a := range declared {
		if i > 0 && declared[i-1] == a {
			violations = append(violations, "the map has twice: "+a)
		}
		if !slices.Contains(actual, a) {
			violations = append(violations, "the map has, and nobody does: "+a)
		}
	}
	for _, a := range actual {
		if !slices.Contains(declared, a) {
			violations = append(violations, "is done, and the map has not: "+a)
		}
	}
	return violations
}

func TestCommunicationMap(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "components", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	report(t, sameArrows(arrows(communication.Between()), hopArrows(readHops(string(text)))))
	var subscriptions []heard
	for _, s := range services {
		subscriptions = append(subscriptions, inboxes(t, s)...)
	}
	report(t, sameArrows(arrows(communication.History()), historyArrows(subscriptions)))
	if !slices.Equal(communication.Services(), services) {
		t.Errorf("the map has the services %v, the platform %v", communication.Services(), services)
	}
}

func TestSameArrowsFails(t *testing.T) {
	table := "| caller | callee | call | may be repeated, because | within | tries | while the callee is away |\n" +
		"| --- | --- | --- | --- | --- | --- | --- |\n" +
		"| order | menu | `GET /internal/a/{x}`, `POST /internal/b` | it reads | 3 s | 4 | waits |\n" +
		"| - | menu | `GET /internal/nobody` | it reads | 3 s | 4 | waits |\n" +
		"| gateway | menu | `every public route` | no | 5 s | 1 | refuses |\n"
	call := func(paths ...string) []communication.Call {
		c := communication.Call{Caller: "order", Callee: "menu"}
		for _, p := range paths {
			method, path, _ := strings.Cut(p, " ")
			c.Requests = append(c.Requests, communication.Request{Method: method, Path: path})
		}
		return []communication.Call{c}
	}
	actual := hopArrows(readHops(table))
	same(t, sameArrows(arrows(call("GET /internal/a/{order}", "POST /internal/b")), actual), nil)
	same(t, sameArrows(arrows(call("GET /internal/a/{order}", "GET /internal/a/{x}", "PUT /internal/b")), actual), []string{
		"the map has twice: order -> menu: GET /internal/a/{}",
		"the map has, and nobody does: order -> menu: PUT /internal/b",
		"is done, and the map has not: order -> menu: POST /internal/b",
	})
	same(t, sameArrows(historyArrows([]heard{{"pricing", "menu", "menu"}}), historyArrows([]heard{{"pricing", "order", "order"}})), []string{
		"the map has, and nobody does: pricing -> menu: GET /internal/events/menu/{}",
		"is done, and the map has not: pricing -> order: GET /internal/events/order/{}",
	})
}

// accessList is what Dapr's access control on a laptop lets whom do. It knows callers and paths, not callees.
type accessList struct {
	Spec struct {
		AccessControl struct {
			DefaultAction string `yaml:"defaultAction"`
			Policies      []accessPolicy
		} `yaml:"accessControl"`
	}
}

type accessPolicy struct {
	AppID         string `yaml:"appId"`
	DefaultAction string `yaml:"defaultAction"`
	Operations    []struct {
		Name   string
		Verbs  []string `yaml:"httpVerb"`
		Action string
	}
}

// accessRules hold that the list names exactly the callers of the map, lets each do all that the map says, and has no
// operation that no arrow needs.
func accessRules(list accessList, calls []communication.Call) []string {
	var violations []string
	complain := func(format string, args ...any) { violations = append(violations, fmt.Sprintf(format, args...)) }
	if list.Spec.AccessControl.DefaultAction != "deny" {
		complain("who is in no policy is not denied")
	}
	byCaller := map[string][]communication.Request{}
	for _, c := range calls {
		if c.Caller != communication.Ingress { // has no sidecar
			byCaller[c.Caller] = append(byCaller[c.Caller], c.Requests...)
		}
	}
	for _, p := range list.Spec.AccessControl.Policies {
		requests, ok := byCaller[p.AppID]
		delete(byCaller, p.AppID)
		if !ok {
			complain("%s has a policy and calls nobody", p.AppID)
			continue
		}
		if p.DefaultAction != "deny" {
			complain("%s is not denied what is not in its policy", p.AppID)
		}
		allowed := map[communication.Request]bool{}
		for _, op := range p.Operations {
			prefix, ok := strings.CutSuffix(op.Name, "/**")
			if !ok || op.Action != "allow" {
				complain("%s: %s is not allowed, or not by all that is below a path", p.AppID, op.Name)
				continue
			}
			used := false
			for _, r := range requests {
				if strings.HasPrefix(r.Path, prefix+"/") && (slices.Contains(op.Verbs, "*") || slices.Contains(op.Verbs, r.Method)) {
					used, allowed[r] = true, true
				}
			}
			if !used {
				complain("%s may %v %s and has no need of it", p.AppID, op.Verbs, op.Name)
			}
		}
		for _, r := range requests {
			if !allowed[r] {
				complain("%s may not %s", p.AppID, r)
			}
		}
	}
	for _, caller := range slices.Sorted(maps.Keys(byCaller)) {
		complain("%s has no policy", caller)
	}
	return violations
}

func TestAccessListFollowsTheMap(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "components", "configuration", "local.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var list accessList
	if err := yaml.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	report(t, accessRules(list, communication.Calls()))
}

func TestAccessRulesFail(t *testing.T) {
	calls := []communication.Call{
		{Caller: "order", Callee: "menu", Requests: []communication.Request{{Method: "GET", Path: "/internal/a"}}},
		{Caller: "user", Callee: "menu", Requests: []communication.Request{{Method: "GET", Path: "/internal/a"}}},
		{Caller: communication.Ingress, Callee: "gateway", Requests: []communication.Request{{Method: "GET", Path: "/"}}},
	}
	read := func(policies string) (list accessList) {
		t.Helper()
		if err := yaml.Unmarshal([]byte("spec: {accessControl: {defaultAction: deny, policies: ["+policies+"]}}"), &list); err != nil {
			t.Fatal(err)
		}
		return list
	}
	good := func(app string) string {
		return `{appId: ` + app + `, defaultAction: deny, operations: [{name: /internal/**, httpVerb: [GET], action: allow}]}`
	}
	same(t, accessRules(read(good("order")+","+good("user")), calls), nil)
	same(t, accessRules(read(good("order")+","+good("menu")), calls), []string{"menu has a policy and calls nobody", "user has no policy"})
	same(t, accessRules(read(good("order")+`,{appId: user, defaultAction: allow, operations: [{name: /internal/**, httpVerb: [POST], action: allow}, {name: /v1/x, action: allow}]}`), calls),
		[]string{"user is not denied what is not in its policy", "user may [POST] /internal/** and has no need of it",
			"user: /v1/x is not allowed, or not by all that is below a path", "user may not GET /internal/a"})
	open := read(good("order") + "," + good("user"))
	open.Spec.AccessControl.DefaultAction = "allow"
	same(t, accessRules(open, calls), []string{"who is in no policy is not denied"})
}

// places tells which component types lead where in the cluster.
var places = map[string]string{
	"pubsub.kafka": "kafka", "state.redis-atomic": "redis", "state.postgresql": "postgres",
}

// componentArrows are the connections that the sidecars make for the components of the cluster's profile. A binding leads
// to the part of the outside world that has its name.
func componentArrows(resources []profile.Resource) []string {
	var all []string
	for _, r := range resources {
		if r.Kind != "Component" {
			continue
		}
		to := places[r.Type]
		if strings.HasPrefix(r.Type, "bindings.") {
			to = r.Name
		}
		for _, app := range r.Scopes {
			all = append(all, app+" -> "+to)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// direct are the connections that a service makes itself; exceptions (imports_test.go) says why it may.
func direct() []string {
	var all []string
	for where := range exceptions {
		all = append(all, owner(where)+" -> redis")
	}
	return all
}

func TestConnectionsFollowTheComponents(t *testing.T) {
	p, err := profile.Load(filepath.Join(root(t), "components"), "cluster")
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	for _, c := range slices.Concat(communication.Data(), communication.Outside()) {
		declared = append(declared, c.From+" -> "+c.To.Name)
	}
	actual := slices.Concat(componentArrows(p.Resources), direct())
	slices.Sort(declared)
	report(t, sameArrows(slices.Compact(declared), actual)) // delivery's store and its positions are in one Redis
}

// prefixRules hold that the keys of a store begin with its service's name and not with whatever app id asks for them, so
// that a canary, which has an app id of its own, shares them.
func prefixRules(resources []profile.Resource) []string {
	var violations []string
	for _, r := range resources {
		app, ok := strings.CutSuffix(r.Name, "-store")
		if r.Kind != "Component" || !ok {
			continue
		}
		i := slices.IndexFunc(r.Metadata, func(s profile.Setting) bool { return s.Name == "keyPrefix" })
		if i < 0 || r.Metadata[i].Value != app {
			violations = append(violations, fmt.Sprintf("%s: %s does not say keyPrefix: %s", r.File, r.Name, app))
		}
	}
	return violations
}

func TestStoresOutliveTheAppID(t *testing.T) {
	components := filepath.Join(root(t), "components")
	all, err := profile.List(components)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		p, err := profile.Load(components, d.Name)
		if err != nil {
			t.Fatal(err)
		}
		report(t, prefixRules(p.Resources))
	}
	bad := []profile.Resource{{Kind: "Component", Name: "menu-store", File: "f"},
		{Kind: "Component", Name: "user-store", File: "f", Metadata: []profile.Setting{{Name: "keyPrefix", Value: "name"}}}}
	same(t, prefixRules(bad), []string{"f: menu-store does not say keyPrefix: menu", "f: user-store does not say keyPrefix: user"})
}
