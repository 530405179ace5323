package sidecar

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	dapr "github.com/dapr/go-sdk/client"
	"google.golang.org/grpc/backoff"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// EventsComponent is the pub/sub component that every profile names alike.
const EventsComponent = "events"

// CallTimeout bounds a call with all that the sidecar's resiliency policy does within: two tries that hang for their
// 5 s, or four that fail. A call that people wait for takes less, see Call.Within.
const CallTimeout = 11 * time.Second

// appIDHeader tells the sidecar which app a request is for.
const appIDHeader = "dapr-app-id"

var quickBackoff = backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}

// Publisher sends events.
type Publisher interface {
	Publish(ctx context.Context, topic string, e cloudevent.Event) error
}

// Publish sends e to topic; all events of a subject share a partition.
func (s *Sidecar) Publish(ctx context.Context, topic string, e cloudevent.Event) error {
	b, err := encode(e)
	if err != nil {
		return fmt.Errorf("publish %s: %w", e.ID, err)
	}
	err = s.client.PublishEvent(ctx, EventsComponent, topic, b,
		dapr.PublishEventWithContentType(cloudevent.ContentType),
		dapr.PublishEventWithMetadata(map[string]string{"partitionKey": e.Subject}))
	if err != nil {
		return problem.Wrap(err, problem.Unavailable, "the broker does not answer").After(time.Second)
	}
	return nil
}

// encode gives an event as the sidecar is told of it. Without the attribute traceid the sidecar puts its own trace, or
// none, in the place of traceparent (components-contrib, pubsub.FromCloudEvent).
func encode(e cloudevent.Event) ([]byte, error) {
	return json.Marshal(struct {
		cloudevent.Event
		TraceID string `json:"traceid,omitempty"`
	}{e, e.TraceParent})
}

// Invoker calls other services by their app id.
type Invoker interface {
	Invoke(ctx context.Context, call Call) error
}

// Call is one request to another service.
type Call struct {
	App    string // "": the sidecar itself
	Method string
	Path   string // with a leading slash
	In     any    // encoded as JSON; nil: no body
	Out    any    // decoded from a 2xx answer; nil: ignored
	Header http.Header
	Within time.Duration // bounds the call with its retries; 0: CallTimeout. It must be less than the caller's own time.
}

// Invoke makes the call through the sidecar. An answer that is not 2xx comes back as the *problem.Error that the
// callee wrote. An app that keeps failing or is slow is not called: then it is problem.Unavailable (see Guards).
func (s *Sidecar) Invoke(ctx context.Context, c Call) error {
	return Do(ctx, s.http, s.base, c)
}

// Do makes the call over client at base. It is the whole of Invoke but for the sidecar's address, so that tests
// can put handlers in its place.
func Do(ctx context.Context, client *http.Client, base string, c Call) error {
	within := CallTimeout
	if c.Within > 0 {
		within = min(within, c.Within)
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var body io.Reader
	if c.In != nil {
		b, err := json.Marshal(c.In)
		if err != nil {
			return fmt.Errorf("call %s %s: %w", c.App, c.Path, err)
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, c.Method, base+c.Path, body)
	if err != nil {
		return fmt.Errorf("call %s %s: %w", c.App, c.Path, err)
	}
	for name, values := range c.Header {
		req.Header[name] = values
	}
	correlation.From(ctx).Set(req.Header)
	if c.App != "" {
		req.Header.Set(appIDHeader, c.App)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := client.Do(req)
	if err != nil {
		var p *problem.Error
		switch {
		case errors.As(err, &p): // a guard's
			return p
		case errors.Is(err, context.DeadlineExceeded):
			return problem.Wrap(err, problem.Timeout, "%s does not answer", c.App)
		}
		return problem.Wrap(err, problem.Unavailable, "%s can't be reached", c.App).After(time.Second)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return problem.Read(resp)
	}
	if c.Out == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	} else {
		err = json.NewDecoder(io.LimitReader(resp.Body, 4<<20)).Decode(c.Out)
	}
	if err != nil {
		return problem.Wrap(err, problem.Unavailable, "the answer of %s is broken", c.App)
	}
	return nil
}

// Transport is an http.RoundTripper to the sidecar's HTTP API, for a reverse proxy that names the app in the
// dapr-app-id header. The sidecar's token is added.
func Transport(cfg Config) http.RoundTripper {
	t := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second}).DialContext,
		MaxIdleConns:        256,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     90 * time.Second,
	}
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		if cfg.APIToken != "" {
			r.Header.Set("dapr-api-token", cfg.APIToken)
		}
		return t.RoundTrip(r)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Proxy is the base address and the transport by which a reverse proxy reaches other apps, with the same guards.
func (s *Sidecar) Proxy() (base string, transport http.RoundTripper) { return s.base, s.http.Transport }

// Binding calls output bindings.
type Binding interface {
	InvokeBinding(ctx context.Context, name, operation string, data []byte, metadata map[string]string) (BindingResult, error)
}

// BindingResult is what an output binding answered. Status is the HTTP status of an HTTP binding, else 0.
type BindingResult struct {
	Data     []byte
	Metadata map[string]string
	Status   int
}

// InvokeBinding calls operation of the output binding component called name. One that keeps failing or is slow is
// not called: then it is problem.Unavailable (see Guards).
func (s *Sidecar) InvokeBinding(ctx context.Context, name, operation string, data []byte, metadata map[string]string) (BindingResult, error) {
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	leave, err := s.guards.of(name).enter(ctx)
	if err != nil {
		return BindingResult{}, err
	}
	res, err := s.invokeBinding(ctx, name, operation, data, metadata)
	leave(judgeBinding(ctx, res, err))
	return res, err
}

func (s *Sidecar) invokeBinding(ctx context.Context, name, operation string, data []byte, metadata map[string]string) (BindingResult, error) {
	ev, err := s.client.InvokeBinding(ctx, &dapr.InvokeBindingRequest{Name: name, Operation: operation, Data: data, Metadata: metadata})
	if err != nil {
		if ctx.Err() != nil {
			return BindingResult{}, problem.Wrap(err, problem.Timeout, "%s does not answer", name)
		}
		return BindingResult{}, problem.Wrap(err, problem.Unavailable, "%s can't be reached", name).After(time.Second)
	}
	if ev == nil {
		return BindingResult{}, nil
	}
	res := BindingResult{Data: ev.Data, Metadata: ev.Metadata}
	res.Status, _ = strconv.Atoi(ev.Metadata["statusCode"])
	return res, nil
}
