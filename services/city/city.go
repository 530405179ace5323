// Package city is everything that is not the platform, so that the platform has real edges: a card acquirer
// with its own book, a mail server, sinks for texts and pushes, and kitchens and couriers that work through
// the public API like anybody else. It has no back door.
package city

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/dishmesh/dishmesh/services/city/acquirer"
	"github.com/dishmesh/dishmesh/services/city/actor"
	"github.com/dishmesh/dishmesh/services/city/courier"
	"github.com/dishmesh/dishmesh/services/city/kitchen"
	"github.com/dishmesh/dishmesh/services/city/mail"
	"github.com/dishmesh/dishmesh/services/city/sink"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
)

// The files of the city in its folder, which is city/ of the data folder.
const (
	BookFile = "acquirer.jsonl"
	MailFile = "mail.jsonl"
	SMSFile  = "sms.jsonl"
	PushFile = "push.jsonl"
)

// Config of a City.
type Config struct {
	Dir        string  // folder of the city's files; made if missing
	Gateway    string  // base URL of the public API
	CA         string  // file of the authority that the public API is trusted by, besides the machine's; "": none
	Listen     string  // address of the acquirer, the sinks and the page
	SMTPListen string  // address of the mail server
	Accounts   string  // file with the accounts of kitchens and couriers
	TimeScale  float64 // 1: an order takes about 20 s; 0: nobody waits
	Seed       int64   // of the delays and positions
	NoActors   bool    // no kitchens and couriers
	Couriers   int     // how many of the courier accounts work; 0: all
	APIKey     string  // what merchants authenticate with at the acquirer
	Log        *slog.Logger
}

// check reports every fault of the configuration together.
func (c Config) check() error {
	var faults []error
	need := func(ok bool, fault string) {
		if !ok {
			faults = append(faults, errors.New(fault))
		}
	}
	need(c.Dir != "", "--data is missing: name the folder for what the outside world keeps")
	need(c.APIKey != "", "ACQUIRER_API_KEY is not set: give the key that payment uses")
	need(c.TimeScale >= 0 && c.TimeScale <= 1000, "--time-scale must be 0 to 1000")
	need(c.Couriers >= 0, "--couriers must not be negative")
	if !c.NoActors {
		need(c.Gateway != "", "--gateway is missing: name the address of the public API, or use --no-actors")
		need(c.Accounts != "", "--accounts is missing: name the file of accounts, or use --no-actors")
	}
	if len(faults) == 0 {
		return nil
	}
	return &ConfigError{faults}
}

// ConfigError lists all that is wrong with a configuration, in one line.
type ConfigError struct{ Faults []error }

// Error implements error.
func (e *ConfigError) Error() string {
	var lines []string
	for _, f := range e.Faults {
		lines = append(lines, f.Error())
	}
	return strings.Join(lines, "; ")
}

// City is the outside world. Make one with New, then Run it.
type City struct {
	cfg      Config
	acquirer *acquirer.Acquirer
	mail     *mail.Server
	sms      *sink.Sink
	push     *sink.Sink
	accounts []actor.Account
	http     net.Listener
	smtp     net.Listener
	town     *actor.Town
	started  time.Time
}

// patience is how long the city says that it is not ready while somebody is missing.
const patience = 20 * time.Second

// ready reports whether the kitchens and couriers are on duty, or have had their time.
func (c *City) ready() bool { return c.town.Complete() || time.Since(c.started) > patience }

// New opens the files and the listeners. Close frees them, unless Run did.
func New(cfg Config) (c *City, err error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	hc, err := publicapi.Trusting(cfg.CA)
	if err != nil {
		return nil, &ConfigError{[]error{fmt.Errorf("--ca: %w", err)}}
	}
	c = &City{cfg: cfg, started: time.Now()}
	c.town = actor.NewTown(cfg.Gateway, hc, actor.Pace{Scale: cfg.TimeScale, Seed: cfg.Seed}, cfg.Log)
	defer func() {
		if err != nil {
			err = errors.Join(err, c.Close())
		}
	}()
	if !cfg.NoActors {
		if c.accounts, err = actor.ReadAccounts(cfg.Accounts); err != nil {
			return c, err
		}
	}
	file := func(name string) string { return filepath.Join(cfg.Dir, name) }
	if c.acquirer, err = acquirer.Open(acquirer.Config{
		BookPath: file(BookFile), APIKey: cfg.APIKey, Log: cfg.Log.With("part", "acquirer"),
	}); err != nil {
		return c, err
	}
	if c.mail, err = mail.Open(file(MailFile), cfg.Log.With("part", "mail"), time.Now); err != nil {
		return c, err
	}
	if c.sms, err = sink.Open("sms", file(SMSFile), cfg.Log, time.Now); err != nil {
		return c, err
	}
	if c.push, err = sink.Open("push", file(PushFile), cfg.Log, time.Now); err != nil {
		return c, err
	}
	if c.http, err = net.Listen("tcp", cfg.Listen); err != nil {
		return c, fmt.Errorf("--listen: %w: free the port or take another", err)
	}
	if c.smtp, err = net.Listen("tcp", cfg.SMTPListen); err != nil {
		return c, fmt.Errorf("--smtp-listen: %w: free the port or take another", err)
	}
	return c, nil
}

// Addr is where the acquirer, the sinks and the page listen.
func (c *City) Addr() string { return c.http.Addr().String() }

// SMTPAddr is where the mail server listens.
func (c *City) SMTPAddr() string { return c.smtp.Addr().String() }

// Close frees what New opened.
func (c *City) Close() error {
	var errs []error
	for _, l := range []net.Listener{c.http, c.smtp} {
		if l != nil {
			if err := l.Close(); !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	if c.acquirer != nil {
		errs = append(errs, c.acquirer.Close())
	}
	if c.mail != nil {
		errs = append(errs, c.mail.Close())
	}
	for _, s := range []*sink.Sink{c.sms, c.push} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// Run lives until ctx is done, which is no error, or a part fails, and closes everything at the end.
func (c *City) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	c.startActors(ctx, g) // first, so that the city does not say it is ready before it knows whom it expects
	server := &http.Server{
		Handler:           c.Routes(),
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(c.cfg.Log.Handler(), slog.LevelWarn),
	}
	g.Go(func() error {
		if err := server.Serve(c.http); !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("city: %w", err)
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		quick, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if server.Shutdown(quick) != nil {
			return server.Close() // answers that hang on purpose
		}
		return nil
	})
	g.Go(func() error { return c.mail.Serve(ctx, c.smtp) })
	g.Go(func() error {
		select {
		case <-ctx.Done():
			return nil
		case <-c.acquirer.Failed():
			return fmt.Errorf("%w: free some disk space and start again", c.acquirer.Err())
		}
	})
	c.cfg.Log.Info("the city is up", "http", c.Addr(), "smtp", c.SMTPAddr(), "time_scale", c.cfg.TimeScale,
		"seed", c.cfg.Seed, "accounts", len(c.accounts))
	return errors.Join(g.Wait(), c.Close())
}

// startActors starts a kitchen or a courier for every account that is for one.
func (c *City) startActors(ctx context.Context, g *errgroup.Group) {
	town, couriers := c.town, 0
	for _, a := range c.accounts {
		switch {
		case a.Role == actor.RoleKitchen:
			town.Expect(1)
			g.Go(func() error { kitchen.Run(ctx, town, a); return nil })
		case a.Role == actor.RoleCourier && (c.cfg.Couriers == 0 || couriers < c.cfg.Couriers):
			number := couriers
			town.Expect(1)
			g.Go(func() error { courier.Run(ctx, town, a, number); return nil })
			couriers++
		}
	}
	if couriers < c.cfg.Couriers {
		c.cfg.Log.Warn("there are fewer courier accounts than --couriers asks for", "accounts", couriers, "asked", c.cfg.Couriers)
	}
}
