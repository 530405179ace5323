package pricing

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

func TestAlteredTokensAreRefused(t *testing.T) {
	f := setUp(t)
	q := f.mustAsk("usr_1", soups(1, ""))
	for i := range q.Token {
		altered := []byte(q.Token)
		altered[i] = 'A'
		if q.Token[i] == 'A' {
			altered[i] = 'B'
		}
		if _, err := f.signer.verify(t.Context(), string(altered)); problem.Of(err) != problem.QuoteInvalid {
			t.Fatalf("altered at %d of %d: %v", i, len(q.Token), err)
		}
	}
}

func TestForgedTokensAreRefused(t *testing.T) {
	f := setUp(t)
	q := f.mustAsk("usr_1", soups(1, ""))
	cheap := q
	cheap.Total = 1
	plain, err := json.Marshal(cheap)
	if err != nil {
		t.Fatal(err)
	}
	key := f.signer.keys[0]
	forge := func(method jwt.SigningMethod, kid any, iss string, secret any) string {
		tok := jwt.NewWithClaims(method, claims{Quote: plain, RegisteredClaims: jwt.RegisteredClaims{Issuer: iss}})
		if kid != nil {
			tok.Header["kid"] = kid
		}
		text, err := tok.SignedString(secret)
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	parts := strings.Split(q.Token, ".")
	payload, err := json.Marshal(claims{Quote: plain})
	if err != nil {
		t.Fatal(err)
	}
	broken := jwt.NewWithClaims(jwt.SigningMethodHS256, claims{Packed: []byte("no deflate"), RegisteredClaims: jwt.RegisteredClaims{Issuer: issuer}})
	broken.Header["kid"] = key.ID
	brokenText, err := broken.SignedString(key.Secret)
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]string{
		"broken within":      brokenText,
		"empty":              "",
		"no token":           "token",
		"three dots":         "...",
		"no signature":       parts[0] + "." + parts[1] + ".",
		"other payload":      parts[0] + "." + base64.RawURLEncoding.EncodeToString(payload) + "." + parts[2],
		"algorithm none":     forge(jwt.SigningMethodNone, key.ID, issuer, jwt.UnsafeAllowNoneSignatureType),
		"other algorithm":    forge(jwt.SigningMethodHS512, key.ID, issuer, key.Secret),
		"own key":            forge(jwt.SigningMethodHS256, key.ID, issuer, []byte("a secret of somebody else, long")),
		"unknown key id":     forge(jwt.SigningMethodHS256, "key_00000000000000000000000000", issuer, key.Secret),
		"no key id":          forge(jwt.SigningMethodHS256, nil, issuer, key.Secret),
		"key id is a number": forge(jwt.SigningMethodHS256, 1, issuer, key.Secret),
		"other issuer":       forge(jwt.SigningMethodHS256, key.ID, "dishmesh/user", key.Secret),
	}
	for name, token := range tests {
		_, err := f.signer.verify(t.Context(), token)
		if problem.Of(err) != problem.QuoteInvalid {
			t.Errorf("%s: got %v, want quote-invalid", name, err)
		}
	}
	if _, err := f.confirmed(strings.Repeat("x", 33_000), "ord_1", "usr_1"); problem.Of(err) != problem.InvalidRequest {
		t.Errorf("a token that is too long: %v", err)
	}
}

func TestKeysRotate(t *testing.T) {
	f := setUp(t)
	deps, fakes := runtest.New(t, "pricing")
	deps.State = f.fakes.Store
	replica := setUpOn(t, defaults(t), deps, fakes, f.clock)
	if got, want := replica.signer.keys[0].ID, f.signer.keys[0].ID; got != want {
		t.Errorf("the replica signs with %s, not %s", got, want)
	}
	old := f.mustAsk("usr_1", soups(1, ""))
	for n := 1; n <= keptKeys; n++ {
		f.clock.add(24 * time.Hour)
		if !f.signer.due() {
			t.Fatal("no rotation is due")
		}
		if err := f.signer.ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, err := f.signer.verify(t.Context(), old.Token)
		if verifies := err == nil; verifies != (n < keptKeys) {
			t.Errorf("after %d rotations: %v", n, err)
		}
	}
	fresh, err := f.signer.sign(pricingapi.Quote{ID: "qte_x"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replica.signer.verify(context.Background(), fresh); err != nil {
		t.Errorf("the replica does not find the new key: %v", err)
	}
	if got := len(f.signer.keys); got != keptKeys {
		t.Errorf("%d keys are kept", got)
	}
}
