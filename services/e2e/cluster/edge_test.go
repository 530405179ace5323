package cluster

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// TestIngressTLS is what the edge asks of whoever connects.
func TestIngressTLS(t *testing.T) {
	r := shows(t, "ingress", "The edge speaks TLS 1.2 or later for its own names, and sends what comes without TLS there.",
		"mesh/ingress/gateway.yaml", "mesh/ingress/redirect.yaml")
	get := func(c *probe.Caller, url, host string) probe.Answer {
		q := probe.Request{URL: url}
		if host != "" {
			q.Header = map[string]string{"Host": host}
		}
		return c.Do(r.Context(), q)
	}
	if a := get(here.caller, here.url+"/v1/restaurants", ""); a.Status != http.StatusOK {
		r.Errorf("with the authority of the cluster: %s, want 200", a)
	}
	strangers := outsider(probe.Settings{Timeout: 5 * time.Second, Fresh: true})
	if a := get(strangers, here.url+"/v1/restaurants", ""); a.Failure != probe.BadTLS {
		r.Errorf("without it: %s, want that the certificate is not trusted", a)
	}
	old := here.tls.Clone()
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	if a := get(outsider(probe.Settings{Timeout: 5 * time.Second, TLS: old}), here.url, ""); a.Failure == "" {
		r.Errorf("by TLS 1.1: %s, want no connection", a)
	}
	if a := get(here.caller, here.url+"/v1/restaurants", "elsewhere.example"); a.Status != http.StatusNotFound {
		r.Errorf("by a name that is not served: %s, want 404", a)
	}
	a := get(strangers, here.plain+"/v1/restaurants?limit=1", "")
	if want := here.url + "/v1/restaurants?limit=1"; a.Status != http.StatusPermanentRedirect || a.Header["Location"] != want {
		r.Errorf("without TLS: %s to %q, want 308 to %s", a, a.Header["Location"], want)
	}
	r.Saw("trusted with the cluster's authority only; TLS 1.1 refused; an unknown host 404; without TLS 308 to the same address with TLS")
}

// TestIngressLimits is how large a request may be.
func TestIngressLimits(t *testing.T) {
	r := shows(t, "ingress", "Requests that are too large end at the edge.", "mesh/ingress/size-limits.yaml")
	// Envoy answers large headers of HTTP/1.1, and of HTTP/2 it resets the stream.
	large := with(here.raw("", http.MethodGet, "/v1/restaurants", nil), "X-Large", strings.Repeat("x", 20<<10))
	first := here.tls.Clone()
	first.NextProtos = []string{"http/1.1"}
	if a := outsider(probe.Settings{Timeout: 5 * time.Second, TLS: first, HTTP1: true}).Do(r.Context(), large); a.Status != http.StatusRequestHeaderFieldsTooLarge {
		r.Errorf("a header of 20 KiB by HTTP/1.1: %s, want 431", a)
	} else {
		r.Saw("a header of 20 KiB by HTTP/1.1: %d", a.Status)
	}
	if a := here.caller.Do(r.Context(), large); !strings.Contains(a.Detail, "stream error") || !strings.Contains(a.Detail, "received from peer") {
		r.Errorf("a header of 20 KiB by HTTP/2: %s, want that the edge resets the stream", a)
	} else {
		r.Saw("a header of 20 KiB by HTTP/2: the edge resets the stream")
	}
	for _, c := range []struct {
		what string
		q    probe.Request
		want int
	}{
		{"a body of 200 KiB", here.raw("", http.MethodPost, "/v1/tokens", map[string]string{"email": strings.Repeat("x", 200<<10)}), http.StatusRequestEntityTooLarge},
		{"a body of 100 KiB, which the gateway refuses itself", here.raw("", http.MethodPost, "/v1/tokens", map[string]string{"email": strings.Repeat("x", 100<<10)}), http.StatusRequestEntityTooLarge},
	} {
		if a := here.caller.Do(r.Context(), c.q); a.Status != c.want {
			r.Errorf("%s: %s, want %d", c.what, a, c.want)
		} else {
			r.Saw("%s: %d", c.what, a.Status)
		}
	}
}

// TestIngressRateLimit is a flood from one address.
func TestIngressRateLimit(t *testing.T) {
	r := shows(t, "ingress", "A flood is answered with 429, and everybody is served again right after it.", "mesh/ingress/rate-limit.yaml")
	flood := here.caller.Many(r.Context(), probe.Plan{Requests: []probe.Request{here.raw("", http.MethodGet, "/v1/routes", nil)}, Count: 3000, AtOnce: 64})
	r.Figure("answers to 3,000 requests at once, by status", fmt.Sprint(flood.Statuses), "200 and 429 only")
	for status := range flood.Statuses {
		if status != "200" && status != "429" {
			r.Errorf("answers %v, want 200 and 429 only", flood.Statuses)
		}
	}
	if flood.Statuses["429"] == 0 || flood.Statuses["200"] == 0 || len(flood.Failures) > 0 {
		r.Errorf("answers %v, failures %v: want some of both, and no failure", flood.Statuses, flood.Failures)
	}
	r.Eventually(10*time.Second, "it is over", func() error {
		if a := here.caller.Do(r.Context(), here.raw("", http.MethodGet, "/v1/routes", nil)); a.Status != http.StatusOK {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
}
