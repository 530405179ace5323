// Package publicapi is a client of the platform's public API as anybody outside would write one: it knows the
// gateway's address and an account, keeps the account's tokens fresh, turns problem documents back into
// errors, and follows live updates. The simulated city and the command line use it; they have no other way in.
package publicapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// callTimeout bounds one attempt of a call that is not a live stream.
const callTimeout = 15 * time.Second

// Client calls the public API, as one account after Login and anonymously before. It is safe for use by
// several goroutines.
type Client struct {
	base string
	http *http.Client
	gate chan struct{} // bounds the logins in flight, nil: no bound
	now  func() time.Time

	mu    sync.Mutex // held while tokens are renewed, so that this happens once
	login Credentials
	token tokens
}

// Setting changes how a Client works.
type Setting func(*Client)

// LoginsAtMost shares a bound on the logins in flight among clients: a login costs the platform a slow hash on
// purpose. The capacity of gate is the bound.
func LoginsAtMost(gate chan struct{}) Setting {
	return func(c *Client) { c.gate = gate }
}

// Clock replaces the clock that decides when a token is to be renewed.
func Clock(now func() time.Time) Setting {
	return func(c *Client) { c.now = now }
}

// New makes a client of the API at baseURL, say http://127.0.0.1:8080. The http.Client must have no Timeout of
// its own, because live streams last; nil means one with sensible limits. Clients that share an http.Client
// share its connections.
func New(baseURL string, hc *http.Client, settings ...Setting) *Client {
	if hc == nil {
		hc = NewHTTPClient()
	}
	c := &Client{base: strings.TrimRight(baseURL, "/"), http: hc, now: time.Now}
	for _, set := range settings {
		set(c)
	}
	return c
}

// NewHTTPClient makes an http.Client that keeps enough idle connections for many users of one gateway and
// never follows a redirect with a token.
func NewHTTPClient() *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.DialContext = DialLoopback(t.DialContext)
	t.Proxy = func(r *http.Request) (*url.URL, error) {
		if isLoopback(r.URL.Hostname()) {
			return nil, nil
		}
		return http.ProxyFromEnvironment(r)
	}
	t.MaxIdleConns = 512
	t.MaxIdleConnsPerHost = 512
	t.DisableCompression = true // bodies are small and the gateway is near
	return &http.Client{
		Transport:     t,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// DialLoopback connects as base does, and for names below .localhost to this machine, which not every resolver knows
// (RFC 6761 §6.3).
func DialLoopback(base func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(address); err == nil && isLoopback(host) {
			address = net.JoinHostPort("localhost", port)
		}
		return base(ctx, network, address)
	}
}

// isLoopback reports whether a name is below .localhost, which is this machine and not a proxy's.
func isLoopback(host string) bool { return strings.HasSuffix(strings.ToLower(host), ".localhost") }

// Trusting is NewHTTPClient for a platform whose certificate was signed by an authority of its own, besides those that
// the machine trusts. caFile holds its certificate in PEM form; "" adds none.
func Trusting(caFile string) (*http.Client, error) {
	hc := NewHTTPClient()
	if caFile == "" {
		return hc, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool() // a machine without any: the one of the file will do
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("certificate authority: %s holds no certificate in PEM form", caFile)
	}
	hc.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return hc, nil
}

// Response is what came back besides the body.
type Response struct {
	Status int // 304 is no error: the body is as it was
	Header http.Header
}

type call struct {
	header   http.Header
	response *Response
	retries  int
	timeout  time.Duration
}

// Option changes one call.
type Option func(*call)

// Header adds a header to the request.
func Header(name, value string) Option {
	return func(c *call) { c.header.Set(name, value) }
}

// IdempotencyKey sets the key that makes it safe to repeat the call.
func IdempotencyKey(key string) Option { return Header("Idempotency-Key", key) }

// IfNoneMatch asks for the body only if its ETag is another.
func IfNoneMatch(etag string) Option { return Header("If-None-Match", etag) }

// Into keeps the status and the headers of the answer, of a refusal too.
func Into(r *Response) Option {
	return func(c *call) { c.response = r }
}

// Retry repeats the call up to n times, with growing, jittered pauses, while the answer is that a repeat may
// help: no connection, 5xx, 429, a conflict of writers. The caller sees to it that a repeat does no harm.
func Retry(n int) Option {
	return func(c *call) { c.retries = n }
}

// Timeout bounds one attempt, instead of the 15 s that are usual.
func Timeout(d time.Duration) Option {
	return func(c *call) { c.timeout = d }
}

// Do calls the API: in, unless nil, is sent as JSON, and the answer is decoded into out, unless that is nil.
// A refusal is a *problem.Error; so is a gateway that can't be reached (problem.Unavailable).
func (c *Client) Do(ctx context.Context, method, path string, in, out any, opts ...Option) error {
	o := call{header: http.Header{}, timeout: callTimeout}
	for _, opt := range opts {
		opt(&o)
	}
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return fmt.Errorf("%s %s: %w", method, path, err)
		}
	}
	pause := backoff{first: 50 * time.Millisecond, most: 2 * time.Second}
	for attempt := 0; ; attempt++ {
		err := c.once(ctx, method, path, body, out, &o)
		if err == nil || attempt >= o.retries || ctx.Err() != nil || problem.Permanent(err) {
			return err
		}
		var p *problem.Error
		d := pause.next()
		if errors.As(err, &p) && p.RetryAfter > d {
			d = p.RetryAfter
		}
		if !Sleep(ctx, d) {
			return err
		}
	}
}

// once makes one attempt; a token that turns out to be no good is renewed and the call made again.
func (c *Client) once(ctx context.Context, method, path string, body []byte, out any, o *call) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	resp, err := c.send(ctx, method, path, body, o.header)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	if o.response != nil {
		o.response.Status, o.response.Header = resp.StatusCode, resp.Header
	}
	switch {
	case resp.StatusCode == http.StatusNotModified:
		return nil
	case resp.StatusCode/100 != 2:
		return problem.Read(resp)
	case out == nil || resp.StatusCode == http.StatusNoContent:
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return problem.Wrap(err, problem.Unavailable, "%s %s: the answer is not the JSON that is expected", method, path)
	}
	return nil
}

// send sends a request with the account's token, and once more with a new token when the first is refused.
func (c *Client) send(ctx context.Context, method, path string, body []byte, header http.Header) (*http.Response, error) {
	token, err := c.accessToken(ctx, "")
	if err != nil {
		return nil, err
	}
	resp, err := c.sendWith(ctx, method, path, body, header, token)
	if err != nil || resp.StatusCode != http.StatusUnauthorized || token == "" {
		return resp, err
	}
	drain(resp.Body)
	if token, err = c.accessToken(ctx, token); err != nil {
		return nil, err
	}
	return c.sendWith(ctx, method, path, body, header, token)
}

func (c *Client) sendWith(ctx context.Context, method, path string, body []byte, header http.Header, token string) (*http.Response, error) {
	var r io.Reader
	if body != nil {
		r = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, r)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, problem.Wrap(err, problem.Unavailable, "%s %s", method, path)
	}
	return resp, nil
}

// drain reads an answer to its end, so that its connection can be used again.
func drain(body io.ReadCloser) {
	_, _ = io.Copy(io.Discard, io.LimitReader(body, 64<<10))
	_ = body.Close() // it was only read
}

// backoff gives growing pauses with full jitter over their upper half.
type backoff struct {
	first, most time.Duration
	tries       int
}

func (b *backoff) next() time.Duration {
	d := b.most
	if b.tries < 16 {
		d = min(b.most, b.first<<b.tries)
	}
	b.tries++
	return d/2 + rand.N(d/2+1)
}

func (b *backoff) reset() { b.tries = 0 }

// Sleep waits for d and reports whether ctx is still alive.
func Sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
