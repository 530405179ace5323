package gateway

import (
	"crypto/ed25519"
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

func (f *fixture) get(path, token string) *http.Response {
	r := f.request("GET", path, web.Identity{}, "")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return f.do(r)
}

func TestTokens(t *testing.T) {
	f := newFixture(t)
	good := f.token(ann)
	key := f.issuer.key("key_1")
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	edited := func(edit func(*userapi.Claims)) string {
		c := claims(ann, time.Now())
		edit(&c)
		return signed(jwt.SigningMethodEdDSA, "key_1", key, c)
	}
	parts := strings.Split(good, ".")
	payload := base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"usr_ann","role":"operator","iss":"dishmesh","aud":["dishmesh-api"],"exp":9999999999}`))
	tests := []struct {
		name, token string
		want        problem.Type // "": it is good
	}{
		{"good", good, ""},
		{"good again", good, ""},
		{"nonsense", "nonsense", problem.Unauthenticated},
		{"altered claims", parts[0] + "." + payload + "." + parts[2], problem.Unauthenticated},
		{"altered signature", parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), problem.Unauthenticated},
		{"no signature", parts[0] + "." + parts[1] + ".", problem.Unauthenticated},
		{"algorithm none", signed(jwt.SigningMethodNone, "key_1", jwt.UnsafeAllowNoneSignatureType, claims(boss, time.Now())), problem.Unauthenticated},
		{"HMAC with the public key", signed(jwt.SigningMethodHS256, "key_1", []byte(key.Public().(ed25519.PublicKey)), claims(boss, time.Now())), problem.Unauthenticated},
		{"another key", signed(jwt.SigningMethodEdDSA, "key_1", stranger, claims(boss, time.Now())), problem.Unauthenticated},
		{"unknown key", signed(jwt.SigningMethodEdDSA, "key_9", stranger, claims(boss, time.Now())), problem.Unauthenticated},
		{"no key id", signed(jwt.SigningMethodEdDSA, "", key, claims(ann, time.Now())), problem.Unauthenticated},
		{"expired", edited(func(c *userapi.Claims) { c.ExpiresAt = jwt.NewNumericDate(time.Now().Add(-time.Minute)) }), problem.TokenExpired},
		{"no expiry", edited(func(c *userapi.Claims) { c.ExpiresAt = nil }), problem.Unauthenticated},
		{"another issuer", edited(func(c *userapi.Claims) { c.Issuer = "other" }), problem.Unauthenticated},
		{"another audience", edited(func(c *userapi.Claims) { c.Audience = jwt.ClaimStrings{"other"} }), problem.Unauthenticated},
		{"no subject", edited(func(c *userapi.Claims) { c.Subject = "" }), problem.Unauthenticated},
		{"unknown role", edited(func(c *userapi.Claims) { c.Role = "king" }), problem.Unauthenticated},
		{"not yet valid", edited(func(c *userapi.Claims) { c.NotBefore = jwt.NewNumericDate(time.Now().Add(time.Hour)) }), problem.Unauthenticated},
		{"too long", strings.Repeat("a", maxToken+1), problem.Unauthenticated},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, path := range []string{"/v1/orders", "/v1/restaurants"} { // a bad token is refused where none is needed, too
				resp := f.get(path, tt.token)
				if tt.want == "" {
					if resp.StatusCode != 200 {
						t.Errorf("%s: %v", path, problem.Read(resp))
					}
					continue
				}
				if err := problem.Read(resp); problem.Of(err) != tt.want || resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: got %d %v, want %s", path, resp.StatusCode, err, tt.want)
				}
				if f.seen != nil {
					t.Errorf("%s: the request reached the service", path)
				}
			}
		})
	}
}

func TestVerifiedTokenExpires(t *testing.T) {
	f := newFixture(t)
	token := f.token(ann)
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 200}, {14 * time.Minute, 200}, {59 * time.Second, 200}, {10 * time.Second, 401}} {
		f.clock.advance(step.after)
		if got := f.get("/v1/orders", token).StatusCode; got != step.want {
			t.Errorf("after %s more: got %d, want %d", step.after, got, step.want)
		}
	}
}

func TestKeysAreFetchedSparingly(t *testing.T) {
	f := newFixture(t)
	for range 20 {
		f.get("/v1/orders", f.token(ann))
	}
	if got := f.issuer.fetched.Load(); got != 1 {
		t.Errorf("20 requests fetched the keys %d times", got)
	}
	forged := signed(jwt.SigningMethodEdDSA, "key_x", ed25519.NewKeyFromSeed(make([]byte, 32)), claims(ann, time.Now()))
	for range 20 {
		f.get("/v1/orders", forged)
	}
	if got := f.issuer.fetched.Load(); got != 1 {
		t.Errorf("unknown keys within %s fetched the keys %d times", keysRetry, got)
	}
	f.clock.advance(keysRetry)
	next := signed(jwt.SigningMethodEdDSA, "key_2", f.issuer.key("key_2"), claims(ann, f.clock.now()))
	if resp := f.get("/v1/orders", next); resp.StatusCode != 200 {
		t.Errorf("a new key is not taken up: %v", problem.Read(resp))
	}
	if got := f.issuer.fetched.Load(); got != 2 {
		t.Errorf("got %d fetches, want 2", got)
	}
}

func TestUserServiceDown(t *testing.T) {
	f := newFixture(t)
	f.issuer.down.Store(true)
	token := f.token(ann)
	if resp := f.get("/v1/orders", token); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("without keys: got %d", resp.StatusCode)
	}
	f.issuer.down.Store(false)
	f.clock.advance(keysRetry)
	if resp := f.get("/v1/orders", token); resp.StatusCode != 200 {
		t.Errorf("the keys are back: got %d", resp.StatusCode)
	}
	f.issuer.down.Store(true)
	f.clock.advance(keysFresh)
	if resp := f.get("/v1/orders", f.token(bob)); resp.StatusCode != 200 {
		t.Errorf("old keys are better than none: got %d", resp.StatusCode)
	}
	if resp := f.get("/v1/restaurants", ""); resp.StatusCode != 200 {
		t.Errorf("without a token nothing needs keys: got %d", resp.StatusCode)
	}
}
