package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// LIVE_MAX_AGE: an event that is older is passed over, as it comes when a broker begins with its whole history.
func TestOldEventsAreNotShown(t *testing.T) {
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		limit, age time.Duration
		shown      bool
	}{
		"new":                           {time.Minute, 0, true},
		"as old as may be":              {time.Minute, time.Minute, true},
		"older by the least":            {time.Minute, time.Minute + 1, false},
		"of another day":                {time.Minute, day, false},
		"of a clock that is ahead":      {time.Minute, -day, true},
		"no limit":                      {0, 365 * day, true},
		"a limit of an hour is no less": {time.Hour, time.Hour, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, func(c *Config) { c.LiveMaxAge = tt.limit })
			e := event("order.placed", 1, `{"order_id":"`+anOrder+`"}`)
			f.hub.now = func() time.Time { return e.Time.Add(tt.age) }
			l := f.hub.listen(orderKey(anOrder))
			f.deliver(e) // which is taken either way, or it would come again
			if shown := len(l.frames) == 1; shown != tt.shown {
				t.Errorf("shown: %t, want %t", shown, tt.shown)
			}
		})
	}
}

// LIVE_STREAM_AGE: a stream is closed with a word at that age, and not before.
func TestStreamsEndAtTheirAge(t *testing.T) {
	const age = 10 * time.Minute // less than a token's life, so that the stream and not the token ends
	for _, tt := range []struct {
		name, path string
		who        web.Identity
	}{
		{"of a kitchen", "/v1/restaurants/rst_1/live", cook},
		{"of a courier", "/v1/couriers/me/live", rider},
		{"of an order", liveOf(orderLive), ann},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, h := newFixture(t, func(c *Config) { c.StreamAge = age }), &history{}
				f.mesh["order"] = h
				h.append("order.placed")
				ctx, leave := context.WithCancel(t.Context())
				defer leave()
				w, ended := httptest.NewRecorder(), make(chan struct{})
				go func() {
					defer close(ended)
					f.public.ServeHTTP(w, f.request("GET", tt.path, tt.who, "").WithContext(ctx))
				}()
				open := func() bool {
					synctest.Wait()
					select {
					case <-ended:
						return false
					default:
						return true
					}
				}
				if !open() {
					t.Fatalf("there is no stream: %d %s", w.Code, w.Body)
				}
				<-time.After(age - 1)
				if !open() {
					t.Fatalf("the stream ended before its time: %s", w.Body)
				}
				<-time.After(1)
				if open() {
					t.Fatalf("after %s the stream is still open", age)
				}
				if !strings.HasSuffix(w.Body.String(), ": "+agedComment+"\n\n") {
					t.Errorf("the stream ends with %q, want %q", w.Body, agedComment)
				}
				if got := value(f.hub.open); got != 0 || len(f.streams.by) != 0 {
					t.Errorf("%v listeners and %d accounts with streams are left", got, len(f.streams.by))
				}
			})
		})
	}
}

// Both limits as they are configured: what makes no sense is refused at the start, with the name.
func TestLimitsOfAge(t *testing.T) {
	for _, tt := range []struct {
		name           string
		stream, maxAge time.Duration
		want           string
	}{
		{"a second", time.Second, 0, ""},
		{"less than a second", time.Second - 1, time.Minute, "LIVE_STREAM_AGE=999.999999ms: must be at least 1s"},
		{"none", 0, time.Minute, "LIVE_STREAM_AGE=0s: must be at least 1s"},
		{"events from the future alone", time.Hour, -time.Second, "LIVE_MAX_AGE=-1s: must not be negative (0: none is too old)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, _ := runtest.New(t, "gateway")
			d.Proxy = func() (string, http.RoundTripper) { return "http://sidecar.test", nil }
			cfg := testConfig
			cfg.StreamAge, cfg.LiveMaxAge = tt.stream, tt.maxAge
			got := ""
			if _, err := New(d, cfg); err != nil {
				got = err.Error()
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}
