package cluster

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/probe"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// observed is the overlay with a collector of traces.
const observed = "k8s/overlays/kind-observability"

// observedServices are those whose daprds are looked at.
var observedServices = []string{"gateway", "order", "pricing"}

// What asks to see a request: the first makes the edge look at it at all, the second names the trace, and says in its
// flags whether to keep it.
const (
	clientTrace = "X-Client-Trace-Id"
	traceParent = "Traceparent"
)

// envoyOf is what the Envoy beside a service calls itself; the service's daprd has the name of the service alone.
func envoyOf(app string) string {
	if app == communication.Ingress {
		return app + "." + communication.IngressNamespace
	}
	return app + "." + communication.Namespace
}

// TestTraceOfAnOrder looks at one order on its way, with the collector added for that and taken away again.
func TestTraceOfAnOrder(t *testing.T) {
	r := shows(t, "tracing", "One order is seen in one trace, from the edge through the Envoys and daprds that it passes; one that nobody asked to see is not.",
		"k8s/components/observability", observed, "mesh/telemetry/mesh.yaml", "mesh/mesh-config.yaml")
	start := time.Now()
	r.Cleanup(func() {
		if err := here.unobserve(); err != nil {
			r.Errorf("take the collector away: %v", err)
		}
	})
	if err := here.observe(r.Context()); err != nil {
		r.Fatal(err)
	}
	here.well(r)
	r.Figure("until there is a collector and the services that the request passes were rolled out", fmt.Sprintf("%.0f s", time.Since(start).Seconds()), "")

	// The edge goes on for a while with connections that know of no collector.
	edge := outsider(probe.Settings{Timeout: 10 * time.Second, TLS: here.tls, Fresh: true})
	first := traceContext{trace: randomHex(32), span: randomHex(16), sampled: true}
	r.Eventually(90*time.Second, "the edge tells the collector", func() error {
		q := with(with(here.raw("", http.MethodGet, "/v1/restaurants", nil), clientTrace, "proof"), traceParent, first.String())
		if a := edge.Do(r.Context(), q); a.Status != http.StatusOK {
			return fmt.Errorf("%s", a)
		}
		return here.seen(r.Context(), first.trace, envoyOf(communication.Ingress))
	})

	p := here.register(r)
	unseen := traceContext{trace: randomHex(32), span: randomHex(16)}
	here.placeTraced(r, p, unseen)
	asked := traceContext{trace: randomHex(32), span: randomHex(16), sampled: true}
	o := here.placeTraced(r, p, asked)
	here.reaches(r, p, o.ID, 3*time.Minute, orderapi.Delivered)

	want := []string{envoyOf(communication.Ingress), envoyOf("gateway"), envoyOf("order"), envoyOf("pricing"), "gateway", "order"}
	var spans []span
	r.Eventually(time.Minute, "everybody whom the order passed has told of it", func() (err error) {
		if err := here.seen(r.Context(), asked.trace, want...); err != nil {
			return err
		}
		spans, err = here.spans(r.Context(), asked.trace)
		return err
	})
	r.Log(tree(spans))
	by := map[string]int{}
	hang := 0
	for _, s := range spans {
		by[s.Service]++
		if s.Parent == asked.span || slices.ContainsFunc(spans, func(p span) bool { return p.ID == s.Parent }) {
			hang++
		}
	}
	r.Figure("spans of one order", fmt.Sprint(len(spans)), "")
	r.Figure("of whom", fmt.Sprint(by), "")
	r.Figure("spans that hang on another one of the trace", fmt.Sprintf("%d of %d", hang, len(spans)), "")
	root := spans[slices.IndexFunc(spans, func(s span) bool { return s.Service == envoyOf(communication.Ingress) })]
	if root.Parent != asked.span {
		r.Errorf("the edge's span hangs on %q, want the customer's, %q", root.Parent, asked.span)
	}
	if i := slices.IndexFunc(spans, func(s span) bool { return s.Service == envoyOf("gateway") }); !descends(spans, spans[i], root) {
		r.Errorf("the span of the gateway's Envoy does not hang on that of the edge:\n%s", tree(spans))
	}
	none, err := here.spans(r.Context(), unseen.trace)
	if err != nil {
		r.Fatal(err)
	}
	if len(none) > 0 {
		r.Errorf("%d spans of an order whose trace was not to be kept", len(none))
	}
	r.Saw("an order whose traceparent says that it is not to be kept: %d spans", len(none))
}

// observe adds the collector and rolls out the services that are looked at: their sidecars read their configuration when
// they start.
func (s *site) observe(ctx context.Context) error {
	if _, err := s.Run(ctx, "apply", "--server-side", "--force-conflicts", "--field-manager", "proof", "-k", filepath.Join(s.home, observed)); err != nil {
		return err
	}
	if err := s.RolledOut(ctx, communication.ObservabilityNamespace, "deployment/otel-collector", rolloutWithin); err != nil {
		return err
	}
	return s.rollOut(ctx, observedServices)
}

// rollOut replaces the pods of services, all at once.
func (s *site) rollOut(ctx context.Context, apps []string) error {
	var all sync.WaitGroup
	errs := make([]error, len(apps))
	for i, app := range apps {
		all.Go(func() { errs[i] = s.Restart(ctx, communication.Namespace, "deployment/"+app, 6*time.Minute) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// unobserve takes it away again. It runs when the test has ended, whatever came of it.
func (s *site) unobserve() error {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	_, err := s.Run(ctx, "apply", "--server-side", "--force-conflicts", "--field-manager", "proof", "-k", filepath.Join(s.home, onKafka))
	_, policy := s.Run(ctx, "delete", "networkpolicy", "telemetry", "-n", communication.Namespace, "--ignore-not-found")
	_, namespace := s.Run(ctx, "delete", "namespace", communication.ObservabilityNamespace, "--ignore-not-found", "--wait=false")
	return errors.Join(err, policy, namespace, s.rollOut(ctx, observedServices))
}

// traceContext is what a customer's client says of the trace that it begins (https://www.w3.org/TR/trace-context/).
type traceContext struct {
	trace, span string
	sampled     bool
}

func (c traceContext) String() string {
	flags := "00"
	if c.sampled {
		flags = "01"
	}
	return "00-" + c.trace + "-" + c.span + "-" + flags
}

func randomHex(digits int) string {
	const set = "0123456789abcdef"
	b := make([]byte, digits)
	for i := range b {
		b[i] = set[1+rand.IntN(len(set)-1)] // no 0, which an id must not consist of
	}
	return string(b)
}

// placeTraced places an order as part of a trace.
func (s *site) placeTraced(t *T, p person, c traceContext) orderapi.Order {
	t.Helper()
	q, err := p.Quote(t.Context(), s.town(t).Choose(rand.New(rand.NewPCG(rand.Uint64(), 0))))
	if err != nil {
		t.Fatalf("quote: %v", err)
	}
	var o orderapi.Order
	err = p.API.Do(t.Context(), http.MethodPost, "/v1/orders", orderapi.PlaceRequest{Quote: q.Token, Card: customer.CardOK}, &o,
		publicapi.Header(clientTrace, "proof"), publicapi.Header(traceParent, c.String()), publicapi.IdempotencyKey(ids.New("key")))
	if err != nil {
		t.Fatalf("place an order: %v", err)
	}
	s.acknowledged(t, o)
	return o
}

// spans are those of a trace that the collector has written down, in the order in which they began.
func (s *site) spans(ctx context.Context, trace string) ([]span, error) {
	log, err := s.Run(ctx, "logs", "-n", communication.ObservabilityNamespace, "deployment/otel-collector", "--tail", "-1")
	if err != nil {
		return nil, err
	}
	return readSpans(log, trace)
}

// seen says who of those that are wanted has told nothing of a trace.
func (s *site) seen(ctx context.Context, trace string, want ...string) error {
	spans, err := s.spans(ctx, trace)
	if err != nil {
		return err
	}
	var missing []string
	for _, service := range want {
		if !slices.ContainsFunc(spans, func(s span) bool { return s.Service == service }) {
			missing = append(missing, service)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("of %d spans none is of %s:\n%s", len(spans), strings.Join(missing, ", "), tree(spans))
	}
	return nil
}

// span is one thing that somebody did for a request.
type span struct {
	Service, Name, ID, Parent string
	Start, End                int64 // ns
}

// readSpans takes the spans of a trace out of what the collector writes: OTLP in JSON, a line for each batch.
func readSpans(log, trace string) ([]span, error) {
	var all []span
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, `{"resourceSpans"`) || !strings.Contains(line, trace) {
			continue
		}
		var batch struct {
			ResourceSpans []struct {
				Resource struct {
					Attributes []struct {
						Key   string
						Value struct{ StringValue string }
					}
				}
				ScopeSpans []struct {
					Spans []struct {
						TraceID, SpanID, ParentSpanID, Name string
						StartTimeUnixNano, EndTimeUnixNano  int64 `json:",string"`
					}
				}
			}
		}
		if err := json.Unmarshal([]byte(line), &batch); err != nil {
			return nil, fmt.Errorf("what the collector wrote: %w: %s", err, clip(line))
		}
		for _, r := range batch.ResourceSpans {
			service := ""
			for _, a := range r.Resource.Attributes {
				if a.Key == "service.name" {
					service = a.Value.StringValue
				}
			}
			for _, scope := range r.ScopeSpans {
				for _, s := range scope.Spans {
					if s.TraceID == trace {
						all = append(all, span{service, s.Name, s.SpanID, s.ParentSpanID, s.StartTimeUnixNano, s.EndTimeUnixNano})
					}
				}
			}
		}
	}
	slices.SortStableFunc(all, func(a, b span) int { return cmp.Compare(a.Start, b.Start) })
	return all, nil
}

// descends tells whether a span hangs on another, or on one that does.
func descends(spans []span, s, from span) bool {
	for range spans {
		i := slices.IndexFunc(spans, func(p span) bool { return p.ID == s.Parent })
		if i < 0 {
			return false
		}
		if s = spans[i]; s.ID == from.ID {
			return true
		}
	}
	return false
}

// tree is a trace for people: each span below the one that it hangs on.
func tree(spans []span) string {
	var b strings.Builder
	var below func(parent, indent string)
	line := func(s span, indent string) {
		fmt.Fprintf(&b, "%8.1f ms %7.1f ms  %s%s: %s\n", float64(s.Start-spans[0].Start)/1e6, float64(s.End-s.Start)/1e6, indent, s.Service, s.Name)
		below(s.ID, indent+"  ")
	}
	below = func(parent, indent string) {
		for _, s := range spans {
			if s.Parent == parent {
				line(s, indent)
			}
		}
	}
	for _, s := range spans {
		if !slices.ContainsFunc(spans, func(p span) bool { return p.ID == s.Parent }) {
			line(s, "")
		}
	}
	return b.String()
}
