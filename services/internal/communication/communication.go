// Package communication is the declared map of who talks to whom: every arrow between services, from the ingress to the
// gateway, and from a pod to what is no service (broker, stores, outside world, control planes). It is data that people
// read; the rules that machines enforce (Dapr's access list, Istio's AuthorizationPolicies and Sidecars, Kubernetes'
// NetworkPolicies) are compared with it, and it is compared with the code. An arrow too many or too few anywhere is a
// red test.
package communication

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Ingress is the caller that stands at the edge: the gateway of the mesh, behind which everybody outside is.
const Ingress = "ingress"

// Gateway is the service that the ingress leads to.
const Gateway = "gateway"

const (
	get   = http.MethodGet
	post  = http.MethodPost
	put   = http.MethodPut
	patch = http.MethodPatch
	del   = http.MethodDelete
)

// Request is what can be asked of a service: a method and a path in which {name} stands for one segment.
type Request struct {
	Method, Path string
}

// String is the request as people write it: GET /v1/orders/{order}.
func (r Request) String() string { return r.Method + " " + r.Path }

// Call is an arrow over HTTP: what Caller may ask of Callee, and nothing else.
type Call struct {
	Caller, Callee string
	Requests       []Request
}

// Services are the ten services, in the order in which a request meets them.
func Services() []string {
	return []string{Gateway, "user", "menu", "pricing", "order", "payment", "restaurant", "delivery", "notification", "analytics"}
}

// Calls is the whole map over HTTP: one arrow for each pair of caller and callee, sorted, each request once.
func Calls() []Call {
	type pair struct{ caller, callee string }
	all := map[pair]map[Request]bool{}
	for _, c := range slices.Concat(Edge(), Public(), Between(), History()) {
		p := pair{c.Caller, c.Callee}
		if all[p] == nil {
			all[p] = map[Request]bool{}
		}
		for _, r := range c.Requests {
			all[p][r] = true
		}
	}
	var out []Call
	for p, requests := range all {
		out = append(out, Call{p.caller, p.callee, slices.SortedFunc(maps.Keys(requests), byPath)})
	}
	slices.SortFunc(out, func(a, b Call) int { return cmp.Or(cmp.Compare(a.Callee, b.Callee), cmp.Compare(a.Caller, b.Caller)) })
	return out
}

func byPath(a, b Request) int {
	return cmp.Or(strings.Compare(a.Path, b.Path), strings.Compare(a.Method, b.Method))
}

// Callers are those that may ask something of callee, sorted.
func Callers(callee string) []string {
	var all []string
	for _, c := range Calls() {
		if c.Callee == callee {
			all = append(all, c.Caller)
		}
	}
	return all
}

// Callees are those that caller may ask something of, sorted.
func Callees(caller string) []string {
	var all []string
	for _, c := range Calls() {
		if c.Caller == caller {
			all = append(all, c.Callee)
		}
	}
	return all
}
