package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
)

// start runs the gateway with its real server and gives its address.
func (f *fixture) start() (addr string, stop func() error) {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	runtest.Eventually(f.t, "the gateway is ready", func() bool { return f.Ready() == nil })
	stopped := false
	stop = func() error {
		if stopped {
			return nil
		}
		stopped = true
		cancel()
		return <-done
	}
	f.t.Cleanup(func() { _ = stop() })
	return f.listening.Load().String(), stop
}

// Shutdown ends live streams with a word and waits for requests under way.
func TestShutdown(t *testing.T) {
	f := newFixture(t)
	entered, release := make(chan struct{}), make(chan struct{})
	f.mesh["menu"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		w.WriteHeader(http.StatusOK)
	})
	addr, stop := f.start()
	status := make(chan string, 1)
	go func() {
		resp, err := http.Get("http://" + addr + "/v1/restaurants")
		if err != nil {
			status <- err.Error()
			return
		}
		resp.Body.Close()
		status <- resp.Status
	}()
	<-entered
	req, err := http.NewRequest("GET", "http://"+addr+"/v1/restaurants/rst_1/live", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+f.token(cook))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	go func() {
		<-f.closing
		close(release)
	}()
	began := time.Now()
	if err := stop(); err != nil {
		t.Errorf("stopped with %v", err)
	}
	if took := time.Since(began); took > drainTimeout {
		t.Errorf("took %s", took)
	}
	if b, _ := io.ReadAll(resp.Body); !strings.Contains(string(b), closingComment) {
		t.Errorf("the stream ended with %q", b)
	}
	if got := <-status; got != "200 OK" {
		t.Errorf("the request under way got %s", got)
	}
	if f.Ready() == nil {
		t.Error("still ready")
	}
}

func TestBusyAddress(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f := newFixture(t, func(c *Config) { c.PublicAddr = l.Addr().String() })
	if err := f.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "PUBLIC_ADDR") {
		t.Errorf("got %v", err)
	}
}

// A client that trickles its head is cut off in time; one with a head too large at once.
func TestSlowAndGreedyClients(t *testing.T) {
	f := newFixture(t)
	server := f.server()
	if server.ReadHeaderTimeout <= 0 || server.ReadTimeout <= 0 || server.IdleTimeout <= 0 || server.WriteTimeout != 0 {
		t.Errorf("got time-outs %+v", server)
	}
	server.ReadHeaderTimeout = 50 * time.Millisecond
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }() // ends with Close
	defer server.Close()
	addr := listener.Addr().String()
	slow, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprint(slow, "GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	greedy, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer greedy.Close()
	go fmt.Fprintf(greedy, "GET / HTTP/1.1\r\nHost: x\r\nX-Greedy: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	resp, err := http.ReadResponse(bufio.NewReader(greedy), nil)
	if err != nil || resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("greedy: got %v, %v", resp, err)
	}
	if err := slow.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(slow); err != nil {
		t.Errorf("slow: not cut off: %v", err)
	}
}

func TestConfigFaults(t *testing.T) {
	for want, edit := range map[string]func(*Config){
		"RATE_LIMIT=0":    func(c *Config) { c.Rate = 0 },
		"TRUSTED_PROXIES": func(c *Config) { c.TrustedProxies = -1 },
		"LIVE_HEARTBEAT":  func(c *Config) { c.Heartbeat = 0 },
		"PUBLIC_ADDR":     func(c *Config) { c.PublicAddr = "nowhere" },
	} {
		d, _ := runtest.New(t, "gateway")
		cfg := testConfig
		edit(&cfg)
		if _, err := New(d, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want something with %s", err, want)
		}
	}
}
