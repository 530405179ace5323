package user

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// cheapHash keeps the tests fast; what is tested does not depend on the cost.
var cheapHash = argon2id.Params{Memory: 64, Iterations: 1, Parallelism: 1, SaltLength: 16, KeyLength: 32}

var testConfig = Config{AccessTTL: 15 * time.Minute, RefreshTTL: time.Hour, KeyPeriod: 24 * time.Hour, KeyLead: 15 * time.Minute}

type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

type fixture struct {
	*Service
	*runtest.Fakes
	t      *testing.T
	clock  *clock
	router http.Handler
}

func newFixture(t *testing.T, cfg Config) *fixture {
	t.Helper()
	d, fakes := runtest.New(t, "user")
	c := &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	s, err := build(d, cfg, c.now, cheapHash)
	if err != nil {
		t.Fatal(err)
	}
	runtest.Start(t, d)
	if err := s.keys.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	return &fixture{Service: s, Fakes: fakes, t: t, clock: c, router: runtest.Router(d, s)}
}

func (f *fixture) do(method, path string, caller web.Identity, body, out any) *http.Response {
	f.t.Helper()
	var b bytes.Buffer
	if s, ok := body.(string); ok {
		b.WriteString(s)
	} else if body != nil {
		if err := json.NewEncoder(&b).Encode(body); err != nil {
			f.t.Fatal(err)
		}
	}
	r := httptest.NewRequest(method, path, &b)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	caller.Set(r.Header)
	w := httptest.NewRecorder()
	f.router.ServeHTTP(w, r)
	resp := w.Result()
	if out != nil && resp.StatusCode/100 == 2 {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			f.t.Fatalf("%s %s: %v", method, path, err)
		}
	}
	return resp
}

func (f *fixture) refused(resp *http.Response, want problem.Type) {
	f.t.Helper()
	if err := problem.Read(resp); problem.Of(err) != want {
		f.t.Fatalf("got status %d, %v, want %s", resp.StatusCode, err, want)
	}
}

const password = "correct horse battery"

func (f *fixture) registered(email string) userapi.User {
	f.t.Helper()
	var u userapi.User
	resp := f.do("POST", "/v1/users", web.Identity{}, userapi.Registration{Email: email, Password: password, Name: "Ann"}, &u)
	if resp.StatusCode != http.StatusCreated {
		f.t.Fatalf("register: %v", problem.Read(resp))
	}
	return u
}

func (f *fixture) loggedIn(email string) userapi.Tokens {
	f.t.Helper()
	var tokens userapi.Tokens
	resp := f.do("POST", "/v1/tokens", web.Identity{}, userapi.Credentials{Email: email, Password: password}, &tokens)
	if resp.StatusCode != http.StatusOK {
		f.t.Fatalf("log in: %v", problem.Read(resp))
	}
	return tokens
}

func TestRegistration(t *testing.T) {
	operator := web.Identity{Subject: "usr_op", Role: web.RoleOperator}
	customer := web.Identity{Subject: "usr_c", Role: web.RoleCustomer}
	reg := func(edit func(*userapi.Registration)) userapi.Registration {
		r := userapi.Registration{Email: "new@example.com", Password: password, Name: "New"}
		edit(&r)
		return r
	}
	tests := []struct {
		name   string
		caller web.Identity
		body   any
		status int
		want   problem.Type
		field  string
		role   string
	}{
		{"customer by default", web.Identity{}, reg(func(r *userapi.Registration) {}), 201, "", "", web.RoleCustomer},
		{"courier", web.Identity{}, reg(func(r *userapi.Registration) { r.Role = "courier" }), 201, "", "", web.RoleCourier},
		{"operator by nobody", web.Identity{}, reg(func(r *userapi.Registration) { r.Role = "operator" }), 403, problem.Forbidden, "", ""},
		{"kitchen by a customer", customer, reg(func(r *userapi.Registration) { r.Role, r.RestaurantID = "kitchen", "rst_1" }), 403, problem.Forbidden, "", ""},
		{"kitchen by an operator", operator, reg(func(r *userapi.Registration) { r.Role, r.RestaurantID = "kitchen", "rst_1" }), 201, "", "", web.RoleKitchen},
		{"kitchen without restaurant", operator, reg(func(r *userapi.Registration) { r.Role = "kitchen" }), 400, problem.InvalidRequest, "restaurant_id", ""},
		{"customer with restaurant", web.Identity{}, reg(func(r *userapi.Registration) { r.RestaurantID = "rst_1" }), 400, problem.InvalidRequest, "restaurant_id", ""},
		{"same address", web.Identity{}, reg(func(r *userapi.Registration) { r.Email = "ANN@Example.com" }), 409, problem.AlreadyExists, "", ""},
		{"no address", web.Identity{}, reg(func(r *userapi.Registration) { r.Email = "ann" }), 400, problem.InvalidRequest, "email", ""},
		{"short password", web.Identity{}, reg(func(r *userapi.Registration) { r.Password = "short" }), 400, problem.InvalidRequest, "password", ""},
		{"long password", web.Identity{}, reg(func(r *userapi.Registration) { r.Password = strings.Repeat("x", 129) }), 400, problem.InvalidRequest, "password", ""},
		{"unknown role", web.Identity{}, reg(func(r *userapi.Registration) { r.Role = "king" }), 400, problem.InvalidRequest, "role", ""},
		{"unknown field", web.Identity{}, `{"email":"a@b.example","password":"0123456789","name":"a","admin":true}`, 400, problem.InvalidRequest, "admin", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t, testConfig)
			f.registered("ann@example.com")
			var u userapi.User
			resp := f.do("POST", "/v1/users", tt.caller, tt.body, &u)
			if resp.StatusCode != tt.status {
				t.Fatalf("got status %d, want %d: %v", resp.StatusCode, tt.status, problem.Read(resp))
			}
			if tt.want == "" {
				if u.Role != tt.role || u.ID == "" {
					t.Errorf("got %+v, want role %s", u, tt.role)
				}
				return
			}
			err := problem.Read(resp)
			if problem.Of(err) != tt.want || !strings.Contains(err.Error(), tt.field) {
				t.Errorf("got %v, want %s naming %q", err, tt.want, tt.field)
			}
		})
	}
}

// Two registrations of one address at the same time: one account comes of it.
func TestEmailIsUniqueUnderRace(t *testing.T) {
	f := newFixture(t, testConfig)
	const n = 8
	codes := make(chan int, n)
	for i := range n {
		go func() {
			codes <- f.do("POST", "/v1/users", web.Identity{}, userapi.Registration{Email: "race@example.com", Password: password, Name: fmt.Sprint(i)}, nil).StatusCode
		}()
	}
	got := map[int]int{}
	for range n {
		got[<-codes]++
	}
	if want := (map[int]int{201: 1, 409: n - 1}); !cmp.Equal(got, want) {
		t.Errorf("got statuses %v, want %v", got, want)
	}
	runtest.Eventually(t, "the event is published", func() bool { return len(f.Publisher.Sent()) > 0 })
	if got, want := f.Publisher.Types(), []string{userapi.EventRegistered}; !cmp.Equal(got, want) {
		t.Errorf("got events %v, want %v", got, want)
	}
}

func TestEventHasNoSecret(t *testing.T) {
	f := newFixture(t, testConfig)
	u := f.registered("ann@example.com")
	f.do("PUT", "/v1/users/me/preferences", web.Identity{Subject: u.ID}, `{"email":false,"sms":true,"push":true}`, nil)
	f.do("PUT", "/v1/users/me/preferences", web.Identity{Subject: u.ID}, `{"email":false,"sms":true,"push":true}`, nil) // no change, no event
	runtest.Eventually(t, "both events are published", func() bool { return len(f.Publisher.Sent()) == 2 })
	for _, p := range f.Publisher.Sent() {
		if b, _ := json.Marshal(p); bytes.Contains(b, []byte("argon2")) || bytes.Contains(b, []byte(password)) {
			t.Errorf("an event holds a secret: %s", b)
		}
	}
	var e userapi.PreferencesChangedEvent
	if err := userapi.Events.Into(f.Publisher.Sent()[1].Event, &e); err != nil {
		t.Fatal(err)
	}
	want := &userapi.PreferencesChangedEvent{UserId: u.ID, Email: "ann@example.com", Name: "Ann", Preferences: &userapi.ChannelPreferences{Sms: true, Push: true}}
	if diff := cmp.Diff(want, &e, protocmp.Transform()); diff != "" {
		t.Error(diff)
	}
	for _, key := range f.Store.Keys() {
		item, _ := f.Store.Get(t.Context(), key)
		if bytes.Contains(item.Value, []byte(password)) {
			t.Errorf("%s holds the password", key)
		}
	}
}

func TestLogin(t *testing.T) {
	f := newFixture(t, testConfig)
	u := f.registered("ann@example.com")
	if got := f.loggedIn(" Ann@Example.COM"); got.User.ID != u.ID || got.TokenType != "Bearer" || got.ExpiresIn != 900 {
		t.Errorf("got %+v", got)
	}
	for _, c := range []userapi.Credentials{{Email: "ann@example.com", Password: "wrong password"}, {Email: "nobody@example.com", Password: password}} {
		resp := f.do("POST", "/v1/tokens", web.Identity{}, c, nil)
		f.refused(resp, problem.BadCredentials)
	}
}

// An unknown account costs a hash too: with no hash to be had, both kinds of wrong login wait alike.
func TestLoginWorkIsEqual(t *testing.T) {
	f := newFixture(t, testConfig)
	f.registered("ann@example.com")
	for range hashesAtOnce {
		f.passwords.running <- struct{}{}
	}
	for _, email := range []string{"ann@example.com", "nobody@example.com"} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := f.login(ctx, userapi.Credentials{Email: email, Password: "wrong password"})
		cancel()
		if err == nil || problem.Of(err) == problem.BadCredentials {
			t.Errorf("%s: answered without a hash: %v", email, err)
		}
	}
}

func TestTooManyLogins(t *testing.T) {
	f := newFixture(t, testConfig)
	for range hashesWaiting {
		f.passwords.waiting <- struct{}{}
	}
	f.refused(f.do("POST", "/v1/tokens", web.Identity{}, userapi.Credentials{Email: "a@b.example", Password: password}, nil), problem.Unavailable)
}

func (f *fixture) refresh(token string, out *userapi.Tokens) *http.Response {
	f.t.Helper()
	var dst any
	if out != nil {
		dst = out
	}
	return f.do("POST", "/v1/tokens/refresh", web.Identity{}, userapi.RefreshRequest{RefreshToken: token}, dst)
}

func TestRefreshReuseRevokesTheFamily(t *testing.T) {
	f := newFixture(t, testConfig)
	f.registered("ann@example.com")
	first, other := f.loggedIn("ann@example.com"), f.loggedIn("ann@example.com")
	var second, third userapi.Tokens
	if resp := f.refresh(first.RefreshToken, &second); resp.StatusCode != 200 {
		t.Fatal(problem.Read(resp))
	}
	if second.RefreshToken == first.RefreshToken || second.User.ID != first.User.ID {
		t.Fatalf("got %+v", second)
	}
	f.refused(f.refresh(first.RefreshToken, nil), problem.RefreshReused)
	f.refused(f.refresh(second.RefreshToken, nil), problem.Unauthenticated)
	if resp := f.refresh(other.RefreshToken, &third); resp.StatusCode != 200 {
		t.Errorf("another login was revoked too: %v", problem.Read(resp))
	}
}

func TestRefreshAtTheSameTime(t *testing.T) {
	f := newFixture(t, testConfig)
	f.registered("ann@example.com")
	token := f.loggedIn("ann@example.com").RefreshToken
	const n = 6
	codes := make(chan int, n)
	for range n {
		go func() { codes <- f.refresh(token, nil).StatusCode }()
	}
	got := map[int]int{}
	for range n {
		got[<-codes]++
	}
	if want := (map[int]int{200: 1, 401: n - 1}); !cmp.Equal(got, want) {
		t.Errorf("got statuses %v, want %v", got, want)
	}
}

func TestRefreshRefused(t *testing.T) {
	f := newFixture(t, testConfig)
	f.registered("ann@example.com")
	good := f.loggedIn("ann@example.com").RefreshToken
	family, _, _ := strings.Cut(good, ".")
	for name, token := range map[string]string{"nonsense": "x", "forged": family + ".AAAAAAAAAAAAAAAAAAAAAAAAAA", "other family": "rtf_00000000000000000000000000.A"} {
		t.Run(name, func(t *testing.T) { f.refused(f.refresh(token, nil), problem.Unauthenticated) })
	}
	f.clock.advance(testConfig.RefreshTTL)
	f.refused(f.refresh(good, nil), problem.Unauthenticated) // expired
}

func TestRevoke(t *testing.T) {
	f := newFixture(t, testConfig)
	f.registered("ann@example.com")
	token := f.loggedIn("ann@example.com").RefreshToken
	for range 2 {
		resp := f.do("POST", "/v1/tokens/revoke", web.Identity{}, userapi.RefreshRequest{RefreshToken: token}, nil)
		if resp.StatusCode != http.StatusNoContent {
			t.Fatal(problem.Read(resp))
		}
	}
	f.refused(f.refresh(token, nil), problem.Unauthenticated)
}

func TestRefreshTokensAreStoredHashed(t *testing.T) {
	f := newFixture(t, testConfig)
	f.registered("ann@example.com")
	_, secret, _ := strings.Cut(f.loggedIn("ann@example.com").RefreshToken, ".")
	for _, key := range f.Store.Keys() {
		item, _ := f.Store.Get(t.Context(), key)
		if strings.Contains(key, secret) || bytes.Contains(item.Value, []byte(secret)) {
			t.Errorf("%s holds the token", key)
		}
	}
}

func TestProfile(t *testing.T) {
	f := newFixture(t, testConfig)
	me := web.Identity{Subject: f.registered("ann@example.com").ID, Role: web.RoleCustomer}
	var u userapi.User
	f.do("PATCH", "/v1/users/me", me, `{"name":"Anna","phone":"+4915112345678"}`, &u)
	if u.Name != "Anna" || u.Phone != "+4915112345678" {
		t.Errorf("got %+v", u)
	}
	f.do("PATCH", "/v1/users/me", me, `{"phone":""}`, &u)
	f.do("GET", "/v1/users/me", me, nil, &u)
	if u.Name != "Anna" {
		t.Errorf("got %+v", u)
	}
	f.refused(f.do("PATCH", "/v1/users/me", me, `{"phone":"12"}`, nil), problem.InvalidRequest)
	f.refused(f.do("PATCH", "/v1/users/me", me, `{"role":"operator"}`, nil), problem.InvalidRequest)
	f.refused(f.do("PUT", "/v1/users/me/preferences", me, `{"email":true}`, nil), problem.InvalidRequest)
	f.refused(f.do("GET", "/v1/users/me", web.Identity{Subject: "usr_none"}, nil, nil), problem.NotFound)
}

func TestAddresses(t *testing.T) {
	f := newFixture(t, testConfig)
	me := web.Identity{Subject: f.registered("ann@example.com").ID}
	var a userapi.Address
	if resp := f.do("POST", "/v1/users/me/addresses", me, `{"street":"Main St 1","lat":0,"lon":13.4}`, &a); resp.StatusCode != 201 {
		t.Fatal(problem.Read(resp))
	}
	var list userapi.AddressList
	f.do("GET", "/v1/users/me/addresses", me, nil, &list)
	if diff := cmp.Diff(userapi.AddressList{Addresses: []userapi.Address{a}}, list); diff != "" {
		t.Error(diff)
	}
	f.refused(f.do("DELETE", "/v1/users/me/addresses/"+a.ID, web.Identity{Subject: "usr_other"}, nil, nil), problem.NotFound)
	if resp := f.do("DELETE", "/v1/users/me/addresses/"+a.ID, me, nil, nil); resp.StatusCode != 204 {
		t.Error(problem.Read(resp))
	}
	f.refused(f.do("POST", "/v1/users/me/addresses", me, `{"street":"Main St 1","lat":91,"lon":0}`, nil), problem.InvalidRequest)
	for range maxAddresses {
		f.do("POST", "/v1/users/me/addresses", me, `{"street":"Main St 1","lat":0,"lon":0}`, nil)
	}
	f.refused(f.do("POST", "/v1/users/me/addresses", me, `{"street":"Main St 1","lat":0,"lon":0}`, nil), problem.IllegalState)
}

func TestBootstrapAccounts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "accounts.json")
	content := `[{"email":"operator@dishmesh.local","password":"0123456789","name":"Op","role":"operator"},
		{"email":"kitchen-01@dishmesh.local","password":"0123456789","name":"K","role":"kitchen","restaurant_id":"rst_1"}]`
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig
	cfg.AccountsFile = path
	f := newFixture(t, cfg)
	failed := false
	f.Store.Fail = func([]sidecar.Op) error { // the first attempt fails
		if !failed {
			failed = true
			return problem.New(problem.Unavailable, "not yet")
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	login := userapi.Credentials{Email: "kitchen-01@dishmesh.local", Password: "0123456789"}
	var tokens userapi.Tokens
	runtest.Eventually(t, "the kitchen can log in", func() bool {
		return f.do("POST", "/v1/tokens", web.Identity{}, login, &tokens).StatusCode == 200
	})
	if tokens.User.RestaurantID != "rst_1" || tokens.User.Role != web.RoleKitchen {
		t.Errorf("got %+v", tokens.User)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if left, created, err := f.createMissing(t.Context(), f.bootstrap); len(left) != 0 || created != 0 || err != nil {
		t.Errorf("a second start: %d left, %d created, %v; want none", len(left), created, err)
	}
}

func TestConfigFaults(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "accounts.json")
	if err := os.WriteFile(bad, []byte(`[{"email":"x","password":"short","name":"","role":"operator"}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, edit := range map[string]func(*Config){
		"KEY_LEAD":              func(c *Config) { c.KeyLead = c.KeyPeriod },
		"ACCESS_TOKEN_TTL":      func(c *Config) { c.AccessTTL = 0 },
		"ACCOUNTS_FILE":         func(c *Config) { c.AccountsFile = "no/such/file" },
		"account 1: invalid-re": func(c *Config) { c.AccountsFile = bad },
	} {
		d, _ := runtest.New(t, "user")
		cfg := testConfig
		edit(&cfg)
		if _, err := New(d, cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want something with %s", err, want)
		}
	}
}
