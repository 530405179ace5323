// Package probe makes calls from where it runs and says what came of them, so that a rule of the network or of the
// mesh can be seen from each side of it. The images have no shell and no curl: `dishmesh probe` is what runs beside a
// service, in its place and with its account.
package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"
)

// Request is a call to make.
type Request struct {
	// URL is http, https, or tcp://host:port, to which only a connection is made.
	URL    string            `json:"url"`
	Method string            `json:"method,omitempty"` // default GET
	Header map[string]string `json:"header,omitempty"`
	Body   string            `json:"body,omitempty"`
}

// Check says what is wrong with a request, or nil.
func (r Request) Check() error {
	u, err := url.Parse(r.URL)
	switch {
	case err != nil || u.Host == "":
		return fmt.Errorf("%q is no address: give one such as http://pricing:8080/healthz or tcp://redis:6379", r.URL)
	case u.Scheme == "tcp" && u.Port() == "":
		return fmt.Errorf("%q has no port: give one such as tcp://redis:6379", r.URL)
	case u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "tcp":
		return fmt.Errorf("%q: the scheme is http, https or tcp", r.URL)
	}
	return nil
}

// The kinds of failure of an Answer: how a call can end without an answer.
const (
	TimedOut    = "timeout"     // nobody said anything: so a dropped packet looks
	Refused     = "refused"     // nothing listens there
	Reset       = "reset"       // the other side broke the connection off
	Closed      = "closed"      // the other side ended the connection without an answer
	Unreachable = "unreachable" // there is no way there
	NoName      = "name"        // the name is not known
	BadTLS      = "tls"         // the two sides could not agree on a secure connection
	OtherError  = "other"
)

// Answer is what came of a call.
type Answer struct {
	URL     string            `json:"url"`
	Method  string            `json:"method,omitempty"`
	Status  int               `json:"status"`            // 0: no answer, or a connection only
	Failure string            `json:"failure,omitempty"` // kind of it, "" for none
	Detail  string            `json:"detail,omitempty"`  // of the failure
	Millis  float64           `json:"ms"`                // until the answer was read
	Header  map[string]string `json:"header,omitempty"`  // of the answer, values joined by commas
	Body    string            `json:"body,omitempty"`    // its beginning
}

// String is the answer in a few words.
func (a Answer) String() string {
	switch {
	case a.Failure != "":
		return fmt.Sprintf("%s %s: %s (%s) after %.0f ms", a.Method, a.URL, a.Failure, a.Detail, a.Millis)
	case a.Status == 0:
		return fmt.Sprintf("%s: connected after %.0f ms", a.URL, a.Millis)
	}
	return fmt.Sprintf("%s %s: %d %s after %.0f ms", a.Method, a.URL, a.Status, strings.Join(strings.Fields(a.Body), " "), a.Millis)
}

// BodyHead is how much of an answer is kept where nothing else is said, in bytes.
const BodyHead = 512

// Caller makes calls. Make it with NewCaller.
type Caller struct {
	settings Settings
	http     *http.Client
	dialer   net.Dialer
}

// Settings of a Caller.
type Settings struct {
	Timeout time.Duration // of one call
	// Fresh makes every call on a connection of its own: a rule that was just changed counts for new connections first.
	Fresh bool
	TLS   *tls.Config // nil: the system's authorities
	// Dial connects; nil: by the names as the resolver knows them.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	HTTP1 bool // speak HTTP/1.1 even with who knows HTTP/2
	// BodyHead is how much of an answer is kept; 0: BodyHead.
	BodyHead int64
}

// NewCaller makes a Caller. It follows no redirect and asks no proxy.
func NewCaller(s Settings) *Caller {
	if s.BodyHead == 0 {
		s.BodyHead = BodyHead
	}
	c := &Caller{settings: s}
	if c.settings.Dial == nil {
		c.settings.Dial = c.dialer.DialContext
	}
	t := &http.Transport{
		DialContext: c.settings.Dial, TLSClientConfig: s.TLS, DisableKeepAlives: s.Fresh,
		MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute, ForceAttemptHTTP2: !s.HTTP1,
	}
	c.http = &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	return c
}

// Do makes one call.
func (c *Caller) Do(ctx context.Context, r Request) Answer {
	ctx, cancel := context.WithTimeout(ctx, c.settings.Timeout)
	defer cancel()
	start := time.Now()
	a := Answer{URL: r.URL, Method: r.Method}
	err := c.do(ctx, r, &a)
	a.Millis = float64(time.Since(start).Microseconds()) / 1000
	if err != nil {
		a.Status, a.Failure, a.Detail = 0, kind(err), err.Error()
	}
	return a
}

func (c *Caller) do(ctx context.Context, r Request, a *Answer) error {
	if err := r.Check(); err != nil {
		return err
	}
	if addr, ok := strings.CutPrefix(r.URL, "tcp://"); ok {
		conn, err := c.settings.Dial(ctx, "tcp", addr)
		if err != nil {
			return err
		}
		return conn.Close()
	}
	if a.Method == "" {
		a.Method = http.MethodGet
	}
	req, err := http.NewRequestWithContext(ctx, a.Method, r.URL, strings.NewReader(r.Body))
	if err != nil {
		return err
	}
	for name, value := range r.Header {
		if http.CanonicalHeaderKey(name) == "Host" {
			req.Host = value
			continue
		}
		req.Header.Set(name, value)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	head, err := io.ReadAll(io.LimitReader(resp.Body, c.settings.BodyHead))
	if err == nil {
		_, err = io.Copy(io.Discard, io.LimitReader(resp.Body, 8<<20))
	}
	if err != nil {
		return fmt.Errorf("the answer breaks off: %w", err)
	}
	a.Status, a.Body, a.Header = resp.StatusCode, string(head), map[string]string{}
	for name, values := range resp.Header {
		a.Header[name] = strings.Join(values, ", ")
	}
	return nil
}

// kind sorts an error of the network.
func kind(err error) string {
	var dns *net.DNSError
	var record tls.RecordHeaderError
	var verify *tls.CertificateVerificationError
	var alert tls.AlertError
	var timeout net.Error
	switch {
	case errors.As(err, &dns):
		return NoName
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return TimedOut
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Unreachable
	case errors.As(err, &record), errors.As(err, &verify), errors.As(err, &alert), errors.Is(err, http.ErrSchemeMismatch):
		return BadTLS
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return Closed
	}
	return OtherError
}
