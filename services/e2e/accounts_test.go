package e2e

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// Nobody gets in with a token that the user service has not signed.
func TestForgedTokens(t *testing.T) {
	s := shared.use(t)
	eve := s.customer(t)
	eve.get(t, "/v1/users/me", nil)
	head, rest, _ := strings.Cut(eve.token, ".")
	payload, signature, _ := strings.Cut(rest, ".")

	raw, err := base64.RawURLEncoding.DecodeString(payload)
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(raw, &claims); err != nil {
		t.Fatal(err)
	}
	claims["role"] = web.RoleOperator
	promoted := base64.RawURLEncoding.EncodeToString([]byte(encode(t, claims)))
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`))

	var known struct {
		Kid string `json:"kid"`
	}
	if raw, err = base64.RawURLEncoding.DecodeString(head); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &known); err != nil {
		t.Fatal(err)
	}
	_, own, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(method jwt.SigningMethod, key any, kid string) string {
		now := time.Now()
		token := jwt.NewWithClaims(method, userapi.Claims{Role: web.RoleOperator, RegisteredClaims: jwt.RegisteredClaims{
			Issuer: userapi.Issuer, Audience: jwt.ClaimStrings{userapi.Audience}, Subject: eve.user.ID,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(time.Hour)),
		}})
		token.Header["kid"] = kid
		text, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	tests := []struct{ name, token string }{
		{"altered signature", head + "." + payload + "." + altered("." + signature)[1:]},
		{"altered role", head + "." + promoted + "." + signature},
		{"no signature", head + "." + payload + "."},
		{"no algorithm", none + "." + promoted + "."},
		{"own key under a known name", sign(jwt.SigningMethodEdDSA, own, known.Kid)},
		{"own key", sign(jwt.SigningMethodEdDSA, own, ids.New("key"))},
		{"public key as a secret", sign(jwt.SigningMethodHS256, []byte(known.Kid), known.Kid)},
		{"no token at all", "letmein"},
		{"refresh token's place", strings.Repeat("x", 5000)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			forger := person{site: s, token: tt.token}
			for _, path := range []string{"/v1/users/me", "/v1/analytics/summary", "/v1/restaurants"} {
				a := refuses(t, forger, request{method: "GET", path: path}, problem.Unauthenticated)
				if a.header.Get("WWW-Authenticate") == "" {
					t.Errorf("%s: WWW-Authenticate is missing (RFC 9110, section 11.6.1)", path)
				}
			}
		})
	}
}

// Accounts can't be taken, guessed or raised.
func TestBadAccounts(t *testing.T) {
	s := shared.use(t)
	in := userapi.Registration{Email: strings.ToLower(ids.New("e2e")) + "@example.com", Password: "correct horse battery", Name: "Eve"}
	register := func(change func(*userapi.Registration)) request {
		body := in
		if change != nil {
			change(&body)
		}
		return request{method: "POST", path: "/v1/users", body: body}
	}
	login := func(email, password string) request {
		return request{method: "POST", path: "/v1/tokens", body: userapi.Credentials{Email: email, Password: password}}
	}
	refuses(t, s.nobody(), register(func(r *userapi.Registration) { r.Role = web.RoleOperator }), problem.Forbidden)
	refuses(t, s.nobody(), register(func(r *userapi.Registration) { r.Email, r.Password, r.Phone = "eve", "short", "0815" }),
		problem.InvalidRequest, "email", "password", "phone")
	s.nobody().must(t, http.StatusCreated, register(nil), nil)
	refuses(t, s.nobody(), register(nil), problem.AlreadyExists)
	refuses(t, s.nobody(), register(func(r *userapi.Registration) { r.Email = strings.ToUpper(r.Email) }), problem.AlreadyExists)
	refuses(t, s.nobody(), login(in.Email, "wrong horse battery"), problem.BadCredentials)
	refuses(t, s.nobody(), login("nobody-"+in.Email, in.Password), problem.BadCredentials)

	// A refresh token is good for one use; a second one ends the family.
	var first, second userapi.Tokens
	s.nobody().must(t, http.StatusOK, login(in.Email, in.Password), &first)
	refresh := func(token string) request {
		return request{method: "POST", path: "/v1/tokens/refresh", body: userapi.RefreshRequest{RefreshToken: token}}
	}
	s.nobody().must(t, http.StatusOK, refresh(first.RefreshToken), &second)
	refuses(t, s.nobody(), refresh(first.RefreshToken), problem.RefreshReused)
	refuses(t, s.nobody(), refresh(second.RefreshToken), problem.Unauthenticated)
	refuses(t, s.nobody(), refresh("made-up"), problem.Unauthenticated)
}
