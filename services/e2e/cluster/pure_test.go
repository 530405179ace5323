package cluster

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// What needs no cluster is tested without one.

func TestSeries(t *testing.T) {
	for _, tt := range []struct {
		line   string
		labels []string
		want   float64
		ok     bool
	}{
		{`calls_total{route="/a",status="200"} 3`, []string{`route="/a"`}, 3, true},
		{`calls_total{route="/a",status="200"} 3`, []string{`route="/b"`}, 0, false},
		{`calls_total 1.5e+03`, nil, 1500, true},
		{`calls_total_more 3`, nil, 0, false},
		{`# TYPE calls_total counter`, nil, 0, false},
	} {
		if got, ok := series(tt.line, "calls_total", tt.labels); got != tt.want || ok != tt.ok {
			t.Errorf("%s: got %g, %t", tt.line, got, ok)
		}
	}
}

func TestAttempts(t *testing.T) {
	count := map[bool]int{}
	for _, caller := range communication.Services() {
		for _, at := range attempts(caller) {
			count[at.allowed]++
			if at.callee == caller || at.allowed && !at.known {
				t.Errorf("%+v", at)
			}
			if at.request.Path == "/metrics" && at.allowed {
				t.Errorf("%+v: nobody may", at)
			}
		}
	}
	if count[true] < 80 || count[false] < 200 {
		t.Errorf("%v attempts, want many of both", count)
	}
	quote := communication.Request{Method: http.MethodPost, Path: "/v1/quotes"}
	for _, at := range attempts("order") {
		if at.callee == "pricing" && at.request == quote && (at.allowed || !at.known) {
			t.Errorf("%+v: order may ask pricing for something else only", at)
		}
	}
}

func TestVerdicts(t *testing.T) {
	rbac := probe.Answer{Status: 403, Body: "RBAC: access denied"}
	own := probe.Answer{Status: 401, Body: `{"type":"/problems/unauthenticated"}`}
	for _, tt := range []struct {
		name           string
		allowed, known bool
		answer         probe.Answer
		fine           bool
	}{
		{"an arrow", true, true, own, true},
		{"an arrow that is shut", true, true, rbac, false},
		{"an arrow without an answer", true, true, probe.Answer{Failure: probe.Reset}, false},
		{"another path", false, true, rbac, true},
		{"another path that is open", false, true, own, false},
		{"another path, lost on the way", false, true, probe.Answer{Status: 503}, false},
		{"no arrow", false, false, probe.Answer{Status: 502}, true},
		{"no arrow, denied there", false, false, rbac, true},
		{"no arrow, and it arrives", false, false, own, false},
		{"no arrow, and the service has no such path", false, false, probe.Answer{Status: 404, Body: "{}"}, false},
	} {
		if got := (attempt{allowed: tt.allowed, known: tt.known}).verdict(tt.answer); (got == "") != tt.fine {
			t.Errorf("%s: %q", tt.name, got)
		}
	}
}

func TestMayConnect(t *testing.T) {
	find := func(host string) communication.Place {
		for _, p := range tcpPlaces() {
			if p.Name == host {
				return p
			}
		}
		t.Fatalf("no place %s", host)
		return communication.Place{}
	}
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"pricing", "redis", true}, {"pricing", "postgres", false}, {"order", "postgres", true}, {"order", "pricing", true},
		{"pricing", "payment", false}, {"payment", "acquirer", true}, {"order", "acquirer", false}, {"menu", "kafka", true},
	} {
		if got := mayConnect(tt.from, find(tt.to)); got != tt.want {
			t.Errorf("%s to %s: %t", tt.from, tt.to, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]float64{"5.5GiB": 5.5 * (1 << 30), "812MiB": 812 << 20, "12kB": 12000} {
		if got, err := parseSize(in); err != nil || got != want {
			t.Errorf("%s: %g, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "much", "5 parsecs"} {
		if _, err := parseSize(in); err == nil {
			t.Errorf("%q is taken", in)
		}
	}
}

func TestHasFlag(t *testing.T) {
	for _, tt := range []struct {
		line string
		want bool
	}{
		{`[2026-11-22T12:00:00.000Z] "POST /internal/payments/ord_1/capture HTTP/1.1" 503 FI fault_filter_abort - "-" 0 18 0 -`, true},
		{`[2026-11-22T12:00:00.000Z] "POST /internal/FI HTTP/1.1" 503 UF via_upstream - "-" 0 18 0 -`, false},
		{`{"response_code":503,"response_flags":"FI"}`, true},
		{`{"response_code":503,"response_flags":"-"}`, false},
		{`info FI started`, false},
	} {
		if got := hasFlag(tt.line, "FI"); got != tt.want {
			t.Errorf("%s: %t", tt.line, got)
		}
	}
}

// What the tests apply can be read, and says of each thing where it belongs.
func TestManifestsOfTheTests(t *testing.T) {
	for _, tt := range []struct {
		name, manifests string
		want            []string
	}{
		{"foreign", foreignManifests, []string{"Namespace /" + foreignNamespace, "Namespace /" + outsideNamespace, "ServiceAccount " + foreignNamespace + "/gateway",
			"Pod " + foreignNamespace + "/prober", "Pod " + outsideNamespace + "/prober"}},
		{"let in", letIn, []string{"NetworkPolicy dishmesh/proof-let-in"}},
		{"bad pod", strings.ReplaceAll(badManifest, "APP", "pricing"), []string{"Pod dishmesh/" + badPod}},
		{"pod that is not ready", unready.Replace(strings.ReplaceAll(badManifest, "APP", "pricing")), []string{"Pod dishmesh/" + badPod}},
		{"client that vanishes", fmt.Sprintf(vanishes, "postgres"), []string{"Pod dishmesh-data/proof-vanishes"}},
	} {
		var got []string
		for dec := yaml.NewDecoder(strings.NewReader(tt.manifests)); ; {
			var o struct {
				Kind     string
				Metadata struct{ Name, Namespace string }
			}
			if err := dec.Decode(&o); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			got = append(got, o.Kind+" "+o.Metadata.Namespace+"/"+o.Metadata.Name)
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestReadSpans(t *testing.T) {
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	batch := func(service, spans string) string {
		return `{"resourceSpans":[{"resource":{"attributes":[{"key":"telemetry.sdk.language","value":{"stringValue":"cpp"}},{"key":"service.name","value":{"stringValue":"` +
			service + `"}}]},"scopeSpans":[{"scope":{"name":"envoy"},"spans":[` + spans + `]}]}]}` + "\n"
	}
	log := batch("order", `{"traceId":"`+trace+`","spanId":"c3","parentSpanId":"b2","name":"call","startTimeUnixNano":"3000000","endTimeUnixNano":"4500000"}`) +
		`{"level":"error","msg":"about ` + trace + `"}` + "\n" +
		batch("ingress.dishmesh-ingress", `{"traceId":"`+trace+`","spanId":"a1","parentSpanId":"f0","name":"ingress","kind":2,"flags":257,"startTimeUnixNano":"1000000","endTimeUnixNano":"9000000"},`+
			`{"traceId":"00000000000000000000000000000001","spanId":"x1","name":"other","startTimeUnixNano":"1","endTimeUnixNano":"2"}`) +
		batch("gateway.dishmesh", `{"traceId":"`+trace+`","spanId":"b2","parentSpanId":"a1","name":"inbound","startTimeUnixNano":"2000000","endTimeUnixNano":"8000000"}`)
	spans, err := readSpans(log, trace)
	if err != nil {
		t.Fatal(err)
	}
	const want = `     0.0 ms     8.0 ms  ingress.dishmesh-ingress: ingress
     1.0 ms     6.0 ms    gateway.dishmesh: inbound
     2.0 ms     1.5 ms      order: call
`
	if got := tree(spans); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if !descends(spans, spans[2], spans[0]) || descends(spans, spans[0], spans[2]) || spans[0].Parent != "f0" {
		t.Errorf("who hangs on whom: %+v", spans)
	}
	if _, err := readSpans(`{"resourceSpans":[{"`+trace, trace); err == nil {
		t.Error("half a line is taken for whole")
	}
}
