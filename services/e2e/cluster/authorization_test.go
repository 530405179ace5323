package cluster

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// settled is how long a change of policy may take to reach every connection: an open one is judged by the old rules until
// its listener has drained.
const settled = 90 * time.Second

// denied tells whether Envoy refused a call by policy, be it the callee's or the caller's own.
func denied(a probe.Answer) bool {
	return a.Status == http.StatusForbidden && strings.Contains(a.Body, "RBAC: access denied")
}

// blocked tells whether a call did not reach the service at all.
func blocked(a probe.Answer) bool {
	return denied(a) || a.Failure != "" || a.Status == http.StatusBadGateway || a.Status == http.StatusServiceUnavailable ||
		a.Status == http.StatusNotFound && a.Body == "" // Envoy has no route: the service's own 404 is a problem document
}

// reached tells whether the service itself answered: without the token that only its callers' sidecars know, that is 401.
func reached(a probe.Answer) bool { return a.Status == http.StatusUnauthorized && !blocked(a) }

// TestMutualTLS calls a service from a pod that may reach it, once through the mesh and once around it.
func TestMutualTLS(t *testing.T) {
	r := shows(t, "authorization", "Who has no certificate of the mesh is cut off, even in a pod that may connect.", "mesh/strict-mtls.yaml")
	quote := direct("pricing", http.MethodPost, "/dishmesh.pricing.v1.PricingService/ConfirmQuote")
	inside, around := here.beside(r, "order", withMesh), here.beside(r, "order", aroundMesh)
	if a := here.ask(r, inside, quote); !reached(a) {
		r.Errorf("from order through the mesh: %s, want 401 of the service", a)
	}
	connect := probe.Request{URL: strings.Replace(quote.URL[:strings.LastIndex(quote.URL, "/dishmesh")], "http", "tcp", 1)}
	answers := here.askAll(r, around, []probe.Request{connect, quote, {URL: strings.Replace(quote.URL, "http:", "https:", 1), Method: http.MethodPost}}, "--insecure")
	if answers[0].Failure != "" {
		r.Errorf("around the mesh there is no connection, so nothing is shown: %s", answers[0])
	}
	if a := answers[1]; a.Failure != probe.Reset && a.Failure != probe.Closed {
		r.Errorf("around the mesh in plain text: %s, want that the connection ends", a)
	}
	if a := answers[2]; a.Failure == "" || a.Failure == probe.TimedOut {
		r.Errorf("around the mesh by TLS without a certificate: %s, want that the handshake fails", a)
	}
	r.Saw("plain text: %s; TLS without a certificate: %s (%s)", answers[1].Failure, answers[2].Failure, answers[2].Detail)
}

// sample is a path that a pattern allows.
func sample(pattern string) string {
	parts := strings.Split(pattern, "/")
	for i, p := range parts {
		if strings.HasPrefix(p, "{") {
			parts[i] = "proof-1"
		}
	}
	return strings.Join(parts, "/")
}

// attempt is a call of the table: by whom, and whether the map has it.
type attempt struct {
	caller, callee string
	request        communication.Request
	allowed, known bool // known: the caller may ask something else of the callee
}

// attempts are the calls that one account makes: all that the map allows it; what it allows others to ask of the same
// service; the same paths by another method; paths that nobody may ask for.
func attempts(caller string) []attempt {
	var all []attempt
	for _, callee := range communication.Services() {
		if callee == caller || callee == communication.Gateway {
			continue
		}
		var own, others []communication.Request
		for _, c := range communication.Calls() {
			switch {
			case c.Callee != callee:
			case c.Caller == caller:
				own = c.Requests
			default:
				others = append(others, c.Requests...)
			}
		}
		try := func(q communication.Request) {
			all = append(all, attempt{caller, callee, q, allows(own, q), len(own) > 0})
		}
		for _, q := range own {
			try(q)
			try(communication.Request{Method: http.MethodDelete, Path: q.Path})
		}
		for _, q := range others {
			try(q)
		}
		for _, path := range []string{"/internal/proof", "/metrics", "/readyz", "/"} {
			try(communication.Request{Method: http.MethodGet, Path: path})
		}
	}
	return all
}

// allows tells whether one of some requests is q, or a pattern that holds it.
func allows(requests []communication.Request, q communication.Request) bool {
	return slices.ContainsFunc(requests, func(have communication.Request) bool {
		if have.Method != q.Method {
			return false
		}
		pattern, path := strings.Split(have.Path, "/"), strings.Split(sample(q.Path), "/")
		if len(pattern) != len(path) {
			return false
		}
		for i, p := range pattern {
			if !strings.HasPrefix(p, "{") && p != path[i] {
				return false
			}
		}
		return true
	})
}

// verdict says what is wrong with what came of an attempt, or "".
func (at attempt) verdict(a probe.Answer) string {
	switch {
	case at.allowed && !reached(a):
		return "the map has it and it does not arrive"
	case !at.allowed && at.known && !denied(a):
		return "the map lacks it, and it is not denied"
	case !at.allowed && !blocked(a):
		return "the map has no arrow there, and it arrives"
	}
	return ""
}

// TestAuthorization makes every call that the map of communication has, as the account that may make it, and many that it
// lacks: with each account, beside the real services.
func TestAuthorization(t *testing.T) {
	r := shows(t, "authorization", "Each account can ask what the map says, and nothing else: not another path, not by another method, not of another service.",
		"mesh/authorization", "mesh/sidecars", "mesh/default-deny.yaml")
	allowed, refused := 0, 0
	for _, caller := range communication.Services() {
		all := attempts(caller)
		requests := make([]probe.Request, len(all))
		for i, at := range all {
			requests[i] = direct(at.callee, at.request.Method, sample(at.request.Path))
		}
		from := here.beside(r, caller, withMesh)
		var wrong []string
		deadline := time.Now().Add(settled)
		for {
			wrong = nil
			for i, a := range here.askAll(r, from, requests) {
				if what := all[i].verdict(a); what != "" {
					wrong = append(wrong, fmt.Sprintf("%s asks %s for %s: %s: %s", caller, all[i].callee, all[i].request, what, a))
				}
			}
			if len(wrong) == 0 || time.Now().After(deadline) {
				break
			}
		}
		for _, w := range wrong {
			r.Errorf("%s", w)
		}
		for _, at := range all {
			if at.allowed {
				allowed++
			} else {
				refused++
			}
		}
	}
	r.Figure("calls of the map that arrive, of 10 accounts", fmt.Sprint(allowed), "all")
	r.Figure("other calls that are refused", fmt.Sprint(refused), "all")
}
