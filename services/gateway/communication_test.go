package gateway

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/deadletter"
)

// declared is what the map of communication must say of routes: who serves what comes in, and what needs no token.
type declared struct {
	Edge, WithoutToken []string
	Apps               map[string][]string
}

func declaredBy(table []route, apps []string) declared {
	d := declared{Apps: map[string][]string{}}
	for _, rt := range table {
		line := rt.Method + " " + rt.Pattern
		d.Edge = append(d.Edge, line)
		if slices.Contains(rt.For, "nobody") || slices.Contains(rt.For, "anyone") {
			d.WithoutToken = append(d.WithoutToken, line)
		}
		switch {
		case rt.App != "":
			d.Apps[rt.App] = append(d.Apps[rt.App], line)
		case strings.HasPrefix(rt.Pattern, deadletter.Path):
			for _, app := range apps {
				switch rt.Pattern { // of all apps: the gateway asks each for its own
				case deadletter.Path, deadletter.Path + "/audit":
				default:
					d.Apps[app] = append(d.Apps[app], strings.Replace(line, "{app}", app, 1))
				}
			}
		}
	}
	return d.sorted()
}

func (d declared) sorted() declared {
	slices.Sort(d.Edge)
	slices.Sort(d.WithoutToken)
	for _, lines := range d.Apps {
		slices.Sort(lines)
	}
	return d
}

func lines(requests []communication.Request) []string {
	var all []string
	for _, r := range requests {
		all = append(all, r.String())
	}
	return all
}

func TestCommunicationMap(t *testing.T) {
	got := declared{WithoutToken: lines(communication.WithoutToken()), Apps: map[string][]string{}}
	for _, c := range communication.Edge() {
		if c.Caller != communication.Ingress || c.Callee != communication.Gateway {
			t.Errorf("%s calls %s at the edge", c.Caller, c.Callee)
		}
		got.Edge = append(got.Edge, lines(c.Requests)...)
	}
	for _, c := range communication.Public() {
		if c.Caller != communication.Gateway {
			t.Errorf("%s hands on what comes from outside", c.Caller)
		}
		got.Apps[c.Callee] = append(got.Apps[c.Callee], lines(c.Requests)...)
	}
	want := declaredBy(routes(), apps())
	if diff := cmp.Diff(want, got.sorted()); diff != "" {
		t.Errorf("services/internal/communication against the table of routes (-want +got):\n%s", diff)
	}
}

func TestCommunicationMapFollowsRoutes(t *testing.T) {
	got := declaredBy([]route{
		{get, "/v1/orders", "order", customers, nil, 0, nil},
		{get, "/v1/routes", "", nobodys, nil, 0, nil},
		{get, deadletter.Path, "", operators, nil, 0, nil},
		{get, deadletter.Path + "/{app}/{letter}", "", operators, nil, 0, nil},
	}, []string{"menu", "order"})
	want := declared{
		Edge:         []string{"GET /v1/dead-letters", "GET /v1/dead-letters/{app}/{letter}", "GET /v1/orders", "GET /v1/routes"},
		WithoutToken: []string{"GET /v1/routes"},
		Apps: map[string][]string{
			"menu":  {"GET /v1/dead-letters/menu/{letter}"},
			"order": {"GET /v1/dead-letters/order/{letter}", "GET /v1/orders"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
