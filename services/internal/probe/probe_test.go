package probe_test

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// listen gives the address of a listener that treats each connection as it is told.
func listen(t *testing.T, treat func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			treat(conn)
		}
	}()
	return l.Addr().String()
}

func TestDoSortsWhatCanHappen(t *testing.T) {
	mute := listen(t, func(c net.Conn) { t.Cleanup(func() { _ = c.Close() }) })
	// Data that is not read makes the close a reset.
	resetting := listen(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_ = c.(*net.TCPConn).SetLinger(0)
		_ = c.Close()
	})
	closing := listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4096)); _ = c.Close() })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := l.Addr().String()
	_ = l.Close()
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	plain := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(plain.Close)

	c := probe.NewCaller(probe.Settings{Timeout: 200 * time.Millisecond, Fresh: true})
	for _, tt := range []struct {
		name, url, failure string
		status             int
	}{
		{"an answer", plain.URL, "", 404},
		{"a connection", "tcp://" + mute, "", 0},
		{"nobody listens", "tcp://" + gone, probe.Refused, 0},
		{"no answer", "http://" + mute, probe.TimedOut, 0},
		{"broken off", "http://" + resetting, probe.Reset, 0},
		{"closed", "http://" + closing, probe.Closed, 0},
		{"unknown authority", secure.URL, probe.BadTLS, 0},
		{"no TLS there", strings.Replace(plain.URL, "http:", "https:", 1), probe.BadTLS, 0},
		{"no name", "http://nobody.invalid", probe.NoName, 0},
		{"no address", "pricing", probe.OtherError, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := c.Do(t.Context(), probe.Request{URL: tt.url})
			if a.Failure != tt.failure || a.Status != tt.status {
				t.Errorf("got %+v, want failure %q and status %d", a, tt.failure, tt.status)
			}
		})
	}
}

func TestDoSendsAndKeeps(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Dishmesh-Version", "pricing/2")
		w.WriteHeader(http.StatusTeapot)
		_, _ = w.Write([]byte(r.Method + " " + r.Host + " " + r.Header.Get("X-Word") + strings.Repeat("!", 2000)))
	}))
	defer s.Close()
	c := probe.NewCaller(probe.Settings{Timeout: time.Minute})
	a := c.Do(t.Context(), probe.Request{URL: s.URL, Method: "POST", Header: map[string]string{"X-Word": "yes", "host": "else.where"}})
	if a.Status != http.StatusTeapot || a.Header["Dishmesh-Version"] != "pricing/2" || a.Millis <= 0 {
		t.Errorf("got %+v", a)
	}
	if !strings.HasPrefix(a.Body, "POST else.where yes!!!") || len(a.Body) != 512 {
		t.Errorf("the body is %q", a.Body)
	}
}

func TestCheck(t *testing.T) {
	for url, want := range map[string]string{
		"http://pricing:8080/healthz": "",
		"tcp://redis:6379":            "",
		"tcp://redis":                 `"tcp://redis" has no port: give one such as tcp://redis:6379`,
		"pricing":                     `"pricing" is no address: give one such as http://pricing:8080/healthz or tcp://redis:6379`,
		"ftp://pricing":               `"ftp://pricing": the scheme is http, https or tcp`,
	} {
		got := ""
		if err := (probe.Request{URL: url}).Check(); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%s: got %q, want %q", url, got, want)
		}
	}
}

func TestManyCounts(t *testing.T) {
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		version := "pricing/1"
		if n.Add(1)%10 == 0 {
			version = "pricing/2"
		}
		w.Header().Set("Dishmesh-Version", version)
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusBadGateway)
		}
	}))
	defer s.Close()
	c := probe.NewCaller(probe.Settings{Timeout: time.Minute})
	got := c.Many(t.Context(), probe.Plan{
		Requests: []probe.Request{{URL: s.URL}, {URL: s.URL + "/bad"}}, Count: 100, AtOnce: 4, Tally: "Dishmesh-Version",
	})
	want := probe.Summary{Calls: 100, Statuses: map[string]int{"200": 50, "502": 50}, Failures: map[string]int{},
		Tally: map[string]int{"pricing/1": 90, "pricing/2": 10}, Bad: 50}
	if len(got.Problems) != 20 || got.Problems[0].Status != 502 || got.Latency.P50 <= 0 || got.Latency.Max < got.Latency.P99 {
		t.Errorf("got %+v", got)
	}
	got.Seconds, got.Latency, got.Problems = 0, probe.Latency{}, nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}

// What has begun is seen to its end, so that stopping makes no failure.
func TestManyEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { cancel() }))
	defer s.Close()
	got := probe.NewCaller(probe.Settings{Timeout: time.Minute}).Many(ctx, probe.Plan{Requests: []probe.Request{{URL: s.URL}}, Rate: 1000, AtOnce: 3})
	if got.Calls == 0 || got.Calls > 100 || got.Bad != 0 || got.Statuses["200"] != got.Calls {
		t.Errorf("got %+v", got)
	}
}

func TestQuantiles(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(100 - i)
	}
	for _, tt := range []struct {
		ms   []float64
		want probe.Latency
	}{
		{nil, probe.Latency{}},
		{[]float64{7}, probe.Latency{P50: 7, P90: 7, P99: 7, Max: 7}},
		{[]float64{3, 1, 2}, probe.Latency{P50: 2, P90: 3, P99: 3, Max: 3}},
		{hundred, probe.Latency{P50: 50, P90: 90, P99: 99, Max: 100}},
	} {
		if got := probe.Quantiles(tt.ms); got != tt.want {
			t.Errorf("%v: got %+v, want %+v", tt.ms, got, tt.want)
		}
	}
}

func TestEcho(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest("PUT", "/a/b?c=d", nil)
	r.Header.Set("X-Forwarded-Client-Cert", "URI=spiffe://x")
	probe.NewEcho("callee").ServeHTTP(w, r)
	var got probe.Echo
	if err := json.NewDecoder(w.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	want := probe.Echo{Name: "callee", Method: "PUT", Path: "/a/b", Remote: r.RemoteAddr, Header: map[string]string{"X-Forwarded-Client-Cert": "URI=spiffe://x"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("echo (-want +got):\n%s", diff)
	}
}
