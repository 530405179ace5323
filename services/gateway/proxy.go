package gateway

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// forwardTimeout bounds a forwarded request. The sidecar's own time-out (components/resiliency) comes first.
const forwardTimeout = 10 * time.Second

// Only these headers pass. Everything else stays outside: what the runtime or the services would take for their
// own (dapr-*, Dishmesh-*), the token, cookies; and inside: what the runtime adds to an answer.
var (
	requestHeaders = []string{"Accept", "Accept-Language", "Content-Type", "If-Match", "If-None-Match", "User-Agent",
		web.IdempotencyKeyHeader, "Tracestate"}
	answerHeaders = []string{"Content-Type", "Content-Length", "Content-Language", "Etag", "Last-Modified", "Location", "Link",
		"Retry-After", "Cache-Control", "Allow", "Www-Authenticate"}
)

// statusClientClosed marks in logs and metrics that the client did not wait for the answer (the number is nginx's).
const statusClientClosed = 499

type appKey struct{}

// newProxy forwards requests to other apps by the sidecar at base. The app is taken from the context, see forward.
func newProxy(base string, transport http.RoundTripper, stale *staleAnswers) (*httputil.ReverseProxy, error) {
	target, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	return &httputil.ReverseProxy{
		Transport:  transport,
		BufferPool: &buffers{sync.Pool{New: func() any { return new([bufferSize]byte) }}},
		Rewrite: func(p *httputil.ProxyRequest) {
			in := p.In.Header
			out := make(http.Header, 12)
			for _, name := range requestHeaders {
				if v := in.Get(name); v != "" {
					out.Set(name, v)
				}
			}
			web.Caller(p.In).Set(out)
			correlation.From(p.In.Context()).Set(out)
			app, _ := p.In.Context().Value(appKey{}).(string)
			out.Set("dapr-app-id", app)
			p.Out.Header = out
			p.Out.URL.Scheme, p.Out.URL.Host, p.Out.Host = target.Scheme, target.Host, ""
			p.Out.URL.RawPath = "" // the path's variables are plain, see pathValue
		},
		ModifyResponse: func(resp *http.Response) error {
			if resp.StatusCode >= 500 && stale.has(resp.Request) {
				return problem.Read(resp)
			}
			if err := cleanAnswer(resp); err != nil {
				return err
			}
			return stale.keep(resp)
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() != nil && !errors.Is(r.Context().Err(), context.DeadlineExceeded) || !stale.show(w, r) {
				failForward(w, r, err)
			}
		},
	}, nil
}

// forward hands requests to app.
func (s *Service) forward(app string) web.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		ctx, cancel := context.WithTimeout(context.WithValue(r.Context(), appKey{}, app), forwardTimeout)
		defer cancel()
		s.proxy.ServeHTTP(w, r.WithContext(ctx))
		return nil
	}
}

func cleanAnswer(resp *http.Response) error {
	if resp.StatusCode >= 400 {
		mt, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
		if err != nil || mt != problem.ContentType {
			return sidecarFailure(resp)
		}
	}
	h := make(http.Header, len(answerHeaders))
	for _, name := range answerHeaders {
		if v := resp.Header.Get(name); v != "" {
			h.Set(name, v)
		}
	}
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", cachePolicy(resp))
	}
	resp.Header = h
	return nil
}

// cachePolicy is for answers that don't say: what belongs to somebody is kept by nobody else, and may be kept to
// be revalidated only if it has an ETag.
func cachePolicy(resp *http.Response) string {
	switch r := resp.Request; {
	case r.Method != http.MethodGet || resp.StatusCode >= 400:
		return "no-store"
	case r.Header.Get(web.SubjectHeader) == "":
		return "no-cache"
	case resp.Header.Get("Etag") != "":
		return "private, no-cache"
	default:
		return "private, no-store"
	}
}

// sidecarFailure is for answers that no service wrote: the sidecar's, when it can't reach the app, when the app
// did not answer in time, or when a circuit breaker is open.
func sidecarFailure(resp *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 2<<10)) // for the log; what can be read will do
	cause := errors.New("sidecar: " + resp.Status + ": " + string(text))
	app := resp.Request.Header.Get("dapr-app-id")
	for _, sign := range []string{"DeadlineExceeded", "deadline exceeded", "timeout", "timed out"} {
		if strings.Contains(string(text), sign) || resp.StatusCode == http.StatusGatewayTimeout {
			return problem.Wrap(cause, problem.Timeout, "%s did not answer in time", app).After(time.Second)
		}
	}
	return problem.Wrap(cause, problem.Unavailable, "%s can't be reached", app).After(time.Second)
}

func failForward(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem.Error
	switch {
	case errors.As(err, &p):
		web.Fail(w, r, p)
	case errors.Is(err, context.DeadlineExceeded):
		web.Fail(w, r, problem.Wrap(err, problem.Timeout, "no answer within %s", forwardTimeout).After(time.Second))
	case r.Context().Err() != nil:
		w.WriteHeader(statusClientClosed)
	default:
		web.Fail(w, r, problem.Wrap(err, problem.Unavailable, "the sidecar can't be reached").After(time.Second))
	}
}

const bufferSize = 32 << 10

// buffers is an httputil.BufferPool: without it every answer costs 32 KiB of garbage.
type buffers struct{ pool sync.Pool }

// Get implements httputil.BufferPool.
func (b *buffers) Get() []byte { return b.pool.Get().(*[bufferSize]byte)[:] }

// Put implements httputil.BufferPool.
func (b *buffers) Put(p []byte) { b.pool.Put((*[bufferSize]byte)(p)) }
