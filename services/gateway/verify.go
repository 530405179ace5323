package gateway

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

const (
	maxToken      = 4 << 10          // bytes of an access token
	leeway        = 5 * time.Second  // between this clock and the user service's
	keysFresh     = 10 * time.Minute // after which the keys are fetched anew
	keysRetry     = 5 * time.Second  // at least, between two fetches
	verifiedFor   = time.Minute      // at most, how long a verified token is not verified again
	verifiedCount = 4096
)

// verifier checks access tokens against the user service's keys. It holds the keys, and for a short while the
// outcome for tokens that were good, so that most requests cost one hash.
type verifier struct {
	users  userapi.Client
	now    func() time.Time
	parser *jwt.Parser

	fetch sync.Mutex // held while fetching
	tried time.Time
	last  error // of the last fetch
	keys  atomic.Pointer[keySet]

	mu       sync.Mutex
	verified map[[sha256.Size]byte]verdict
}

type keySet struct {
	byID map[string]ed25519.PublicKey
	at   time.Time
}

type verdict struct {
	id    web.Identity
	until time.Time
}

func newVerifier(users userapi.Client, now func() time.Time) *verifier {
	return &verifier{
		users: users, now: now, verified: map[[sha256.Size]byte]verdict{},
		parser: jwt.NewParser(jwt.WithValidMethods([]string{userapi.Algorithm}), jwt.WithIssuer(userapi.Issuer),
			jwt.WithAudience(userapi.Audience), jwt.WithExpirationRequired(), jwt.WithLeeway(leeway), jwt.WithTimeFunc(now)),
	}
}

// bearer gives the token of a request, "" if it has none.
func bearer(r *http.Request) (string, error) {
	h := r.Header.Get("Authorization")
	if h == "" {
		return "", nil
	}
	scheme, token, _ := strings.Cut(h, " ")
	token = strings.TrimSpace(token)
	if !strings.EqualFold(scheme, "Bearer") || token == "" || len(token) > maxToken {
		return "", problem.New(problem.Unauthenticated, "the Authorization header is not that of a bearer token")
	}
	return token, nil
}

// verify gives whom token speaks for. Its errors are problems: Unauthenticated, TokenExpired, or Unavailable when
// the keys can't be had.
func (v *verifier) verify(ctx context.Context, token string) (web.Identity, error) {
	now := v.now()
	sum := sha256.Sum256([]byte(token))
	v.mu.Lock()
	known, ok := v.verified[sum]
	v.mu.Unlock()
	if ok && now.Before(known.until) {
		return known.id, nil
	}
	var claims userapi.Claims
	_, err := v.parser.ParseWithClaims(token, &claims, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		return v.key(ctx, kid)
	})
	if err == nil && (claims.Subject == "" || !knownRole(claims.Role)) {
		err = errors.New("subject or role is missing")
	}
	if err != nil {
		var p *problem.Error
		switch {
		case errors.As(err, &p):
			return web.Identity{}, p
		case errors.Is(err, jwt.ErrTokenExpired):
			return web.Identity{}, problem.Wrap(err, problem.TokenExpired, "")
		}
		return web.Identity{}, problem.Wrap(err, problem.Unauthenticated, "the access token is not valid")
	}
	v.remember(sum, verdict{claims.Identity(), earlier(claims.ExpiresAt.Time, now.Add(verifiedFor))}, now)
	return claims.Identity(), nil
}

func knownRole(role string) bool {
	for _, r := range everyRole {
		if r == role {
			return true
		}
	}
	return false
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func (v *verifier) remember(sum [sha256.Size]byte, d verdict, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.verified) >= verifiedCount {
		for k, d := range v.verified {
			if now.After(d.until) {
				delete(v.verified, k)
			}
		}
		if len(v.verified) >= verifiedCount {
			clear(v.verified)
		}
	}
	v.verified[sum] = d
}

// key gives the key called kid. An unknown one is a reason to fetch the keys, but not for everybody who asks.
func (v *verifier) key(ctx context.Context, kid string) (ed25519.PublicKey, error) {
	if key, fresh := v.lookup(kid); key != nil && fresh {
		return key, nil
	}
	v.fetch.Lock()
	defer v.fetch.Unlock()
	key, fresh := v.lookup(kid)
	if key != nil && fresh {
		return key, nil
	}
	if v.tried.IsZero() || v.now().Sub(v.tried) >= keysRetry {
		v.last = v.fetchKeys(ctx)
		v.tried = v.now()
		key, _ = v.lookup(kid)
	}
	switch {
	case key != nil: // perhaps stale, for want of a newer set
		return key, nil
	case v.last != nil:
		return nil, problem.Wrap(v.last, problem.Unavailable, "the keys of the access tokens can't be had").After(time.Second)
	}
	return nil, problem.New(problem.Unauthenticated, "the access token is signed with an unknown key")
}

func (v *verifier) lookup(kid string) (key ed25519.PublicKey, fresh bool) {
	set := v.keys.Load()
	if set == nil {
		return nil, false
	}
	return set.byID[kid], v.now().Sub(set.at) < keysFresh
}

// fetchKeys does not end with the request that it is done for: others wait for it too. The client bounds it.
func (v *verifier) fetchKeys(ctx context.Context) error {
	set, err := v.users.KeySet(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	byID := make(map[string]ed25519.PublicKey, len(set.Keys))
	var faults []error
	for _, k := range set.Keys {
		pub, err := k.Public()
		if err != nil {
			faults = append(faults, err) // a key of a kind to come, perhaps
			continue
		}
		byID[k.ID] = pub
	}
	if len(byID) == 0 {
		return errors.Join(append(faults, errors.New("the key set is empty"))...)
	}
	v.keys.Store(&keySet{byID: byID, at: v.now()})
	return nil
}
