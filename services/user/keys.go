package user

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// keysKey is where all replicas find the keys. The store's component can encrypt them at rest.
const keysKey = "signing-keys"

// signingKey is an Ed25519 key. It signs from SignsFrom until the next one does.
type signingKey struct {
	ID        string    `json:"id"`
	Seed      []byte    `json:"seed"` // 32 bytes (RFC 8032)
	SignsFrom time.Time `json:"signs_from"`
}

// keyring is this replica's copy of the keys. A new key is published lead before it signs, so that whoever caches
// the key set knows it in time; an old one stays until the last token that it signed has expired.
type keyring struct {
	state              sidecar.Store
	period, lead, life time.Duration
	now                func() time.Time
	keys               atomic.Pointer[[]signingKey] // by SignsFrom
}

// clockSkew is what the clocks of two machines may differ by.
const clockSkew = time.Minute

// checkEvery is how often refresh must be called for every replica to know a new key before it signs.
func (k *keyring) checkEvery() time.Duration { return min(k.lead/3, time.Minute) }

// rotated gives the keys as they should be now, and whether that is a change.
func (k *keyring) rotated(keys []signingKey, now time.Time) ([]signingKey, bool) {
	changed := false
	for len(keys) > 1 && now.After(keys[1].SignsFrom.Add(k.life+clockSkew)) {
		keys, changed = keys[1:], true
	}
	from := now
	if n := len(keys); n > 0 {
		due := keys[n-1].SignsFrom.Add(k.period)
		if now.Before(due.Add(-k.lead)) {
			return keys, changed
		}
		from = now.Add(k.lead)
		if due.After(from) {
			from = due
		}
	}
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed) // crypto/rand.Read never fails (Go 1.24)
	return append(keys[:len(keys):len(keys)], signingKey{ID: ids.New("key"), Seed: seed, SignsFrom: from}), true
}

// refresh reads the keys and rotates them when it is time. Of several replicas one does it.
func (k *keyring) refresh(ctx context.Context) error {
	for {
		item, err := k.state.Get(ctx, keysKey)
		if err != nil {
			return err
		}
		var keys []signingKey
		if item.Exists() {
			if err := json.Unmarshal(item.Value, &keys); err != nil {
				return fmt.Errorf("signing keys: %w", err)
			}
		}
		keys, changed := k.rotated(keys, k.now().UTC())
		if !changed {
			k.keys.Store(&keys)
			return nil
		}
		value, err := json.Marshal(keys)
		if err != nil {
			return fmt.Errorf("signing keys: %w", err)
		}
		err = k.state.Transact(ctx, sidecar.Op{Key: keysKey, Value: value, ETag: item.ETag, Create: !item.Exists()})
		if err == nil {
			k.keys.Store(&keys)
			return nil
		}
		if !errors.Is(err, sidecar.ErrConflict) {
			return err
		}
	}
}

// active is the key that signs now.
func (k *keyring) active() (signingKey, error) {
	if keys := k.keys.Load(); keys != nil {
		now := k.now()
		for i := len(*keys) - 1; i >= 0; i-- {
			if i == 0 || !now.Before((*keys)[i].SignsFrom) {
				return (*keys)[i], nil
			}
		}
	}
	return signingKey{}, problem.New(problem.Unavailable, "the signing keys are not there yet").After(time.Second)
}

// sign makes an access token for id.
func (k *keyring) sign(id web.Identity) (string, error) {
	key, err := k.active()
	if err != nil {
		return "", err
	}
	now := k.now()
	token := jwt.NewWithClaims(jwt.SigningMethodEdDSA, userapi.Claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: userapi.Issuer, Audience: jwt.ClaimStrings{userapi.Audience}, Subject: id.Subject,
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(now.Add(k.life)),
		},
		Role: id.Role, Restaurant: id.Restaurant,
	})
	token.Header["kid"] = key.ID
	signed, err := token.SignedString(ed25519.NewKeyFromSeed(key.Seed))
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	return signed, nil
}

// handleKeySet serves all keys: those that sign, those that will, and those whose tokens may still be about.
func (s *Service) handleKeySet(w http.ResponseWriter, r *http.Request) error {
	if _, err := s.keys.active(); err != nil {
		return err
	}
	var set userapi.KeySet
	for _, k := range *s.keys.keys.Load() {
		pub := ed25519.NewKeyFromSeed(k.Seed).Public().(ed25519.PublicKey)
		set.Keys = append(set.Keys, userapi.NewKey(k.ID, pub))
	}
	w.Header().Set("Cache-Control", "public, max-age=60")
	return web.JSON(w, http.StatusOK, set)
}
