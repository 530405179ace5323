package user

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// readAccounts reads the accounts that must exist: a JSON list of registrations. "" is no file.
func readAccounts(path string) ([]userapi.Registration, error) {
	if path == "" {
		return nil, nil
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("ACCOUNTS_FILE: %w", err)
	}
	var accounts []userapi.Registration
	if err := json.Unmarshal(b, &accounts); err != nil {
		return nil, fmt.Errorf("ACCOUNTS_FILE %s: %w", path, err)
	}
	var errs []error
	for i := range accounts {
		err := web.Validate(&accounts[i])
		if err == nil {
			err = permitted(web.Identity{Role: web.RoleOperator}, &accounts[i])
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("ACCOUNTS_FILE %s: account %d: %w", path, i+1, err))
		}
	}
	return accounts, errors.Join(errs...)
}

// createAccounts creates the accounts that do not exist yet, in the background, one after the other: each costs a
// hash. It tries until it is done or ctx ends.
func (s *Service) createAccounts(ctx context.Context) {
	missing, pause := s.bootstrap, 50*time.Millisecond
	for len(missing) > 0 {
		left, created, err := s.createMissing(ctx, missing)
		if created > 0 {
			s.log.Info("accounts created", "count", created, "left", len(left))
			pause = 50 * time.Millisecond
		}
		if err == nil {
			return
		}
		if !sleep(ctx, pause) {
			return
		}
		s.log.Debug("accounts are not created yet, will be tried again", "left", len(left), "error", err)
		missing, pause = left, min(2*pause, 2*time.Second)
	}
}

// createMissing creates accounts until one fails for now, and gives those that are left.
func (s *Service) createMissing(ctx context.Context, accounts []userapi.Registration) (left []userapi.Registration, created int, err error) {
	keys := make([]string, len(accounts))
	for i, a := range accounts {
		keys[i] = emailKey(a.Email)
	}
	items, err := s.state.GetBulk(ctx, keys)
	if err != nil {
		return accounts, 0, err
	}
	for i, a := range accounts {
		if items[i].Exists() {
			continue
		}
		_, err := s.register(ctx, a)
		switch {
		case err == nil:
			created++
		case problem.Of(err) == problem.AlreadyExists: // another replica was faster
		default:
			return accounts[i:], created, err
		}
	}
	return nil, created, nil
}
