package user

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// A refresh token is "<family>.<secret>". A login founds a family; each use of a token replaces it by the next of
// its family. A token that is used twice was stolen from somebody: then the whole family is revoked (RFC 9700,
// section 4.14.2). The store has only a hash of the secret.

// refreshToken is what is kept under the hash of a token.
type refreshToken struct {
	Family    string     `json:"family"`
	ExpiresAt time.Time  `json:"expires_at"`
	UsedAt    *time.Time `json:"used_at,omitempty"`
}

// family is what the tokens that descend from one login have in common.
type family struct {
	UserID    string     `json:"user_id"`
	FoundedAt time.Time  `json:"founded_at"`
	RevokedAt *time.Time `json:"revoked_at,omitempty"`
}

func familyKey(id string) string { return "refresh-family/" + id }

func tokenKey(token string) string {
	sum := sha256.Sum256([]byte(token))
	return "refresh/" + hex.EncodeToString(sum[:])
}

func newRefreshToken(familyID string) string {
	return familyID + "." + rand.Text() // at least 128 random bits
}

var errUnknownToken = problem.New(problem.Unauthenticated, "the refresh token is unknown, expired or revoked")

// newFamily founds a family and gives its first token.
func (s *Service) newFamily(ctx context.Context, userID string) (string, error) {
	now := s.now().UTC()
	id := ids.New("rtf")
	token := newRefreshToken(id)
	return token, s.transact(ctx,
		put{op: sidecar.Op{Key: familyKey(id), Create: true, TTL: s.cfg.RefreshTTL}, value: family{UserID: userID, FoundedAt: now}},
		s.issue(id, token, now))
}

func (s *Service) issue(familyID, token string, now time.Time) put {
	return put{
		op:    sidecar.Op{Key: tokenKey(token), Create: true, TTL: s.cfg.RefreshTTL},
		value: refreshToken{Family: familyID, ExpiresAt: now.Add(s.cfg.RefreshTTL)},
	}
}

// held is a refresh token as the store knows it.
type held struct {
	id                   string // of the family
	token                refreshToken
	family               family
	tokenETag, familyTag string
}

// find looks a refresh token up; ok is false if it is unknown or expired.
func (s *Service) find(ctx context.Context, token string) (h held, ok bool, err error) {
	id, _, found := strings.Cut(token, ".")
	if !found || !ids.Valid("rtf", id) {
		return held{}, false, nil
	}
	items, err := s.state.GetBulk(ctx, []string{tokenKey(token), familyKey(id)})
	if err != nil {
		return held{}, false, err
	}
	if !items[0].Exists() || !items[1].Exists() {
		return held{}, false, nil
	}
	h = held{id: id, tokenETag: items[0].ETag, familyTag: items[1].ETag}
	if err := errors.Join(json.Unmarshal(items[0].Value, &h.token), json.Unmarshal(items[1].Value, &h.family)); err != nil {
		return held{}, false, fmt.Errorf("refresh token: %w", err)
	}
	return h, h.token.Family == id && s.now().Before(h.token.ExpiresAt), nil
}

// exchange uses up a refresh token and gives the next one and whose it is.
func (s *Service) exchange(ctx context.Context, token string) (next, userID string, err error) {
	for {
		h, ok, err := s.find(ctx, token)
		switch {
		case err != nil:
			return "", "", err
		case !ok:
			return "", "", errUnknownToken
		case h.token.UsedAt != nil:
			if err := s.revoke(ctx, h); err != nil && !errors.Is(err, sidecar.ErrConflict) {
				return "", "", err
			} else if err != nil {
				continue
			}
			return "", "", problem.New(problem.RefreshReused, "")
		case h.family.RevokedAt != nil:
			return "", "", errUnknownToken
		}
		now := s.now().UTC()
		h.token.UsedAt = &now
		next := newRefreshToken(h.id)
		err = s.transact(ctx,
			put{op: sidecar.Op{Key: tokenKey(token), ETag: h.tokenETag, TTL: s.cfg.RefreshTTL}, value: h.token},
			put{op: sidecar.Op{Key: familyKey(h.id), ETag: h.familyTag, TTL: s.cfg.RefreshTTL}, value: h.family},
			s.issue(h.id, next, now))
		if errors.Is(err, sidecar.ErrConflict) {
			continue // used or revoked at the same moment: look again
		}
		return next, h.family.UserID, err
	}
}

// revoke ends a family.
func (s *Service) revoke(ctx context.Context, h held) error {
	if h.family.RevokedAt != nil {
		return nil
	}
	now := s.now().UTC()
	h.family.RevokedAt = &now
	return s.transact(ctx, put{op: sidecar.Op{Key: familyKey(h.id), ETag: h.familyTag, TTL: s.cfg.RefreshTTL}, value: h.family})
}

func (s *Service) handleRefresh(w http.ResponseWriter, r *http.Request) error {
	var in userapi.RefreshRequest
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	next, userID, err := s.exchange(r.Context(), in.RefreshToken)
	if err != nil {
		outcome := "refused"
		if problem.Of(err) == problem.RefreshReused {
			outcome = "reused"
		}
		s.metrics.refreshes.WithLabelValues(outcome).Inc()
		return err
	}
	a, _, err := s.accounts.Load(r.Context(), userID)
	if err != nil {
		return err
	}
	s.metrics.refreshes.WithLabelValues("ok").Inc()
	return s.answerTokens(w, a, next)
}

// handleRevoke ends the family of a token. An unknown token is answered alike (RFC 7009, section 2.2).
func (s *Service) handleRevoke(w http.ResponseWriter, r *http.Request) error {
	var in userapi.RefreshRequest
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	for {
		h, ok, err := s.find(r.Context(), in.RefreshToken)
		if err != nil {
			return err
		}
		if ok {
			err = s.revoke(r.Context(), h)
		}
		if errors.Is(err, sidecar.ErrConflict) {
			continue
		}
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// put is a write whose value is still to be encoded.
type put struct {
	op    sidecar.Op
	value any
}

func (s *Service) transact(ctx context.Context, puts ...put) error {
	ops := make([]sidecar.Op, len(puts))
	for i, p := range puts {
		b, err := json.Marshal(p.value)
		if err != nil {
			return fmt.Errorf("%s: %w", p.op.Key, err)
		}
		ops[i] = p.op
		ops[i].Value = b
	}
	return s.state.Transact(ctx, ops...)
}
