package cluster

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// apiServer is the cluster's own API, which no service needs.
const apiServer = "tcp://kubernetes.default.svc.cluster.local:443"

// connection is to connect to a place.
func connection(p communication.Place) probe.Request {
	return probe.Request{URL: "tcp://" + p.Host() + ":" + strconv.Itoa(p.Port)}
}

// tcpPlaces are the places of the map that are connected to by TCP and have a Service, each once.
func tcpPlaces() []communication.Place {
	var all []communication.Place
	seen := map[string]bool{}
	for _, c := range communication.Connections() {
		p := c.To
		if p.Protocol != "TCP" || p.Port == communication.ActorPort || seen[p.Host()+strconv.Itoa(p.Port)] {
			continue
		}
		seen[p.Host()+strconv.Itoa(p.Port)] = true
		all = append(all, p)
	}
	return all
}

// mayConnect tells whether the map has a connection.
func mayConnect(from string, to communication.Place) bool {
	return slices.ContainsFunc(communication.Connections(), func(c communication.Connection) bool {
		// Policies go by the pods and their ports: two names of the same pods are one place to them.
		return c.From == from && c.To.Namespace == to.Namespace && c.To.At() == to.At() && c.To.Protocol == to.Protocol &&
			fmt.Sprint(c.To.Labels()) == fmt.Sprint(to.Labels())
	})
}

// TestNetworkPolicies connects from the pod of each service to every place of the map, around the mesh, which would hide
// what the network does.
func TestNetworkPolicies(t *testing.T) {
	t.Parallel() // it waits for what times out
	r := shows(t, "network", "Each pod can connect to what the map says and to nothing else.", "k8s/base/networkpolicies.yaml", "k8s/data/networkpolicies.yaml")
	targets := tcpPlaces()
	open, shut := 0, 0
	try := func(app string) {
		if app == "analytics" {
			analytics.Lock() // there must be a pod of it that is ready
			defer analytics.Unlock()
		}
		from := here.beside(r, app, aroundMesh)
		requests := []probe.Request{{URL: apiServer}}
		for _, p := range targets {
			requests = append(requests, connection(p))
		}
		answers := here.askAll(r, from, requests, "--timeout", "2s", "--concurrency", "40")
		// On a busy node an answer can be late, and a name not found in time says nothing of the way there: asked once more.
		for i, p := range targets {
			if a := answers[i+1]; a.Failure == probe.NoName || a.Failure == probe.TimedOut && mayConnect(app, p) {
				answers[i+1] = here.ask(r, from, connection(p), "--timeout", "10s")
			}
		}
		if a := answers[0]; a.Failure != probe.TimedOut {
			r.Errorf("%s to the API server: %s, want that it times out", app, a)
		}
		for i, p := range targets {
			a := answers[i+1]
			switch own := p.Namespace == communication.Namespace && p.Name == app; {
			case own: // a pod's way to itself is nobody's business
			case mayConnect(app, p) && a.Failure != "":
				r.Errorf("%s to %s:%d: %s, want a connection: the map has it", app, p.Host(), p.Port, a)
			case !mayConnect(app, p) && a.Failure != probe.TimedOut:
				r.Errorf("%s to %s:%d: %s, want that it times out: the map lacks it", app, p.Host(), p.Port, a)
			case a.Failure == "":
				open++
			default:
				shut++
			}
		}
	}
	for _, app := range slices.Backward(communication.Services()) { // analytics first: soon it is stopped
		try(app)
	}
	r.Figure("connections of the map that are made, from 10 pods", fmt.Sprint(open), "all")
	r.Figure("other connections that time out", fmt.Sprint(shut), "all, the API server too")
}

// TestOutsiders connects from a namespace that the map does not know. What it reaches otherwise shows that it is the
// policies that stop it.
func TestOutsiders(t *testing.T) {
	r := shows(t, "network", "A pod of another namespace reaches no service and no store.", "k8s/base/networkpolicies.yaml", "k8s/data/networkpolicies.yaml")
	from := here.foreign(r, outsideNamespace)
	if a := here.ask(r, from, probe.Request{URL: apiServer}); a.Failure != "" {
		r.Errorf("%s to the API server: %s, want a connection, or nothing is shown", from.name, a)
	}
	var requests []probe.Request
	for _, p := range tcpPlaces() {
		if p.Namespace == communication.Namespace || p.Namespace == communication.DataNamespace {
			requests = append(requests, connection(p))
		}
	}
	for _, a := range here.askAll(r, from, requests, "--timeout", "2s", "--concurrency", "40") {
		if a.Failure != probe.TimedOut {
			r.Errorf("%s to %s: want that it times out", from.name, a)
		}
	}
	r.Saw("%d services and stores time out; the API server is reached", len(requests))
}

// TestEgress asks for hosts through the mesh: the one that a service has a way to, and others.
func TestEgress(t *testing.T) {
	r := shows(t, "network", "Only payment reaches the card acquirer, and nobody a host that is not declared.",
		"mesh/egress", "mesh/sidecars")
	acquirer := probe.Request{URL: "http://acquirer.dishmesh-city.svc.cluster.local/acquirer/v1/operations/proof"}
	if a := here.ask(r, here.beside(r, "payment", withMesh), acquirer); a.Status != http.StatusUnauthorized && a.Status != http.StatusNotFound {
		r.Errorf("payment asks the acquirer without its key: %s, want its 401 or 404", a)
	}
	undeclared := probe.Request{URL: "http://city.dishmesh-city.svc.cluster.local:8090/"}
	for _, c := range []struct {
		from string
		to   probe.Request
	}{
		{"order", acquirer},
		{"payment", undeclared},
		{"payment", probe.Request{URL: "http://example.org/"}},
		{"payment", probe.Request{URL: "http://203.0.113.1/"}}, // RFC 5737
	} {
		a := here.ask(r, here.beside(r, c.from, withMesh), c.to)
		if !blocked(a) {
			r.Errorf("%s asks %s: want that it does not get there", c.from, a)
			continue
		}
		how := a.Failure
		if how == "" {
			how = fmt.Sprintf("%d of its own proxy", a.Status)
		}
		r.Saw("%s to %s: %s", c.from, c.to.URL, how)
	}
}
