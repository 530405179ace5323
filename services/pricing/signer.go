package pricing

import (
	"bytes"
	"compress/flate"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// issuer is the iss claim of a quote's token.
const issuer = "dishmesh/pricing"

// keysKey is where the replicas share the signing keys. They never leave the service: it alone signs and verifies,
// so a shared secret serves (HS256, RFC 7518 section 3.2).
const keysKey = "signing-keys"

// keptKeys bounds how many keys verify: the one that signs and its predecessors.
const keptKeys = 3

// signingKey is a secret and its name, which stands in the token's header (kid).
type signingKey struct {
	ID      string    `json:"id"`
	Secret  []byte    `json:"secret"`
	Created time.Time `json:"created"`
}

type keySet struct {
	Keys []signingKey `json:"keys"` // the newest first
}

// signer turns quotes into tokens and back.
type signer struct {
	state    sidecar.Store
	rotation time.Duration
	now      func() time.Time
	parser   *jwt.Parser

	mu   sync.RWMutex
	keys []signingKey

	reload sync.Mutex
	asked  time.Time // under reload: when an unknown key id last made it read the keys again
}

func newSigner(state sidecar.Store, rotation time.Duration, now func() time.Time) *signer {
	return &signer{state: state, rotation: rotation, now: now, parser: jwt.NewParser(
		jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
		jwt.WithStrictDecoding(), // no second spelling of the same signature
		jwt.WithoutClaimsValidation(),
	)}
}

// claims of a token hold the whole quote, so that its confirmation needs no look-up: as it is or, when that would
// make a long token, deflated (RFC 1951).
type claims struct {
	jwt.RegisteredClaims
	Quote  json.RawMessage `json:"quote,omitempty"`
	Packed []byte          `json:"quote_deflated,omitempty"`
}

// Bounds in bytes: of a quote that is not deflated, and of one that was.
const (
	plainQuote = 3 << 10
	maxQuote   = 1 << 20
)

func (c *claims) pack(q pricingapi.Quote) error {
	text, err := json.Marshal(q)
	if err != nil {
		return err
	}
	if len(text) <= plainQuote {
		c.Quote = text
		return nil
	}
	var b bytes.Buffer
	z, err := flate.NewWriter(&b, flate.DefaultCompression)
	if err != nil {
		return err
	}
	_, err = z.Write(text)
	if err := errors.Join(err, z.Close()); err != nil {
		return err
	}
	c.Packed = b.Bytes()
	return nil
}

func (c *claims) unpack() (q pricingapi.Quote, err error) {
	text := []byte(c.Quote)
	if len(c.Packed) > 0 {
		if text, err = io.ReadAll(io.LimitReader(flate.NewReader(bytes.NewReader(c.Packed)), maxQuote)); err != nil {
			return q, err
		}
	}
	return q, json.Unmarshal(text, &q)
}

// ready reports whether there is a key.
func (s *signer) ready() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.keys) > 0
}

// due reports whether the keys must be made or rotated.
func (s *signer) due() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.keys) == 0 || s.now().Sub(s.keys[0].Created) >= s.rotation
}

// ensure reads the keys and adds one if there is none or the newest is too old.
func (s *signer) ensure(ctx context.Context) error {
	for {
		etag, err := s.read(ctx)
		if err != nil {
			return err
		}
		if !s.due() {
			return nil
		}
		secret := make([]byte, 32)
		rand.Read(secret) // crypto/rand.Read never fails (Go 1.24)
		s.mu.RLock()
		next := keySet{Keys: append([]signingKey{{ID: ids.New("key"), Secret: secret, Created: s.now().UTC()}}, s.keys...)}
		s.mu.RUnlock()
		next.Keys = next.Keys[:min(len(next.Keys), keptKeys)]
		value, err := json.Marshal(next)
		if err != nil {
			return fmt.Errorf("signing keys: %w", err)
		}
		err = s.state.Transact(ctx, sidecar.Op{Key: keysKey, Value: value, ETag: etag, Create: etag == ""})
		if err == nil {
			s.use(next.Keys)
			return nil
		}
		if !errors.Is(err, sidecar.ErrConflict) { // on a conflict another replica has made one
			return err
		}
	}
}

func (s *signer) read(ctx context.Context) (etag string, err error) {
	item, err := s.state.Get(ctx, keysKey)
	if err != nil || !item.Exists() {
		return "", err
	}
	var set keySet
	if err := json.Unmarshal(item.Value, &set); err != nil {
		return "", fmt.Errorf("signing keys: %w", err)
	}
	s.use(set.Keys)
	return item.ETag, nil
}

func (s *signer) use(keys []signingKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys = keys
}

// sign gives the compact JWS (RFC 7515, section 7.1) of a quote.
func (s *signer) sign(q pricingapi.Quote) (string, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.keys) == 0 {
		return "", problem.New(problem.Unavailable, "there is no signing key yet").After(time.Second)
	}
	key := s.keys[0]
	q.Token = ""
	c := claims{RegisteredClaims: jwt.RegisteredClaims{
		Issuer: issuer, ID: q.ID, Subject: q.CustomerID, ExpiresAt: jwt.NewNumericDate(q.ExpiresAt),
	}}
	if err := c.pack(q); err != nil {
		return "", fmt.Errorf("sign quote %s: %w", q.ID, err)
	}
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, c)
	t.Header["kid"] = key.ID
	text, err := t.SignedString(key.Secret)
	if err != nil {
		return "", fmt.Errorf("sign quote %s: %w", q.ID, err)
	}
	if len(text) > pricingapi.MaxToken {
		return "", problem.New(problem.InvalidRequest, "1 faulty field(s)").
			WithFields(problem.Field{Name: "items", Reason: "must not have so many different options"})
	}
	return text, nil
}

// verify gives the quote of a genuine token, expired or not; every other token is a quote-invalid.
func (s *signer) verify(ctx context.Context, token string) (pricingapi.Quote, error) {
	var c claims
	var trouble error
	_, err := s.parser.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		secret, ok := s.secret(kid)
		if !ok && ids.Valid("key", kid) {
			trouble = s.refresh(ctx)
			secret, ok = s.secret(kid)
		}
		if !ok {
			return nil, errors.New("unknown key")
		}
		return secret, nil
	})
	if trouble != nil {
		return pricingapi.Quote{}, trouble
	}
	if err != nil || c.Issuer != issuer {
		return pricingapi.Quote{}, problem.Wrap(err, problem.QuoteInvalid, "")
	}
	q, err := c.unpack()
	if err != nil {
		return pricingapi.Quote{}, problem.Wrap(err, problem.QuoteInvalid, "")
	}
	return q, nil
}

func (s *signer) secret(kid string) ([]byte, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, k := range s.keys {
		if k.ID == kid {
			return k.Secret, true
		}
	}
	return nil, false
}

// refresh reads the keys again, as another replica may have rotated them; at most once a second.
func (s *signer) refresh(ctx context.Context) error {
	s.reload.Lock()
	defer s.reload.Unlock()
	if s.now().Sub(s.asked) < time.Second {
		return nil
	}
	s.asked = s.now()
	_, err := s.read(ctx)
	return err
}
