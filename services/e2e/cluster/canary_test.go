package cluster

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/binomial"
	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/probe"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

const (
	// canaryCalls is how many calls a measurement makes: enough to tell a tenth from a half beyond doubt.
	canaryCalls = 400
	// sureness is how often a measurement of a split that is right may be taken for wrong: once in a thousand.
	sureness = 0.999
	// requestID travels from hop to hop, so it can choose the way of one customer's calls.
	requestID = "X-Request-Id"
)

// canary deploys version v2 of an app beside v1, without any traffic, and takes it away again at the end of the test.
func (s *site) canary(t *T, app string) {
	t.Helper()
	stable := "mesh/destinations/" + app + ".yaml"
	if app == communication.Gateway {
		stable = "mesh/ingress/routes.yaml"
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
		defer cancel()
		_, err1 := s.Run(ctx, "apply", "-f", filepath.Join(s.home, stable))
		_, err2 := s.Run(ctx, "delete", "deployment", "-n", communication.Namespace, "-l", "dishmesh/canary="+app, "--wait")
		if err := errors.Join(err1, err2); err != nil {
			t.Errorf("the canary can't be taken back: %v", err)
		}
	})
	if _, err := s.Run(t.Context(), "apply", "-k", filepath.Join(s.home, "mesh/canary", app), "-l", "dishmesh/canary="+app); err != nil {
		t.Fatal(err)
	}
	if err := s.RolledOut(t.Context(), communication.Namespace, "deployment/"+app+"-v2", rolloutWithin); err != nil {
		t.Fatal(err)
	}
}

// traffic applies a way of sharing calls.
func (s *site) traffic(t *T, file string) {
	t.Helper()
	if _, err := s.Run(t.Context(), "apply", "-f", filepath.Join(s.home, file)); err != nil {
		t.Fatal(err)
	}
}

// weigh gives version v2 so many calls in a hundred, by hand, as somebody with kubectl does.
func (s *site) weigh(t *T, namespace, route string, v2 int) {
	t.Helper()
	// The split is the last rule of the route.
	var found struct {
		Spec struct {
			HTTP []struct {
				Name string `json:"name"`
			} `json:"http"`
		} `json:"spec"`
	}
	if err := s.Get(t.Context(), &found, "virtualservice", route, "-n", namespace); err != nil {
		t.Fatal(err)
	}
	last := len(found.Spec.HTTP) - 1
	patch := fmt.Sprintf(`[{"op":"replace","path":"/spec/http/%d/route/0/weight","value":%d},{"op":"replace","path":"/spec/http/%[1]d/route/1/weight","value":%[3]d}]`, last, 100-v2, v2)
	if err := s.PatchJSON(t.Context(), namespace, "virtualservice/"+route, patch); err != nil {
		t.Fatal(err)
	}
}

// split measures how calls are shared, and holds it against the binomial interval of a weight. A change takes a moment to
// reach every proxy, so it measures again until it holds or time is over; a wrong weight never holds.
func split(t *T, what, app string, weight float64, measure func(n int) probe.Summary) {
	t.Helper()
	bound := binomial.Around(canaryCalls, weight, sureness)
	var sum probe.Summary
	var v2 int
	deadline := time.Now().Add(settled)
	for {
		sum = measure(canaryCalls)
		v2 = sum.Tally[app+"/v2"]
		if bound.Holds(v2) && sum.Tally[app+"/v1"]+v2 == canaryCalls || time.Now().After(deadline) {
			break
		}
	}
	t.Figure(what, fmt.Sprintf("v1 : v2 = %d : %d", sum.Tally[app+"/v1"], v2), "v2 "+bound.String())
	if !bound.Holds(v2) || sum.Tally[app+"/v1"]+v2 != canaryCalls {
		t.Errorf("%s: %d of %d calls came to v2, want %s; answers %v, failures %v, statuses %v", what, v2, canaryCalls, bound, sum.Tally, sum.Failures, sum.Statuses)
	}
}

// quoting is a call of pricing by a sidecar that pricing answers with what is wrong with it. It changes nothing.
func quoting(token string) probe.Request {
	return byDapr(token, "pricing", http.MethodPost, "/v1/quotes", "{}")
}

// TestCanaryEastWest measures weights on calls between services, which Dapr makes by an HTTPEndpoint.
func TestCanaryEastWest(t *testing.T) {
	r := shows(t, "canary", "Between services, calls that Dapr makes are shared by Istio's weights, by header, and all go back at once.",
		"mesh/canary/pricing", "mesh/canary/traffic/pricing-90-10.yaml", "mesh/canary/traffic/pricing-by-header.yaml", "components/endpoints/pricing.yaml")
	here.canary(r, "pricing")
	from := here.beside(r, communication.Gateway, withMesh)
	token := here.daprToken(r, communication.Gateway)
	measure := func(q probe.Request) func(int) probe.Summary {
		return func(n int) probe.Summary { return here.many(r, from, n, 4, q, "--tally", web.VersionHeader) }
	}
	split(r, "deployed, no route to it", "pricing", 0, measure(quoting(token)))
	here.traffic(r, "mesh/canary/traffic/pricing-90-10.yaml")
	split(r, "90/10", "pricing", 0.1, measure(quoting(token)))
	here.weigh(r, communication.Namespace, "pricing", 50)
	split(r, "50/50, by kubectl patch", "pricing", 0.5, measure(quoting(token)))
	here.traffic(r, "mesh/canary/traffic/pricing-by-header.yaml")
	split(r, "by header, calls that have it", "pricing", 1, measure(with(quoting(token), requestID, "v2-proof")))
	split(r, "by header, calls that lack it", "pricing", 0, measure(with(quoting(token), requestID, "proof")))
	here.traffic(r, "mesh/destinations/pricing.yaml")
	split(r, "rolled back", "pricing", 0, measure(quoting(token)))
}

// TestCanaryNorthSouth measures weights on requests that come in by the ingress.
func TestCanaryNorthSouth(t *testing.T) {
	t.Parallel() // it must not ask faster than one address may
	r := shows(t, "canary", "From outside, requests are shared among two versions of the gateway, by weight and by header, and all go back at once.",
		"mesh/canary/gateway", "mesh/canary/traffic/gateway-90-10.yaml", "mesh/canary/traffic/gateway-by-header.yaml")
	here.canary(r, communication.Gateway)
	routes := here.raw("", http.MethodGet, "/v1/routes", nil)
	measure := func(q probe.Request) func(int) probe.Summary {
		return func(n int) probe.Summary { // at less than what the gateway allows to one address
			return here.caller.Many(r.Context(), probe.Plan{Requests: []probe.Request{q}, Count: n, AtOnce: 4, Rate: 60, Tally: web.VersionHeader})
		}
	}
	split(r, "deployed, no route to it", "gateway", 0, measure(routes))
	here.traffic(r, "mesh/canary/traffic/gateway-90-10.yaml")
	split(r, "90/10", "gateway", 0.1, measure(routes))
	here.weigh(r, communication.IngressNamespace, "edge", 50)
	split(r, "50/50, by kubectl patch", "gateway", 0.5, measure(routes))
	here.traffic(r, "mesh/canary/traffic/gateway-by-header.yaml")
	split(r, "by header, requests that have it", "gateway", 1, measure(with(routes, "Canary", "v2")))
	split(r, "by header, requests that lack it", "gateway", 0, measure(routes))
	here.traffic(r, "mesh/ingress/routes.yaml")
	split(r, "rolled back", "gateway", 0, measure(routes))
}

// TestMirror sees copies of calls arrive at a version that answers nobody.
func TestMirror(t *testing.T) {
	r := shows(t, "canary", "A mirrored version gets a copy of every call, and its answers go nowhere.", "mesh/canary/traffic/pricing-mirrored.yaml")
	here.canary(r, "pricing")
	here.traffic(r, "mesh/canary/traffic/pricing-mirrored.yaml")
	from := here.beside(r, communication.Gateway, withMesh)
	q := quoting(here.daprToken(r, communication.Gateway))
	const n = 50
	copies := func() float64 {
		return here.counted(r, "pricing", "v2", "http_request_duration_seconds_count", `route="/v1/quotes"`)
	}
	r.Eventually(settled, "a copy arrives", func() error {
		here.many(r, from, 1, 1, q)
		if copies() == 0 {
			return errors.New("none so far")
		}
		return nil
	})
	here.quiet(r, copies)
	before := copies()
	sum := here.many(r, from, n, 4, q, "--tally", web.VersionHeader)
	if sum.Tally["pricing/v1"] != n {
		r.Errorf("answers come from %v, want all from v1", sum.Tally)
	}
	here.quiet(r, copies)
	got := copies() - before
	r.Figure("copies of 50 calls that arrive at v2", fmt.Sprintf("%.0f", got), "50")
	if got != n {
		r.Errorf("%.0f copies of %d calls", got, n)
	}
}

// quiet waits until a count stands still.
func (s *site) quiet(t *T, count func() float64) {
	t.Helper()
	last, since := count(), time.Now()
	t.Eventually(30*time.Second, "the count stands still", func() error {
		if now := count(); now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) < 2*time.Second {
			return errors.New("it moves")
		}
		return nil
	})
}

// counted sums a counter of all pods of an app's version: the series of a metric that have all of some labels.
func (s *site) counted(t *T, app, version, metric string, labels ...string) float64 {
	t.Helper()
	pods, err := s.Pods(t.Context(), communication.Namespace, "app="+app+",version="+version)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, p := range pods {
		addr, stop, err := s.Forward(t.Context(), communication.Namespace, "pod/"+p.Metadata.Name, communication.AppPort)
		if err != nil {
			t.Fatal(err)
		}
		sum += scrape(t, "http://"+addr+"/metrics", metric, labels)
		stop()
	}
	return sum
}

// scrape sums series in Prometheus' text form.
func scrape(t *T, url, metric string, labels []string) float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	sum := 0.0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		v, ok := series(lines.Text(), metric, labels)
		if ok {
			sum += v
		}
	}
	return sum
}

// series reads a line of Prometheus' text form, if it is of a metric and has all of some labels.
func series(line, metric string, labels []string) (float64, bool) {
	rest, ok := strings.CutPrefix(line, metric)
	if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' {
		return 0, false
	}
	for _, l := range labels {
		if !strings.Contains(rest, l) {
			return 0, false
		}
	}
	v, err := strconv.ParseFloat(rest[strings.LastIndex(rest, " ")+1:], 64)
	return v, err == nil
}
