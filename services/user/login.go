package user

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

func (s *Service) handleLogin(w http.ResponseWriter, r *http.Request) error {
	var in userapi.Credentials
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	a, err := s.login(r.Context(), in)
	if err != nil {
		return err
	}
	refresh, err := s.newFamily(r.Context(), a.ID)
	if err != nil {
		return err
	}
	return s.answerTokens(w, a, refresh)
}

// login checks the credentials. It does the same work whether or not the account exists.
func (s *Service) login(ctx context.Context, in userapi.Credentials) (account, error) {
	item, err := s.state.Get(ctx, emailKey(in.Email))
	if err != nil {
		return account{}, err
	}
	var cred credential
	if item.Exists() {
		if err := json.Unmarshal(item.Value, &cred); err != nil {
			return account{}, fmt.Errorf("credential: %w", err)
		}
	}
	ok, err := s.passwords.matches(ctx, in.Password, cred.PasswordHash)
	if err != nil {
		return account{}, err
	}
	if !ok {
		s.metrics.logins.WithLabelValues("refused").Inc()
		return account{}, problem.New(problem.BadCredentials, "")
	}
	a, version, err := s.accounts.Load(ctx, cred.UserID)
	if err != nil {
		return account{}, err
	}
	if version == 0 {
		return account{}, fmt.Errorf("account %s is missing", cred.UserID)
	}
	s.metrics.logins.WithLabelValues("ok").Inc()
	return a, nil
}

func (s *Service) answerTokens(w http.ResponseWriter, a account, refresh string) error {
	access, err := s.keys.sign(a.identity())
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store") // RFC 6749, section 5.1
	return web.JSON(w, http.StatusOK, userapi.Tokens{
		AccessToken: access, TokenType: "Bearer", ExpiresIn: int(s.cfg.AccessTTL / time.Second),
		RefreshToken: refresh, User: a.wire(),
	})
}
