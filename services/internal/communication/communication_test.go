package communication_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/communication"
)

func TestCallsHaveOneArrowForAPair(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range communication.Calls() {
		pair := c.Caller + " " + c.Callee
		if seen[pair] {
			t.Errorf("two arrows for %s", pair)
		}
		seen[pair] = true
		if c.Caller == c.Callee {
			t.Errorf("%s calls itself", c.Caller)
		}
		for i, r := range c.Requests {
			if slices.Contains(c.Requests[:i], r) {
				t.Errorf("%s: twice %s", pair, r)
			}
			if !strings.HasPrefix(r.Path, "/") || strings.Contains(r.Path, "*") {
				t.Errorf("%s: %q is no path", pair, r.Path)
			}
		}
	}
	if len(seen) == 0 {
		t.Error("nobody calls anybody")
	}
}

// What comes in from outside must not reach what services keep for each other.
func TestNothingInternalIsPublic(t *testing.T) {
	for _, c := range slices.Concat(communication.Edge(), communication.Public()) {
		for _, r := range c.Requests {
			if strings.HasPrefix(r.Path, "/internal/") || strings.HasPrefix(r.Path, "/events/") || strings.Contains(r.Path, "Service/") {
				t.Errorf("%s is asked of %s from outside", r, c.Callee)
			}
		}
	}
	edge := communication.Edge()[0].Requests
	for _, r := range communication.WithoutToken() {
		if !slices.Contains(edge, r) {
			t.Errorf("%s needs no token and is not public", r)
		}
	}
}

func TestCallersAndCallees(t *testing.T) {
	if got, want := communication.Callers("menu"), []string{"gateway", "pricing"}; !slices.Equal(got, want) {
		t.Errorf("callers of menu: %v, want %v", got, want)
	}
	if got, want := communication.Callees("order"), []string{"delivery", "payment", "pricing", "restaurant"}; !slices.Equal(got, want) {
		t.Errorf("callees of order: %v, want %v", got, want)
	}
	if got, want := communication.Callers(communication.Gateway), []string{communication.Ingress}; !slices.Equal(got, want) {
		t.Errorf("callers of the gateway: %v, want %v", got, want)
	}
}

func TestConnections(t *testing.T) {
	seen := map[string]bool{}
	known := append(communication.Services(), communication.Ingress, communication.Rights, communication.City)
	for _, c := range slices.Concat(communication.Connections(), communication.Telemetry()) {
		if !slices.Contains(known, c.From) {
			t.Errorf("nobody is called %s", c.From)
		}
		if c.To.Name == "" || c.To.Namespace == "" || c.To.At() == 0 || len(c.To.Labels()) == 0 || c.Why == "" {
			t.Errorf("%s: the place is not whole: %+v", c.From, c.To)
		}
		if c.To.Protocol != "TCP" && c.To.Protocol != "UDP" {
			t.Errorf("%s: protocol %q", c.From, c.To.Protocol)
		}
		key := strings.Join([]string{c.From, c.To.Host(), c.To.Protocol}, " ")
		if c.From == "delivery" && c.To.Name == "redis" {
			continue // two reasons
		}
		if seen[key] && c.To.Port != communication.ActorPort {
			t.Errorf("twice: %s", key)
		}
		seen[key] = true
	}
}
