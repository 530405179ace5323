package user

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// verify checks a token as anybody would: with the published keys alone.
func verify(f *fixture, token string) (userapi.Claims, string, error) {
	var set userapi.KeySet
	f.do("GET", userapi.KeySetPath, web.Identity{}, nil, &set)
	var claims userapi.Claims
	kid := ""
	_, err := jwt.NewParser(jwt.WithValidMethods([]string{userapi.Algorithm}), jwt.WithIssuer(userapi.Issuer), jwt.WithAudience(userapi.Audience),
		jwt.WithExpirationRequired(), jwt.WithTimeFunc(f.clock.now)).ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		kid, _ = t.Header["kid"].(string)
		for _, k := range set.Keys {
			if k.ID == kid {
				return k.Public()
			}
		}
		return nil, jwt.ErrTokenUnverifiable
	})
	return claims, kid, err
}

func TestAccessToken(t *testing.T) {
	f := newFixture(t, testConfig)
	token, err := f.keys.sign(web.Identity{Subject: "usr_1", Role: web.RoleKitchen, Restaurant: "rst_1"})
	if err != nil {
		t.Fatal(err)
	}
	claims, kid, err := verify(f, token)
	if err != nil || kid == "" {
		t.Fatalf("kid %q: %v", kid, err)
	}
	if got, want := claims.Identity(), (web.Identity{Subject: "usr_1", Role: web.RoleKitchen, Restaurant: "rst_1"}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := claims.ExpiresAt.Sub(claims.IssuedAt.Time); got != testConfig.AccessTTL {
		t.Errorf("lives %s", got)
	}
}

// A key is published before it signs, and stays until its last token has expired; at every moment the tokens that
// are about can be verified.
func TestKeyRotation(t *testing.T) {
	cfg := testConfig
	cfg.KeyPeriod, cfg.KeyLead, cfg.AccessTTL = 4*time.Hour, 30*time.Minute, 15*time.Minute
	f := newFixture(t, cfg)
	published := map[string]time.Time{}
	signers := map[string]bool{}
	type issued struct {
		token string
		until time.Time
	}
	var tokens []issued
	for range 36 * 12 { // a day and a half in steps of 5 minutes
		if err := f.keys.refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		now := f.clock.now()
		for _, k := range *f.keys.keys.Load() {
			if _, ok := published[k.ID]; !ok {
				published[k.ID] = now
			}
		}
		if n := len(*f.keys.keys.Load()); n > 3 {
			t.Fatalf("%d keys are kept", n)
		}
		token, err := f.keys.sign(web.Identity{Subject: "usr_1", Role: web.RoleCustomer})
		if err != nil {
			t.Fatal(err)
		}
		tokens = append(tokens, issued{token, now.Add(cfg.AccessTTL)})
		_, kid, err := verify(f, token)
		if err != nil {
			t.Fatal(err)
		}
		if !signers[kid] && len(signers) > 0 && now.Sub(published[kid]) < cfg.KeyLead-5*time.Minute {
			t.Errorf("key %s signs %s after it was published", kid, now.Sub(published[kid]))
		}
		signers[kid] = true
		for len(tokens) > 0 && !now.Before(tokens[0].until) {
			tokens = tokens[1:]
		}
		for _, tok := range tokens {
			if _, _, err := verify(f, tok.token); err != nil {
				t.Fatalf("a living token does not verify: %v", err)
			}
		}
		f.clock.advance(5 * time.Minute)
	}
	if got := len(signers); got < 8 || got > 10 {
		t.Errorf("%d keys have signed in 36 h, want 9", got)
	}
}

// After an outage longer than a period the old key still signs until the new one was published long enough.
func TestKeyRotationAfterOutage(t *testing.T) {
	f := newFixture(t, testConfig)
	before, _ := f.keys.active()
	f.clock.advance(10 * testConfig.KeyPeriod)
	if err := f.keys.refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if now, _ := f.keys.active(); now.ID != before.ID {
		t.Error("a key signs that nobody could know yet")
	}
	f.clock.advance(testConfig.KeyLead)
	if now, _ := f.keys.active(); now.ID == before.ID {
		t.Error("the old key still signs")
	}
}

// Replicas that start at the same time agree on one key.
func TestReplicasAgree(t *testing.T) {
	store := sidecartest.NewStore()
	c := &clock{t: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)}
	rings := make([]*keyring, 4)
	errs := make(chan error, len(rings))
	for i := range rings {
		rings[i] = &keyring{state: store, period: time.Hour, lead: time.Minute, life: time.Minute, now: c.now}
		go func() { errs <- rings[i].refresh(t.Context()) }()
	}
	for range rings {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	want, _ := rings[0].active()
	for _, r := range rings[1:] {
		if got, err := r.active(); err != nil || got.ID != want.ID {
			t.Errorf("got %s, %v, want %s", got.ID, err, want.ID)
		}
	}
}
