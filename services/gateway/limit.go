package gateway

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// limit is a token bucket: PerSecond tokens flow in, Burst fit.
type limit struct {
	PerSecond int
	Burst     int
}

// limiter grants a client one request, or says after what time it may ask again. An error means that nothing is
// known; then the caller decides.
type limiter interface {
	allow(ctx context.Context, client string, l limit) (ok bool, retryAfter time.Duration, err error)
}

// localLimiter counts in this process. It is the generic cell rate algorithm, as redis_rate has it: one instant
// for each client, at which its bucket will be full again.
type localLimiter struct {
	now func() time.Time

	mu    sync.Mutex
	full  map[string]time.Time
	sweep int // sweep when there are as many clients as this
}

const sweepAt = 1024

func newLocalLimiter(now func() time.Time) *localLimiter {
	return &localLimiter{now: now, full: map[string]time.Time{}, sweep: sweepAt}
}

func (l *localLimiter) allow(_ context.Context, client string, lim limit) (bool, time.Duration, error) {
	now := l.now()
	each := time.Second / time.Duration(lim.PerSecond)
	l.mu.Lock()
	defer l.mu.Unlock()
	full := l.full[client]
	if full.Before(now) {
		full = now
	}
	full = full.Add(each)
	if wait := full.Add(-each * time.Duration(lim.Burst)).Sub(now); wait > 0 {
		return false, wait, nil
	}
	l.full[client] = full
	if len(l.full) >= l.sweep {
		for c, t := range l.full {
			if t.Before(now) {
				delete(l.full, c)
			}
		}
		l.sweep = max(sweepAt, 2*len(l.full))
	}
	return true, 0, nil
}

// redisLimiter counts in Redis, for several replicas of the gateway.
type redisLimiter struct{ rate *redis_rate.Limiter }

const redisTimeout = 200 * time.Millisecond

func newRedisLimiter(addr, user, password string) (l redisLimiter, stop func() error) {
	client := redis.NewClient(&redis.Options{Addr: addr, Username: user, Password: password, DialTimeout: redisTimeout, ReadTimeout: redisTimeout,
		WriteTimeout: redisTimeout, MaxRetries: -1, DialerRetries: 1, ContextTimeoutEnabled: true})
	return redisLimiter{redis_rate.NewLimiter(client)}, client.Close
}

func (l redisLimiter) allow(ctx context.Context, client string, lim limit) (bool, time.Duration, error) {
	res, err := l.rate.Allow(ctx, "gateway/"+client, redis_rate.Limit{Rate: lim.PerSecond, Burst: lim.Burst, Period: time.Second})
	if err != nil {
		return false, 0, err
	}
	return res.Allowed > 0, max(0, res.RetryAfter), nil
}

// fallback asks the shared limiter, and the one of this process while that can't be reached. It never fails.
type fallback struct {
	shared   limiter
	local    *localLimiter
	now      func() time.Time
	failures prometheus.Counter
	retryAt  atomic.Int64 // Unix nanoseconds
}

// sharedRetry is how long a shared limiter that failed is left alone, so that not every request waits for it.
const sharedRetry = time.Second

func (f *fallback) allow(ctx context.Context, client string, lim limit) (bool, time.Duration, error) {
	if now := f.now(); now.UnixNano() >= f.retryAt.Load() {
		ok, wait, err := f.shared.allow(ctx, client, lim)
		if err == nil {
			return ok, wait, nil
		}
		if ctx.Err() == nil { // it was not the client who left
			f.failures.Inc()
			f.retryAt.Store(now.Add(sharedRetry).UnixNano())
		}
	}
	return f.local.allow(ctx, client, lim)
}

// remote is the client's address for the rate limit: the peer's, or with proxies in front that many entries from
// the end of X-Forwarded-For. An IPv6 client is its /64, the smallest that a provider gives out.
func remote(r *http.Request, proxies int) string {
	addr, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		addr = r.RemoteAddr
	}
	if proxies > 0 {
		hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
		if n := len(hops) - proxies; n >= 0 {
			if hop := strings.TrimSpace(hops[n]); hop != "" {
				addr = hop
			}
		}
	}
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return "unknown"
	}
	if ip = ip.Unmap().WithZone(""); ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
