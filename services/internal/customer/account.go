package customer

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
)

// loginsAtOnce bounds registrations and logins in flight: a password hash is slow on purpose, and the platform may
// have two cores.
const loginsAtOnce = 2

// Account is what a file of accounts holds of a customer.
type Account struct {
	publicapi.Credentials
	Name string `json:"name"`
}

// Site is a platform, as customers reach it.
type Site struct {
	// URL is the base of the public API.
	URL string
	// HTTP is how it is reached; nil: as any other site.
	HTTP *http.Client
	// Patience is how long its customers repeat a request that is not answered.
	Patience time.Duration
	// Retried hears of each answer that led to a repetition; nil: nobody does.
	Retried func(error)
}

// Enter gives n customers that are logged in. Their accounts come from the file, which only its owner may read, so
// that they are the same next time; those it lacks are registered and added. known hears how many are in; nil:
// nobody does.
func (s Site) Enter(ctx context.Context, file string, n int, known func(int)) ([]*Customer, error) {
	accounts, err := readAccounts(file)
	if err != nil {
		return nil, err
	}
	had := len(accounts)
	for len(accounts) < n {
		accounts = append(accounts, newAccount(len(accounts)+1))
	}
	customers := make([]*Customer, n)
	hc, gate := s.HTTP, make(chan struct{}, loginsAtOnce)
	if hc == nil {
		hc = publicapi.NewHTTPClient()
	}
	done := make(chan struct{}, n)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(loginsAtOnce)
	for i := range n {
		g.Go(func() error {
			connect := func() *publicapi.Client { return publicapi.New(s.URL, hc, publicapi.LoginsAtMost(gate)) }
			c := &Customer{API: connect(), Patience: s.Patience, Retried: s.Retried}
			fresh := i >= had
			err := s.enter(ctx, c, accounts[i], fresh)
			if problem.Of(err) == problem.BadCredentials && !fresh {
				accounts[i] = newAccount(i + 1) // the account is of another platform
				c.API = connect()
				err = s.enter(ctx, c, accounts[i], true)
			}
			if err != nil {
				return fmt.Errorf("customer %s: %w", accounts[i].Email, err)
			}
			customers[i] = c
			done <- struct{}{}
			if known != nil {
				known(len(done))
			}
			return nil
		})
	}
	err = g.Wait()
	// Accounts that were registered are kept even if others failed; one that was not is registered next time.
	if werr := writeAccounts(file, accounts); err == nil {
		err = werr
	}
	return customers, err
}

// enter logs a customer in, who is registered before if that is to be tried.
func (s Site) enter(ctx context.Context, c *Customer, a Account, register bool) error {
	if register {
		in := map[string]string{"email": a.Email, "password": a.Password, "name": a.Name, "role": "customer"}
		err := persist(ctx, s.Patience, s.Retried, func() error { return c.API.Do(ctx, http.MethodPost, "/v1/users", in, nil) })
		if err != nil && problem.Of(err) != problem.AlreadyExists { // a repeat of one whose answer was lost
			return err
		}
	}
	return persist(ctx, s.Patience, s.Retried, func() (err error) {
		c.User, err = c.API.Login(ctx, a.Email, a.Password)
		return err
	})
}

// newAccount makes up the n-th customer. example.com belongs to nobody (RFC 2606, section 3).
func newAccount(n int) Account {
	return Account{
		Credentials: publicapi.Credentials{
			Email:    fmt.Sprintf("customer-%d-%s@example.com", n, strings.ToLower(rand.Text()[:10])),
			Password: rand.Text(),
		},
		Name: fmt.Sprintf("Customer %d", n),
	}
}

func readAccounts(file string) ([]Account, error) {
	raw, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("file of customers: %w", err)
	}
	var accounts []Account
	if err := json.Unmarshal(raw, &accounts); err != nil {
		return nil, fmt.Errorf("file of customers %s: %w: remove it, new ones are made", file, err)
	}
	return accounts, nil
}

// writeAccounts replaces the file at once, so that it is never half written.
func writeAccounts(file string, accounts []Account) error {
	raw, err := json.MarshalIndent(accounts, "", "  ")
	if err != nil {
		return fmt.Errorf("file of customers: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return fmt.Errorf("file of customers: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".customers-*") // has the mode 0600
	if err != nil {
		return fmt.Errorf("file of customers: %w", err)
	}
	_, err = tmp.Write(append(raw, '\n'))
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		_ = os.Remove(tmp.Name()) // the first error says more
		return fmt.Errorf("file of customers: %w", err)
	}
	return nil
}
