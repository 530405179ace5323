package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// policy is what components/resiliency says of one kind of caller.
type policy struct {
	Metadata struct{ Name string }
	Spec     struct {
		Policies struct {
			Timeouts map[string]string
			Retries  map[string]struct {
				Policy     string
				Duration   string
				MaxRetries int `yaml:"maxRetries"`
				Matching   struct {
					HTTP string `yaml:"httpStatusCodes"`
					GRPC string `yaml:"gRPCStatusCodes"`
				}
			}
			CircuitBreakers map[string]struct{ Trip, Timeout string } `yaml:"circuitBreakers"`
		}
		Targets struct {
			Apps       map[string]target
			Components map[string]struct{ Outbound target }
		}
	}
	Scopes []string
}

type target struct {
	Timeout, Retry string
	CircuitBreaker string `yaml:"circuitBreaker"`
}

type policies []policy

func readPolicies(t *testing.T) policies {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root(t), "components", "resiliency", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no policies: %v", err)
	}
	var all policies
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var p policy
		if err := yaml.Unmarshal(text, &p); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, p)
	}
	return all
}

// toApps is the policy by which caller calls apps, nil if there is none.
func (all policies) toApps(caller string) *policy {
	for i, p := range all {
		if len(p.Spec.Targets.Apps) > 0 && slices.Contains(p.Scopes, caller) {
			return &all[i]
		}
	}
	return nil
}

// tries is how often the sidecar of caller makes a call at most.
func (all policies) tries(caller string) int {
	p := all.toApps(caller)
	if p == nil {
		return 0
	}
	most := 1
	for _, target := range p.Spec.Targets.Apps {
		if target.Retry != "" {
			most = max(most, p.Spec.Policies.Retries[target.Retry].MaxRetries+1)
		}
	}
	return most
}

const (
	tryTimeout    = "5s"
	repeatedHTTP  = "429,502-504"
	repeatedGRPC  = "4,14" // DEADLINE_EXCEEDED, UNAVAILABLE
	breakerTrip   = "consecutiveFailures >= 3"
	breakerPeriod = "30s"
)

// policyRules hold that every app calls every other by one policy with the time-out and the statuses that are
// repeated, that the gateway repeats nothing, and that no app has a breaker in YAML (the caller has it).
func policyRules(all policies) []string {
	var violations []string
	complain := func(format string, args ...any) { violations = append(violations, fmt.Sprintf(format, args...)) }
	for _, caller := range services {
		p := all.toApps(caller)
		if p == nil {
			complain("%s has no policy for its calls", caller)
			continue
		}
		for _, callee := range services {
			target, ok := p.Spec.Targets.Apps[callee]
			if callee == "gateway" { // nobody calls it
				continue
			}
			retry := p.Spec.Policies.Retries[target.Retry]
			switch {
			case !ok:
				complain("%s: no policy for calls of %s", p.Metadata.Name, callee)
			case p.Spec.Policies.Timeouts[target.Timeout] != tryTimeout:
				complain("%s: a try of %s is not given up after %s", p.Metadata.Name, callee, tryTimeout)
			case target.CircuitBreaker != "":
				complain("%s: %s has a breaker that takes every 4xx for a failure", p.Metadata.Name, callee)
			case caller == "gateway" && target.Retry != "":
				complain("%s: calls of %s are repeated for people who did not ask for it", p.Metadata.Name, callee)
			case caller != "gateway" && (retry.Matching.HTTP != repeatedHTTP || retry.Matching.GRPC != repeatedGRPC):
				complain("%s: calls of %s are repeated on %q and %q, not on %q and %q", p.Metadata.Name, callee,
					retry.Matching.HTTP, retry.Matching.GRPC, repeatedHTTP, repeatedGRPC)
			}
		}
	}
	slices.Sort(violations)
	return slices.Compact(violations)
}

// componentRules hold that every store, broker and binding has a line in the table, with the time-out that its policy
// gives it. Columns: component, app, what, time-out, breaker, while it is away.
func componentRules(rows [][]string, documents []document, all policies, tests map[string]bool) []string {
	var violations []string
	complain := func(format string, args ...any) { violations = append(violations, fmt.Sprintf(format, args...)) }
	listed := map[string]bool{}
	for _, row := range rows {
		for _, name := range allQuoted(row[0]) {
			names := []string{name}
			if name == "<app>-store" {
				names = nil
				for _, s := range services[1:] { // the gateway keeps nothing
					names = append(names, s+"-store")
				}
			}
			for _, name := range names {
				listed[name] = true
				timeout, breaker := "none", "caller"
				for _, p := range all {
					if c, ok := p.Spec.Targets.Components[name]; ok {
						if c.Outbound.Timeout != "" {
							timeout = p.Spec.Policies.Timeouts[c.Outbound.Timeout]
						}
						if b, ok := p.Spec.Policies.CircuitBreakers[c.Outbound.CircuitBreaker]; ok {
							breaker = "both"
							if b.Trip != breakerTrip || b.Timeout != breakerPeriod {
								complain("%s: the breaker of %s is not %q for %s", p.Metadata.Name, name, breakerTrip, breakerPeriod)
							}
						}
					}
				}
				if got := strings.TrimSpace(row[3]); strings.ReplaceAll(got, " ", "") != timeout {
					complain("%s has the time-out %s, the table says %s", name, timeout, got)
				}
				if got := strings.TrimSpace(row[4]); got != "none" && got != breaker {
					complain("%s has a breaker in: %s, the table says %s", name, breaker, got)
				}
			}
		}
		for _, test := range testNames(row[5]) {
			if !tests[test] {
				complain("the table names %s, which is no test", test)
			}
		}
	}
	for _, d := range documents {
		if d.Kind == "Component" && !listed[d.Metadata.Name] {
			listed[d.Metadata.Name] = true
			complain("the component %s is not in the table", d.Metadata.Name)
		}
	}
	return violations
}

// TestEngineStoreOutlastsAnOutage holds the policy that keeps sagas from standing still: see the file's own comment. A time-out
// would give up a write that may still come to pass.
func TestEngineStoreOutlastsAnOutage(t *testing.T) {
	const least = time.Minute // a server that is started anew, with the pauses that Kubernetes makes
	for _, p := range readPolicies(t) {
		at, ok := p.Spec.Targets.Components["order-workflow"]
		if !ok {
			continue
		}
		retry := p.Spec.Policies.Retries[at.Outbound.Retry]
		every, err := time.ParseDuration(retry.Duration)
		if lasts := every * time.Duration(retry.MaxRetries); err != nil || retry.Policy != "constant" || lasts < least || at.Outbound.Timeout != "" {
			t.Errorf("%s: %+v with the time-out %q, %v, want tries for %s or more and no time-out", p.Metadata.Name, retry, at.Outbound.Timeout, err, least)
		}
		return
	}
	t.Error("nothing is said of the store of the workflow engine")
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)

// allTests names every test of the repository.
func allTests(t *testing.T) map[string]bool {
	t.Helper()
	tests := map[string]bool{}
	for _, name := range tracked(t) {
		if !strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(root(t), name))
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range testFunc.FindAllStringSubmatch(string(text), -1) {
			tests[m[1]] = true
		}
	}
	return tests
}

func TestPolicyRulesFail(t *testing.T) {
	good := func() policies {
		var edge, inner policy
		edge.Metadata.Name, inner.Metadata.Name = "edge", "inner"
		edge.Scopes, inner.Scopes = services[:1], services[1:]
		for _, p := range []*policy{&edge, &inner} {
			p.Spec.Policies.Timeouts = map[string]string{"call": "5s", "long": "1m"}
			p.Spec.Targets.Apps = map[string]target{}
		}
		if err := yaml.Unmarshal([]byte(`{again: {maxRetries: 3, matching: {httpStatusCodes: "429,502-504", gRPCStatusCodes: "4,14"}}, always: {maxRetries: 3}}`),
			&inner.Spec.Policies.Retries); err != nil {
			t.Fatal(err)
		}
		for _, s := range services[1:] {
			edge.Spec.Targets.Apps[s] = target{Timeout: "call"}
			inner.Spec.Targets.Apps[s] = target{Timeout: "call", Retry: "again"}
		}
		return policies{edge, inner}
	}
	same(t, policyRules(good()), nil)
	if all := good(); all.tries("gateway") != 1 || all.tries("order") != 4 || all.tries("nobody") != 0 {
		t.Errorf("tries: %d, %d, %d", all.tries("gateway"), all.tries("order"), all.tries("nobody"))
	}
	bad := good()
	edge, inner := bad[0].Spec.Targets.Apps, bad[1].Spec.Targets.Apps
	edge["menu"] = target{Timeout: "call", Retry: "again"}
	delete(edge, "user")
	inner["menu"] = target{Timeout: "long", Retry: "again"}
	inner["order"] = target{Timeout: "call", Retry: "always"}
	inner["user"] = target{Timeout: "call", Retry: "again", CircuitBreaker: "x"}
	same(t, policyRules(bad), []string{
		"edge: calls of menu are repeated for people who did not ask for it",
		"edge: no policy for calls of user",
		"inner: a try of menu is not given up after 5s",
		`inner: calls of order are repeated on "" and "", not on "429,502-504" and "4,14"`,
		"inner: user has a breaker that takes every 4xx for a failure",
	})
}

func TestComponentRulesFail(t *testing.T) {
	var p policy
	if err := yaml.Unmarshal([]byte(`{policies: {timeouts: {call: 5s}, circuitBreakers: {b: {trip: consecutiveFailures >= 3, timeout: 30s}, wild: {trip: "true"}}},
targets: {components: {mail: {outbound: {timeout: call, circuitBreaker: b}}, sms: {outbound: {timeout: call, circuitBreaker: wild}}, acquirer: {outbound: {timeout: call}}}}}`), &p.Spec); err != nil {
		t.Fatal(err)
	}
	p.Metadata.Name = "outside"
	component := func(name string) document {
		d := document{Kind: "Component"}
		d.Metadata.Name = name
		return d
	}
	documents := []document{component("mail"), component("acquirer")}
	head := "| component | app | what | time-out | breaker | while it is away |\n"
	text := head + "| `mail` | x | y | 5 s | both | `TestMail` |\n| `acquirer` | x | y | 5 s | caller | |\n"
	tests := map[string]bool{"TestMail": true}
	same(t, componentRules(tableRows(text, "component", 6), documents, policies{p}, tests), nil)
	text = head + "| `mail` | x | y | 3 s | caller | `TestNo` |\n| `sms` | x | y | 5 s | both | |\n"
	same(t, componentRules(tableRows(text, "component", 6), documents, policies{p}, tests), []string{
		"mail has the time-out 5s, the table says 3 s",
		"mail has a breaker in: both, the table says caller",
		"the table names TestNo, which is no test",
		`outside: the breaker of sms is not "consecutiveFailures >= 3" for 30s`,
		"the component acquirer is not in the table",
	})
}
