package gateway

import (
	"context"
	"fmt"
	"net"
	"net/http/httptest"
	"os/exec"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// Both limiters keep one contract: a burst, then a steady rate, for each client alone, and an honest Retry-After.
func TestLimiters(t *testing.T) {
	for name, start := range map[string]func(*testing.T) limiter{
		"in process": func(*testing.T) limiter { return newLocalLimiter(time.Now) },
		"miniredis":  func(t *testing.T) limiter { return connect(t, miniredis.RunT(t).Addr()) },
		"redis":      func(t *testing.T) limiter { return connect(t, realRedis(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			l := start(t)
			lim := limit{PerSecond: 10, Burst: 5}
			allow := func(client string) (bool, time.Duration) {
				ok, wait, err := l.allow(t.Context(), client, lim)
				if err != nil {
					t.Fatal(err)
				}
				return ok, wait
			}
			began := time.Now()
			granted := 0
			for range 50 {
				if ok, _ := allow("ann"); ok {
					granted++
				}
			}
			most := lim.Burst + int(time.Since(began).Seconds()*float64(lim.PerSecond)) + 1
			if granted < lim.Burst || granted > most {
				t.Errorf("at once: granted %d, want %d to %d", granted, lim.Burst, most)
			}
			if ok, wait := allow("bob"); !ok || wait != 0 {
				t.Errorf("another client: got %v, %s", ok, wait)
			}
			var wait time.Duration
			for ok := true; ok; {
				ok, wait = allow("ann")
			}
			if wait <= 0 || wait > 150*time.Millisecond {
				t.Errorf("got Retry-After %s, want up to 100ms", wait)
			}
			timer := time.NewTimer(wait + 20*time.Millisecond)
			defer timer.Stop()
			<-timer.C
			if ok, _ := allow("ann"); !ok {
				t.Error("refused after Retry-After")
			}
		})
	}
}

func connect(t *testing.T, addr string) limiter {
	l, stop := newRedisLimiter(addr, "", "")
	t.Cleanup(func() { _ = stop() })
	runtest.Eventually(t, "redis answers", func() bool {
		_, _, err := l.allow(context.Background(), "probe", limit{1, 1})
		return err == nil
	})
	return l
}

func realRedis(t *testing.T) string {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Skip("there is no redis-server on PATH")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	cmd := exec.Command(path, "--bind", "127.0.0.1", "--port", fmt.Sprint(port), "--save", "", "--appendonly", "no", "--dir", t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func TestLocalLimiterForgets(t *testing.T) {
	var now atomic.Int64
	l := newLocalLimiter(func() time.Time { return time.Unix(now.Load(), 0) })
	for i := range 100 * sweepAt {
		now.Store(int64(i))
		if ok, _, _ := l.allow(t.Context(), fmt.Sprint(i), limit{1, 1}); !ok {
			t.Fatal("refused")
		}
	}
	if got := len(l.full); got > 2*sweepAt {
		t.Errorf("%d clients are remembered", got)
	}
}

func TestRateLimit(t *testing.T) {
	f := newFixture(t, func(c *Config) { c.Rate, c.Burst, c.CredentialRate, c.CredentialBurst = 1, 3, 1, 2 })
	statuses := func(n int, method, path string, id web.Identity, body string) (got []int) {
		for range n {
			resp := f.do(f.request(method, path, id, body))
			if resp.StatusCode == 429 && (problem.Of(problem.Read(resp)) != problem.RateLimited || resp.Header.Get("Retry-After") == "") {
				t.Errorf("429 without its problem or Retry-After")
			}
			got = append(got, resp.StatusCode)
		}
		return got
	}
	login := `{"email":"a@b.example","password":"0123456789"}`
	for _, tt := range []struct {
		name         string
		method, path string
		id           web.Identity
		body         string
		want         string
	}{
		{"a customer", "GET", "/v1/orders", ann, "", "[200 200 200 429]"},
		{"another customer", "GET", "/v1/orders", bob, "", "[200 200 200 429]"},
		{"an address", "GET", "/v1/restaurants", web.Identity{}, "", "[200 200 200 429]"},
		{"logins have their own", "POST", "/v1/tokens", web.Identity{}, login, "[200 200 429 429]"},
	} {
		if got := fmt.Sprint(statuses(4, tt.method, tt.path, tt.id, tt.body)); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}
	r := f.request("GET", "/v1/orders", web.Identity{}, "")
	r.Header.Set("Authorization", "Bearer forged")
	if got := f.do(r).StatusCode; got != 429 {
		t.Errorf("guessing tokens is limited by address: got %d", got)
	}
}

// Without the shared counters each replica counts alone; nobody is let through unlimited or kept out.
func TestRateLimitWithoutRedis(t *testing.T) {
	m := miniredis.RunT(t)
	f := newFixture(t, func(c *Config) { c.Rate, c.Burst, c.RedisAddr = 1, 2, m.Addr() })
	if got := f.do(f.request("GET", "/v1/orders", ann, "")).StatusCode; got != 200 {
		t.Fatalf("got %d", got)
	}
	m.Close()
	got := map[int]int{}
	for range 6 {
		got[f.do(f.request("GET", "/v1/orders", ann, "")).StatusCode]++
	}
	if got[200] != 2 || got[429] != 4 {
		t.Errorf("got %v, want 2 times 200 and 4 times 429", got)
	}
}

func TestRemote(t *testing.T) {
	for _, tt := range []struct {
		addr, forwarded string
		proxies         int
		want            string
	}{
		{"10.0.0.1:99", "", 0, "10.0.0.1"},
		{"10.0.0.1:99", "1.1.1.1", 0, "10.0.0.1"},
		{"10.0.0.1:99", "6.6.6.6, 1.1.1.1", 1, "1.1.1.1"},
		{"10.0.0.1:99", "6.6.6.6, 1.1.1.1, 2.2.2.2", 2, "1.1.1.1"},
		{"10.0.0.1:99", "", 1, "10.0.0.1"},
		{"10.0.0.1:99", "1.1.1.1", 2, "10.0.0.1"},
		{"10.0.0.1:99", "nonsense", 1, "unknown"},
		{"[2001:db8:1:2:3::4]:99", "", 0, "2001:db8:1:2::/64"},
		{"[::ffff:10.0.0.1]:99", "", 0, "10.0.0.1"},
	} {
		r := httptest.NewRequest("GET", "/", nil)
		r.RemoteAddr = tt.addr
		if tt.forwarded != "" {
			r.Header.Set("X-Forwarded-For", tt.forwarded)
		}
		if got := remote(r, tt.proxies); got != tt.want {
			t.Errorf("%s, %q, %d proxies: got %s, want %s", tt.addr, tt.forwarded, tt.proxies, got, tt.want)
		}
	}
}
