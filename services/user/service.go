// Package user keeps the accounts: registration, login, access and refresh tokens, the keys that sign them,
// addresses and notification preferences.
package user

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/alexedwards/argon2id"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// Config is what the user service can be set to.
type Config struct {
	AccountsFile string        `env:"ACCOUNTS_FILE" help:"JSON file of accounts that are created at start if they do not exist"`
	AccessTTL    time.Duration `env:"ACCESS_TOKEN_TTL" default:"15m" help:"life of an access token"`
	RefreshTTL   time.Duration `env:"REFRESH_TOKEN_TTL" default:"720h" help:"life of a refresh token; each use starts it anew"`
	KeyPeriod    time.Duration `env:"KEY_ROTATION" default:"24h" help:"how long a key signs access tokens"`
	KeyLead      time.Duration `env:"KEY_LEAD" default:"15m" help:"how long a new key is published before it signs; less than KEY_ROTATION"`
}

// Service is the user service.
type Service struct {
	cfg       Config
	log       *slog.Logger
	state     sidecar.Store
	accounts  *eventstore.Store[account]
	passwords *passwords
	keys      *keyring
	bootstrap []userapi.Registration
	now       func() time.Time
	metrics   metrics
}

type metrics struct {
	registrations, logins, refreshes *prometheus.CounterVec
}

// New builds the service. It reads ACCOUNTS_FILE, so that a fault in it is told at the start.
func New(d *run.Deps, cfg Config) (run.Service, error) { return build(d, cfg, time.Now, hashParams) }

func build(d *run.Deps, cfg Config, now func() time.Time, params argon2id.Params) (*Service, error) {
	var errs []error
	if cfg.AccessTTL < time.Second || cfg.RefreshTTL < time.Second {
		errs = append(errs, errors.New("ACCESS_TOKEN_TTL and REFRESH_TOKEN_TTL must be at least 1s"))
	}
	if cfg.KeyPeriod <= 0 || cfg.KeyLead <= 0 || cfg.KeyLead >= cfg.KeyPeriod {
		errs = append(errs, fmt.Errorf("KEY_LEAD (%s) must be more than 0 and less than KEY_ROTATION (%s)", cfg.KeyLead, cfg.KeyPeriod))
	}
	accounts, err := readAccounts(cfg.AccountsFile)
	if err != nil {
		errs = append(errs, err)
	}
	hasher, err := newPasswords(params)
	if err != nil {
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, log: d.Log, state: d.State, passwords: hasher, bootstrap: accounts, now: now,
		keys: &keyring{state: d.State, period: cfg.KeyPeriod, lead: cfg.KeyLead, life: cfg.AccessTTL, now: now},
		accounts: eventstore.New(d.State, d.UseOutbox(), eventstore.Options[account]{
			Name: "user", Source: "dishmesh/user", Topic: cloudevent.Topic("user"), Events: userapi.Events, Apply: apply,
		}),
		metrics: metrics{
			registrations: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "user_registrations_total", Help: "Accounts registered, by role."}, []string{"role"}),
			logins:        prometheus.NewCounterVec(prometheus.CounterOpts{Name: "user_logins_total", Help: "Logins by outcome: ok, refused."}, []string{"outcome"}),
			refreshes:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "user_refreshes_total", Help: "Uses of refresh tokens by outcome: ok, refused, reused."}, []string{"outcome"}),
		},
	}
	d.Metrics.MustRegister(s.metrics.registrations, s.metrics.logins, s.metrics.refreshes)
	return s, nil
}

// Routes serves the API of the service.
func (s *Service) Routes(r *mux.Router) {
	handle := func(method, path string, h web.HandlerFunc) { r.Handle(path, h).Methods(method) }
	handle(http.MethodPost, "/v1/users", s.handleRegister)
	handle(http.MethodGet, "/v1/users/me", s.handleMe)
	handle(http.MethodPatch, "/v1/users/me", s.handlePatchMe)
	handle(http.MethodPut, "/v1/users/me/preferences", s.handlePreferences)
	handle(http.MethodGet, "/v1/users/me/addresses", s.handleAddresses)
	handle(http.MethodPost, "/v1/users/me/addresses", s.handleAddAddress)
	handle(http.MethodDelete, "/v1/users/me/addresses/{address}", s.handleDeleteAddress)
	handle(http.MethodPost, "/v1/tokens", s.handleLogin)
	handle(http.MethodPost, "/v1/tokens/refresh", s.handleRefresh)
	handle(http.MethodPost, "/v1/tokens/revoke", s.handleRevoke)
	handle(http.MethodGet, userapi.KeySetPath, s.handleKeySet)
	s.accounts.Serve(r)
}

// Run keeps the signing keys fresh and creates the accounts of ACCOUNTS_FILE that are missing.
func (s *Service) Run(ctx context.Context) error {
	var parts sync.WaitGroup
	defer parts.Wait()
	parts.Go(func() { s.createAccounts(ctx) })
	for {
		pause := s.keys.checkEvery()
		if err := s.keys.refresh(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("signing keys not checked, will be tried again", "error", err)
			pause = min(pause, time.Second)
		}
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// Ready reports whether tokens can be signed.
func (s *Service) Ready() error {
	if _, err := s.keys.active(); err != nil {
		return err
	}
	return nil
}

// sleep waits for d and reports whether ctx is still alive.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
