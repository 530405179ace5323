package cluster

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// letIn is a NetworkPolicy that opens all services to the tests' namespace of the mesh. Policies add up, so it takes
// nothing from those that are there.
const letIn = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: proof-let-in, namespace: ` + communication.Namespace + `}
spec:
  podSelector: {}
  policyTypes: [Ingress]
  ingress:
    - from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: ` + foreignNamespace + `}}}]
      ports: [{port: 8080, protocol: TCP}]
`

// TestForeignNamespace calls every service from a namespace that is in the mesh, with an account of the gateway's name.
// Two things stop it, and each is seen by itself: the NetworkPolicies, and with a NetworkPolicy that lets it in, the mesh.
func TestForeignNamespace(t *testing.T) {
	r := shows(t, "authorization", "An account of the right name in another namespace of the mesh gets nowhere: the network stops it, and where that lets it in, the mesh does.",
		"k8s/base/networkpolicies.yaml", "mesh/authorization", "mesh/default-deny.yaml")
	inside := here.foreign(r, foreignNamespace)
	around := inside
	around.Name, around.name = aroundMesh, "around the proxy "+inside.name

	var calls, connections []probe.Request
	for _, c := range communication.Calls() {
		if c.Caller == communication.Gateway {
			calls = append(calls, direct(c.Callee, c.Requests[0].Method, sample(c.Requests[0].Path)))
		}
	}
	calls = append(calls, direct(communication.Gateway, http.MethodGet, "/v1/restaurants"))
	for _, q := range calls {
		address, _, _ := strings.Cut(strings.TrimPrefix(q.URL, "http://"), "/")
		connections = append(connections, probe.Request{URL: "tcp://" + address})
	}
	connect := func() ([]probe.Answer, error) {
		return here.tryAll(r.Context(), around, connections, "--timeout", "2s", "--concurrency", "40")
	}

	answers, err := connect()
	if err != nil {
		r.Fatal(err)
	}
	for _, a := range answers {
		if a.Failure != probe.TimedOut {
			r.Errorf("%s: %s, want that it times out: no policy lets it in", around.name, a)
		}
	}
	for _, a := range here.askAll(r, inside, calls) {
		if !blocked(a) || denied(a) {
			r.Errorf("%s: %s, want that it does not even reach the mesh's policy", inside.name, a)
		}
	}
	r.Saw("as it is, %d of %d connections time out, and its own proxy answers calls", len(answers), len(calls))

	here.applied(r, letIn)
	r.Eventually(settled, "the network lets it in", func() error {
		answers, err := connect()
		if err != nil {
			return err
		}
		for _, a := range answers {
			if a.Failure != "" {
				return fmt.Errorf("%s", a)
			}
		}
		return nil
	})
	// The proxy may still wait for a connection that it began before.
	r.Eventually(settled, "the mesh denies every call", func() error {
		answers, err := here.tryAll(r.Context(), inside, calls)
		if err != nil {
			return err
		}
		for _, a := range answers {
			if reached(a) || !blocked(a) {
				r.Fatalf("%s: %s, and the service was reached", inside.name, a)
			}
			if !denied(a) {
				return fmt.Errorf("%s, want 403 of the mesh", a)
			}
		}
		return nil
	})
	r.Saw("let in by a NetworkPolicy, all %d connect, and the mesh answers %d calls with 403", len(connections), len(calls))
}

// applied applies manifests, and takes what they name away again at the end of the test.
func (s *site) applied(t *T, manifests string) {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.Delete(ctx, manifests); err != nil {
			t.Errorf("what the test applied can't be taken back: %v", err)
		}
	})
	if err := s.Apply(t.Context(), manifests); err != nil {
		t.Fatal(err)
	}
}
