package cluster

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/probe"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// atEdge tells whether an answer is one of the edge, that is not of the gateway behind it, which says its version.
func atEdge(a probe.Answer) bool { return a.Header[web.VersionHeader] == "" }

// read gives a token and what it claims, without a look at the signature.
func read(t *T, token string) (*jwt.Token, userapi.Claims) {
	t.Helper()
	var claims userapi.Claims
	parsed, _, err := jwt.NewParser().ParseUnverified(token, &claims)
	if err != nil {
		t.Fatal(err)
	}
	return parsed, claims
}

// forge signs the claims of a token with another key, under the same key id.
func forge(t *T, token string, change func(*userapi.Claims)) string {
	t.Helper()
	parsed, claims := read(t, token)
	change(&claims)
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	again := jwt.NewWithClaims(jwt.SigningMethodEdDSA, claims)
	again.Header["kid"] = parsed.Header["kid"]
	signed, err := again.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// tampered changes the claims of a token and leaves its signature.
func tampered(t *T, token string) string {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("a token has three parts, not %d", len(parts))
	}
	claims, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(claims), web.RoleCustomer, web.RoleOperator, 1)
	if changed == string(claims) {
		t.Fatal("the token names no role")
	}
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(changed))
	return strings.Join(parts, ".")
}

// unsigned is a token that says it needs no signature.
func unsigned(token string) string {
	parts := strings.Split(token, ".")
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."
}

func TestTokens(t *testing.T) {
	r := shows(t, "ingress", "Who has no token, or one that is no good, does not get past the edge.",
		"mesh/ingress/tokens.yaml", "mesh/ingress/authorization.yaml")
	p := here.register(r)
	me := func(token string) probe.Request { return here.raw(token, http.MethodGet, "/v1/users/me", nil) }
	for _, c := range []struct {
		what string
		q    probe.Request
		want int
		edge bool
		says string
	}{
		{"a good token", me(p.token), http.StatusOK, false, ""},
		{"no token", me(""), http.StatusUnauthorized, true, ""},
		{"no token, for what needs none", here.raw("", http.MethodGet, "/v1/restaurants", nil), http.StatusOK, false, ""},
		{"a token of somebody else's key", me(forge(r, p.token, func(*userapi.Claims) {})), http.StatusUnauthorized, true, "Jwt verification fails"},
		{"such a token of an operator", me(forge(r, p.token, func(c *userapi.Claims) { c.Role = web.RoleOperator })), http.StatusUnauthorized, true, ""},
		// Nobody but the user service has its key. Envoy looks at issuer and audience before it looks at the signature, and its
		// answer tells what it did not like.
		{"a token of another issuer", me(forge(r, p.token, func(c *userapi.Claims) { c.Issuer = "elsewhere" })), http.StatusUnauthorized, true, "Jwt issuer is not configured"},
		{"a token without issuer", me(forge(r, p.token, func(c *userapi.Claims) { c.Issuer = "" })), http.StatusUnauthorized, true, "Jwt issuer is not configured"},
		{"a token for another API", me(forge(r, p.token, func(c *userapi.Claims) { c.Audience = jwt.ClaimStrings{"elsewhere"} })), http.StatusForbidden, true, ""},
		{"a token for no API", me(forge(r, p.token, func(c *userapi.Claims) { c.Audience = nil })), http.StatusForbidden, true, ""},
		{"a token whose role was changed", me(tampered(r, p.token)), http.StatusUnauthorized, true, ""},
		{"a token without signature", me(unsigned(p.token)), http.StatusUnauthorized, true, ""},
		{"no token at all in the header", me("nonsense"), http.StatusUnauthorized, true, ""},
		{"a good token, for an operator's request", here.raw(p.token, http.MethodGet, "/v1/analytics/summary", nil), http.StatusForbidden, false, ""},
		{"a good token, for what is not public", here.raw(p.token, http.MethodGet, "/internal/events/order/x", nil), http.StatusForbidden, true, ""},
		{"a good token, for what does not exist", here.raw(p.token, http.MethodGet, "/v2/orders", nil), http.StatusForbidden, true, ""},
	} {
		a := here.caller.Do(r.Context(), c.q)
		where := map[bool]string{true: "the edge", false: "the gateway"}
		if a.Status != c.want || atEdge(a) != c.edge {
			r.Errorf("%s: %s from %s, want %d from %s", c.what, a, where[atEdge(a)], c.want, where[c.edge])
			continue
		}
		if !strings.Contains(a.Body, c.says) {
			r.Errorf("%s: %s, want %q in the answer", c.what, a, c.says)
			continue
		}
		r.Saw("%s: %d from %s", c.what, a.Status, where[c.edge])
	}
}

// skew is how long a token may have expired and still be good at the edge: Envoy's own allowance for clocks that differ.
const skew = time.Minute

// TestExpiredToken has the user service issue a token that lives for a second.
func TestExpiredToken(t *testing.T) {
	r := shows(t, "ingress", "A token that has expired is refused at the edge.", "mesh/ingress/tokens.yaml")
	email, password := ids.New("proof")+"@example.com", ids.New("password")
	in := map[string]string{"email": email, "password": password, "name": "Proof", "role": "customer"}
	if a := here.caller.Do(r.Context(), here.raw("", http.MethodPost, "/v1/users", in)); a.Status != http.StatusCreated {
		r.Fatalf("register: %s", a)
	}
	here.setEnv(r, "user", "ACCESS_TOKEN_TTL=1s")
	var token string
	r.Eventually(time.Minute, "a token that lives for a second", func() error {
		token = here.newToken(r, email, password)
		if _, c := read(r, token); c.ExpiresAt.Sub(c.IssuedAt.Time) != time.Second {
			return fmt.Errorf("this one lives for %s: the old pod still answers", c.ExpiresAt.Sub(c.IssuedAt.Time))
		}
		return nil
	})
	issued := time.Now()
	here.setEnv(r, "user", "ACCESS_TOKEN_TTL-")
	here.gone(r, "user") // the tests that follow want tokens that last
	r.Parallel()         // now it waits for a minute
	var last probe.Answer
	r.Eventually(2*skew, "the token is refused by the edge", func() error {
		last = here.caller.Do(r.Context(), here.raw(token, http.MethodGet, "/v1/users/me", nil))
		if last.Status != http.StatusUnauthorized || !atEdge(last) {
			return fmt.Errorf("%s", last)
		}
		return nil
	})
	r.Figure("a token that lived for 1 s is refused by the edge after", fmt.Sprintf("%.0f s", time.Since(issued).Seconds()), fmt.Sprintf("1 s and %s for clocks that differ", skew))
}

// setEnv sets a variable of a service (NAME=value), or takes it back (NAME-), and waits for the rollout.
func (s *site) setEnv(t *T, app string, change ...string) {
	t.Helper()
	args := append([]string{"set", "env", "-n", communication.Namespace, "deployment/" + app, "-c", "app"}, change...)
	if _, err := s.Run(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
	if err := s.RolledOut(t.Context(), communication.Namespace, "deployment/"+app, rolloutWithin); err != nil {
		t.Fatal(err)
	}
}

// gone waits until no pod of an app is on its way out any more. A rollout is over for Kubernetes before that, and until then
// a call or a saga may still meet with the old form.
func (s *site) gone(t *T, app string) {
	t.Helper()
	t.Eventually(rolloutWithin, "the old pods of "+app+" are gone", func() error {
		ending, err := s.Run(t.Context(), "get", "pods", "-n", communication.Namespace, "-l", "app="+app, "-o", "jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}")
		if err == nil && ending != "" {
			err = fmt.Errorf("still there: %s", ending)
		}
		return err
	})
}

// rolloutWithin is how long one service's rollout may take on a busy machine.
const rolloutWithin = 4 * time.Minute
