package gateway

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

var update = flag.Bool("update", false, "write the golden files")

var testConfig = Config{PublicAddr: "127.0.0.1:0", Rate: 100_000, Burst: 100_000, CredentialRate: 100_000, CredentialBurst: 100_000,
	StreamsEach: 3, StreamBuffer: 16, StreamAge: time.Hour, Heartbeat: time.Hour}

// testLimits are those of a small caller, whose breaker stays open longer than any test.
var testLimits = sidecar.Limits{Concurrent: 8, Wait: 50 * time.Millisecond, Failures: 3, Pause: time.Hour}

// proxied plays the sidecar: it gives a request to the app that dapr-app-id names.
type proxied struct{ mesh sidecartest.Mesh }

func (p proxied) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h, ok := p.mesh[r.Header.Get("dapr-app-id")]
	if !ok {
		h = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusInternalServerError)
			fmt.Fprint(w, `{"errorCode":"ERR_DIRECT_INVOKE","message":"failed to invoke, id: order, err: couldn't find service: order"}`)
		})
	}
	if r.Body == nil {
		r.Body = http.NoBody
	}
	h.ServeHTTP(w, r)
	resp := w.Result()
	resp.Request = r
	return resp, r.Context().Err()
}

// issuer plays the user service's keys.
type issuer struct {
	mu      sync.Mutex
	keys    map[string]ed25519.PrivateKey
	fetched atomic.Int32
	down    atomic.Bool
}

func newIssuer() *issuer { return &issuer{keys: map[string]ed25519.PrivateKey{}} }

func (i *issuer) key(kid string) ed25519.PrivateKey {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.keys[kid] == nil {
		_, key, err := ed25519.GenerateKey(nil)
		if err != nil {
			panic(err)
		}
		i.keys[kid] = key
	}
	return i.keys[kid]
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.fetched.Add(1)
	if i.down.Load() {
		web.Fail(w, r, problem.New(problem.Unavailable, "down"))
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	var set userapi.KeySet
	for kid, key := range i.keys {
		set.Keys = append(set.Keys, userapi.NewKey(kid, key.Public().(ed25519.PublicKey)))
	}
	_ = web.JSON(w, 200, set)
}

func claims(id web.Identity, now time.Time) userapi.Claims {
	return userapi.Claims{
		RegisteredClaims: jwt.RegisteredClaims{Issuer: userapi.Issuer, Audience: jwt.ClaimStrings{userapi.Audience}, Subject: id.Subject,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(15 * time.Minute))},
		Role: id.Role, Restaurant: id.Restaurant,
	}
}

func signed(method jwt.SigningMethod, kid string, key any, c userapi.Claims) string {
	t := jwt.NewWithClaims(method, c)
	t.Header["kid"] = kid
	s, err := t.SignedString(key)
	if err != nil {
		panic(err)
	}
	return s
}

var (
	ann     = web.Identity{Subject: "usr_ann", Role: web.RoleCustomer}
	bob     = web.Identity{Subject: "usr_bob", Role: web.RoleCustomer}
	cook    = web.Identity{Subject: "usr_cook", Role: web.RoleKitchen, Restaurant: "rst_1"}
	rider   = web.Identity{Subject: "usr_rider", Role: web.RoleCourier}
	boss    = web.Identity{Subject: "usr_boss", Role: web.RoleOperator}
	anOrder = ids.Derive("ord", "one")
)

type clock struct{ offset atomic.Int64 }

func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *clock) advance(d time.Duration) { c.offset.Add(int64(d)) }

type fixture struct {
	*Service
	t      *testing.T
	mesh   sidecartest.Mesh
	guards *sidecar.Guards
	issuer *issuer
	clock  *clock
	app    http.Handler // what the sidecar sees

	mu   sync.Mutex
	seen *http.Request // the last that reached a service
	body string
}

func newFixture(t *testing.T, edit ...func(*Config)) *fixture {
	t.Helper()
	d, fakes := runtest.New(t, "gateway")
	f := &fixture{t: t, mesh: fakes.Mesh, issuer: newIssuer(), clock: &clock{}}
	f.guards = sidecar.NewGuards(testLimits, d.Log, d.Metrics)
	d.Proxy = func() (string, http.RoundTripper) { return "http://sidecar.test", f.guards.Transport(proxied{f.mesh}) }
	echo := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.seen, f.body = r, string(b)
		f.mu.Unlock()
		_ = web.JSON(w, 200, map[string]string{"path": r.URL.Path})
	})
	for _, app := range []string{"menu", "pricing", "order", "payment", "restaurant", "delivery", "notification", "analytics"} {
		f.mesh[app] = echo
	}
	f.mesh["user"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == userapi.KeySetPath {
			f.issuer.ServeHTTP(w, r)
			return
		}
		echo(w, r)
	})
	cfg := testConfig
	for _, e := range edit {
		e(&cfg)
	}
	s, err := build(d, cfg, f.clock.now)
	if err != nil {
		t.Fatal(err)
	}
	f.Service, f.app = s, runtest.Router(d, s)
	return f
}

func (f *fixture) token(id web.Identity) string {
	return signed(jwt.SigningMethodEdDSA, "key_1", f.issuer.key("key_1"), claims(id, f.clock.now()))
}

func (f *fixture) request(method, path string, id web.Identity, body string) *http.Request {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if id.Subject != "" {
		r.Header.Set("Authorization", "Bearer "+f.token(id))
	}
	return r
}

func (f *fixture) do(r *http.Request) *http.Response {
	f.mu.Lock()
	f.seen, f.body = nil, ""
	f.mu.Unlock()
	w := httptest.NewRecorder()
	f.public.ServeHTTP(w, r)
	return w.Result()
}

// golden compares got with a file of testdata, or writes it with -update.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s differs (run with -update if that is right):\n%s", path, diff)
	}
}

func TestRouteTable(t *testing.T) {
	var b bytes.Buffer
	seen := map[string]bool{}
	for _, rt := range routeList().Routes {
		line := fmt.Sprintf("%-6s %-45s %-12s %s", rt.Method, rt.Path, rt.Service, strings.Join(rt.For, ","))
		if rt.IdempotencyKey {
			line += " +key"
		}
		if len(rt.Body) > 0 {
			line += " {" + strings.Join(rt.Body, " ") + "}"
		}
		fmt.Fprintln(&b, line)
		if key := rt.Method + rt.Path; seen[key] {
			t.Errorf("%s is there twice", key)
		} else {
			seen[key] = true
		}
		if strings.HasPrefix(rt.Path, "/internal") {
			t.Errorf("%s is open to the outside", rt.Path)
		}
	}
	golden(t, "routes.golden", b.Bytes())
}

// Each route reaches its app for each role that may, and no other.
func TestEveryRouteHoldsItsRoles(t *testing.T) {
	f := newFixture(t)
	all := map[string]web.Identity{"": {}, web.RoleCustomer: ann, web.RoleKitchen: cook, web.RoleCourier: rider, web.RoleOperator: boss}
	for _, rt := range routes() {
		if rt.handler != nil {
			continue
		}
		path := strings.NewReplacer("{restaurant}", "rst_1", "{item}", "itm_1", "{order}", anOrder, "{address}", "adr_1").Replace(rt.Pattern)
		for role, id := range all {
			r := f.request(rt.Method, path, id, "")
			err := rt.authorize(id)
			resp := f.do(r)
			switch got := resp.StatusCode; {
			case err != nil && got != problem.Of(err).Status():
				t.Errorf("%s %s as %q: got %d, want %d", rt.Method, path, role, got, problem.Of(err).Status())
			case err == nil && (got == 401 || got == 403 || got == 404 || got == 405):
				t.Errorf("%s %s as %q: got %d", rt.Method, path, role, got)
			case err != nil && f.seen != nil:
				t.Errorf("%s %s as %q: reached the service", rt.Method, path, role)
			}
		}
	}
}

func TestBadInput(t *testing.T) {
	f := newFixture(t)
	quote := `{"restaurant_id":"rst_1","items":[{"item_id":"itm_1","quantity":%s}],"dropoff":{"lat":52.5,"lon":13.4}}`
	place := `{"quote":"q","card":"card_ok"}`
	key := http.Header{"Idempotency-Key": {"key-00000001"}}
	tests := []struct {
		name         string
		method, path string
		id           web.Identity
		header       http.Header
		body         string
		want         problem.Type
		field        string
	}{
		{"unknown path", "GET", "/v1/nothing", ann, nil, "", problem.NotFound, ""},
		{"internal path", "POST", "/internal/quotes/confirm", boss, nil, "{}", problem.NotFound, ""},
		{"typed call", "POST", "/dishmesh.pricing.v1.PricingService/ConfirmQuote", boss, nil, "{}", problem.NotFound, ""},
		{"event path", "POST", "/events/fooddelivery.order", boss, nil, "{}", problem.NotFound, ""},
		{"dot segments", "GET", "/v1/orders/../internal", ann, nil, "", problem.NotFound, ""},
		{"escaped slash", "GET", "/v1/orders/..%2Finternal", ann, nil, "", problem.NotFound, ""},
		{"bad id", "GET", "/v1/orders/a%20b", ann, nil, "", problem.NotFound, ""},
		{"dots as id", "GET", "/v1/orders/..", ann, nil, "", problem.NotFound, ""},
		{"method", "DELETE", "/v1/orders", ann, nil, "", problem.MethodNotAllowed, ""},
		{"no token", "GET", "/v1/orders", web.Identity{}, nil, "", problem.Unauthenticated, ""},
		{"another role", "POST", "/v1/orders", cook, key, place, problem.Forbidden, ""},
		{"no key", "POST", "/v1/orders", ann, nil, place, problem.MissingKey, ""},
		{"short key", "POST", "/v1/orders", ann, http.Header{"Idempotency-Key": {"short"}}, place, problem.MissingKey, ""},
		{"key with spaces", "POST", "/v1/orders", ann, http.Header{"Idempotency-Key": {"key with spaces"}}, place, problem.MissingKey, ""},
		{"empty body", "POST", "/v1/orders", ann, http.Header{"Idempotency-Key": {"key-00000001"}, "Content-Type": {"application/json"}}, "", problem.MalformedJSON, ""},
		{"not JSON", "POST", "/v1/orders", ann, key, "{quote", problem.MalformedJSON, ""},
		{"two values", "POST", "/v1/orders", ann, key, place + place, problem.MalformedJSON, ""},
		{"an array", "POST", "/v1/orders", ann, key, "[]", problem.MalformedJSON, ""},
		{"null", "POST", "/v1/orders", ann, key, "null", problem.MalformedJSON, ""},
		{"unknown field", "POST", "/v1/orders", ann, key, `{"quote":"q","card":"c","price":1}`, problem.InvalidRequest, "price"},
		{"wrong type", "POST", "/v1/orders", ann, key, `{"quote":1,"card":"c"}`, problem.InvalidRequest, "quote"},
		{"missing field", "POST", "/v1/orders", ann, key, `{"quote":"q"}`, problem.InvalidRequest, "card"},
		{"too large", "POST", "/v1/orders", ann, key, `{"quote":"` + strings.Repeat("x", web.MaxBody) + `"}`, problem.TooLarge, ""},
		{"not application/json", "POST", "/v1/orders", ann, http.Header{"Idempotency-Key": {"key-00000001"}, "Content-Type": {"text/plain"}}, place, problem.UnsupportedMedia, ""},
		{"no content type", "POST", "/v1/orders", ann, http.Header{"Idempotency-Key": {"key-00000001"}, "Content-Type": {""}}, place, problem.UnsupportedMedia, ""},
		{"negative quantity", "POST", "/v1/quotes", ann, nil, fmt.Sprintf(quote, "-1"), problem.InvalidRequest, "items[0].quantity"},
		{"huge quantity", "POST", "/v1/quotes", ann, nil, fmt.Sprintf(quote, "1000000"), problem.InvalidRequest, "items[0].quantity"},
		{"quantity beyond integers", "POST", "/v1/quotes", ann, nil, fmt.Sprintf(quote, "1e400"), problem.InvalidRequest, "quantity"},
		{"body where there is none", "POST", "/v1/tickets/" + anOrder + "/ready", cook, nil, `{"x":1}`, problem.MalformedJSON, ""},
		{"bad optional body", "POST", "/v1/orders/" + anOrder + "/cancel", ann, nil, `{"why":"x"}`, problem.InvalidRequest, "why"},
		{"basic auth", "GET", "/v1/orders", web.Identity{}, http.Header{"Authorization": {"Basic YTpi"}}, "", problem.Unauthenticated, ""},
		{"bad Last-Event-ID", "GET", "/v1/orders/" + anOrder + "/live", ann, http.Header{"Last-Event-Id": {"x"}}, "", problem.InvalidRequest, "Last-Event-ID"},
		{"another kitchen's stream", "GET", "/v1/restaurants/rst_2/live", cook, nil, "", problem.Forbidden, ""},
		{"unknown problem", "GET", "/problems/nonsense", web.Identity{}, nil, "", problem.NotFound, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := f.request(tt.method, tt.path, tt.id, tt.body)
			for name, v := range tt.header {
				r.Header[name] = v
			}
			resp := f.do(r)
			if got := resp.Header.Get("Content-Type"); got != problem.ContentType {
				t.Fatalf("status %d, Content-Type %q", resp.StatusCode, got)
			}
			if resp.StatusCode != tt.want.Status() {
				t.Errorf("got status %d, want %d", resp.StatusCode, tt.want.Status())
			}
			err := problem.Read(resp)
			if problem.Of(err) != tt.want || !strings.Contains(err.Error(), tt.field) {
				t.Errorf("got %v, want %s naming %q", err, tt.want, tt.field)
			}
			for _, h := range []string{"X-Request-Id", "X-Content-Type-Options", "Content-Security-Policy"} {
				if resp.Header.Get(h) == "" {
					t.Errorf("%s is missing", h)
				}
			}
			if f.seen != nil {
				t.Error("the request reached a service")
			}
		})
	}
	if got := f.do(f.request("DELETE", "/v1/orders", ann, "")).Header.Get("Allow"); got != "GET, POST" {
		t.Errorf("got Allow %q, want GET, POST", got)
	}
}

func TestForwarding(t *testing.T) {
	f := newFixture(t)
	r := f.request("POST", "/v1/orders?x=1", ann, ` {"quote":"q","card":"card_ok"} `)
	for name, v := range map[string]string{
		"Idempotency-Key": "key-00000001", "X-Request-Id": "req_mine", "Traceparent": "00-0123456789abcdef0123456789abcdef-0123456789abcdef-01",
		"Dishmesh-Role": "operator", "Dishmesh-Subject": "usr_boss", "Dishmesh-Restaurant": "rst_9", "Dapr-App-Id": "payment", "Dapr-Api-Token": "x",
		"Cookie": "a=b", "X-Forwarded-For": "1.2.3.4", "Te": "trailers", "Connection": "close, X-Evil", "X-Evil": "1", "Upgrade": "h2c",
	} {
		r.Header.Set(name, v)
	}
	r.Header["dapr-stream"] = []string{"true"}
	resp := f.do(r)
	if resp.StatusCode != 200 {
		t.Fatal(problem.Read(resp))
	}
	want := http.Header{
		"Content-Type": {"application/json"}, "Dapr-App-Id": {"order"}, "Dishmesh-Role": {"customer"}, "Dishmesh-Subject": {"usr_ann"},
		"Idempotency-Key": {"key-00000001"}, "Traceparent": {"00-0123456789abcdef0123456789abcdef-0123456789abcdef-01"}, "User-Agent": {""},
		"X-Request-Id": {"req_mine"},
	}
	if diff := cmp.Diff(want, f.seen.Header); diff != "" {
		t.Errorf("headers at the service:\n%s", diff)
	}
	if got, want := f.seen.URL.String(), "http://sidecar.test/v1/orders?x=1"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := f.body, ` {"quote":"q","card":"card_ok"} `; got != want {
		t.Errorf("got body %q, want %q", got, want)
	}
	if got, want := resp.Header.Get("X-Request-Id"), "req_mine"; got != want {
		t.Errorf("got request id %q, want %q", got, want)
	}
}

func TestOptionalBodies(t *testing.T) {
	f := newFixture(t)
	for _, tt := range []struct {
		path      string
		id        web.Identity
		body, got string
	}{
		{"/v1/orders/" + anOrder + "/cancel", ann, "", "{}"},
		{"/v1/orders/" + anOrder + "/cancel", ann, `{"reason":"late"}`, `{"reason":"late"}`},
		{"/v1/tickets/" + anOrder + "/ready", cook, "{}", ""},
		{"/v1/tickets/" + anOrder + "/ready", cook, "", ""},
	} {
		if resp := f.do(f.request("POST", tt.path, tt.id, tt.body)); resp.StatusCode != 200 {
			t.Errorf("%s %q: %v", tt.path, tt.body, problem.Read(resp))
		} else if f.body != tt.got {
			t.Errorf("%s %q: the service got %q, want %q", tt.path, tt.body, f.body, tt.got)
		}
	}
}

func TestAnswers(t *testing.T) {
	f := newFixture(t)
	path := "/v1/orders/" + anOrder
	reply := func(status int, header http.Header, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			for k, v := range header {
				w.Header()[k] = v
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		})
	}
	jsonType := http.Header{"Content-Type": {"application/json"}}
	tests := []struct {
		name   string
		answer http.Handler
		status int
		header map[string]string // "": must be absent
	}{
		{"fine", reply(200, http.Header{"Content-Type": {"application/json"}, "Etag": {`"v3"`}, "Retry-After": {"2"}, "Dapr-Thing": {"x"}, "Traceparent": {"x"}, "Server": {"x"}}, "{}"),
			200, map[string]string{"Etag": `"v3"`, "Retry-After": "2", "Dapr-Thing": "", "Traceparent": "", "Server": "", "Cache-Control": "private, no-cache"}},
		{"no validator", reply(200, jsonType, "{}"), 200, map[string]string{"Cache-Control": "private, no-store"}},
		{"own cache policy", reply(200, http.Header{"Cache-Control": {"max-age=7"}}, "{}"), 200, map[string]string{"Cache-Control": "max-age=7"}},
		{"not modified", reply(304, http.Header{"Etag": {`"v3"`}}, ""), 304, map[string]string{"Etag": `"v3"`}},
		{"created", reply(201, http.Header{"Location": {"/v1/orders/x"}}, "{}"), 201, map[string]string{"Location": "/v1/orders/x"}},
		{"a problem", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			web.Fail(w, r, problem.New(problem.QuoteExpired, "old"))
		}), 410, map[string]string{"Content-Type": problem.ContentType}},
		{"app not found", nil, 503, map[string]string{"Content-Type": problem.ContentType, "Retry-After": "1"}},
		{"sidecar timed out", reply(500, jsonType, `{"errorCode":"ERR_DIRECT_INVOKE","message":"rpc error: code = DeadlineExceeded"}`), 504, map[string]string{"Retry-After": "1"}},
		{"breaker open", reply(500, jsonType, `{"errorCode":"ERR_DIRECT_INVOKE","message":"circuit breaker is open"}`), 503, map[string]string{"Retry-After": "1"}},
		{"sidecar refuses", reply(401, http.Header{"Content-Type": {"text/plain"}}, "invalid api token"), 503, nil},
		{"bare 502", reply(502, nil, ""), 503, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f.mesh["order"] = tt.answer
			if tt.answer == nil {
				delete(f.mesh, "order")
			}
			resp := f.do(f.request("GET", path, ann, ""))
			if resp.StatusCode != tt.status {
				t.Errorf("got status %d, want %d", resp.StatusCode, tt.status)
			}
			for name, want := range tt.header {
				if got := resp.Header.Get(name); got != want {
					t.Errorf("got %s %q, want %q", name, got, want)
				}
			}
			if b, _ := io.ReadAll(resp.Body); bytes.Contains(b, []byte("ERR_DIRECT")) || bytes.Contains(b, []byte("api token")) {
				t.Errorf("the inside shows: %s", b)
			}
		})
	}
}

func TestPages(t *testing.T) {
	f := newFixture(t)
	fetch := func(path, accept string) (*http.Response, string) {
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("Accept", accept)
		resp := f.do(r)
		b, _ := io.ReadAll(resp.Body)
		return resp, string(b)
	}
	for path, want := range map[string]string{"/": "/v1/orders/{order}/live", "/problems/": "/problems/quote-expired", "/problems/quote-expired": "Ask for a new quote."} {
		resp, html := fetch(path, "text/html,*/*")
		if resp.StatusCode != 200 || !strings.Contains(html, want) {
			t.Errorf("%s: status %d without %q", path, resp.StatusCode, want)
		}
		if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "style-src 'sha256-") || strings.Contains(csp, "unsafe") {
			t.Errorf("%s: got policy %s", path, csp)
		}
		if strings.Contains(html, "ZgotmplZ") || strings.Contains(html, "http://") || strings.Contains(html, "https://") {
			t.Errorf("%s: an escaped or an outside resource", path)
		}
	}
	var list ProblemList
	_, body := fetch("/problems/", "application/json")
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Problems) != len(problem.Types()) {
		t.Errorf("got %d problems, %v, want %d", len(list.Problems), err, len(problem.Types()))
	}
	var info ProblemInfo
	_, body = fetch("/problems/not-found", "*/*")
	if err := json.Unmarshal([]byte(body), &info); err != nil || info.Status != 404 {
		t.Errorf("got %+v, %v", info, err)
	}
	var table RouteList
	_, body = fetch("/v1/routes", "*/*")
	if err := json.Unmarshal([]byte(body), &table); err != nil || len(table.Routes) != len(routes()) {
		t.Errorf("got %d routes, %v, want %d", len(table.Routes), err, len(routes()))
	}
}
