// Package menu knows the restaurants of the town and what they offer, from seed data on the first start and from
// their kitchens' changes ever after.
package menu

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/rpc"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

// Config is what can be set.
type Config struct {
	Refresh time.Duration `env:"MENU_REFRESH" default:"30s" help:"how often changes that other replicas made are read"`
}

// Service is the menu service. All reads are answered from memory: a change of this replica is in it before it is
// acknowledged, one of another replica after Config.Refresh at most.
type Service struct {
	cfg       Config
	log       *slog.Logger
	store     *eventstore.Store[offer]
	outbox    *outbox.Outbox
	catalogue *catalogue
	seed      []offer
	now       func() time.Time
}

// New builds the service. The error says what is wrong with the seed data.
func New(d *run.Deps, cfg Config) (run.Service, error) {
	if cfg.Refresh <= 0 {
		cfg.Refresh = 30 * time.Second
	}
	seed, err := readSeed(seedFiles)
	if err != nil {
		return nil, err
	}
	ob := d.UseOutbox()
	return &Service{
		cfg: cfg, log: d.Log, outbox: ob, seed: seed, now: time.Now,
		catalogue: newCatalogue(),
		store: eventstore.New(d.State, ob, eventstore.Options[offer]{
			Name: "menu", Source: "dishmesh/menu", Topic: cloudevent.Topic("menu"), Events: menuapi.Events, Apply: apply,
		}),
	}, nil
}

// Routes implements run.Service.
func (s *Service) Routes(r *mux.Router) {
	r.Handle("/v1/restaurants", web.HandlerFunc(s.handleList)).Methods("GET")
	r.Handle("/v1/restaurants/{restaurant}", web.HandlerFunc(s.handleRestaurant)).Methods("GET")
	r.Handle("/v1/restaurants/{restaurant}/menu", web.HandlerFunc(s.handleMenu)).Methods("GET")
	r.Handle("/v1/restaurants/{restaurant}/items/{item}", web.HandlerFunc(s.handlePatchItem)).Methods("PATCH")
	path, handler := menuapi.NewMenuServiceHandler(calls{s}, rpc.HandlerOptions())
	r.PathPrefix(path).Handler(handler)
	s.store.Serve(r)
}

// Ready implements run.Readier.
func (s *Service) Ready() error {
	if !s.catalogue.loaded() {
		return errors.New("the menus are not read yet")
	}
	return nil
}

// Run implements run.Runner: it seeds what is missing, reads all menus and keeps them fresh.
func (s *Service) Run(ctx context.Context) error {
	for delay := 20 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		err := s.publishSeed(ctx)
		if err == nil {
			break
		}
		if s.outbox.Ready() { // before that it is no surprise
			s.log.Warn("menus not published yet", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
	tick := time.NewTicker(s.cfg.Refresh)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if err := s.refresh(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("menus not refreshed, the last ones stand", "error", err)
			}
		}
	}
}

// publishSeed publishes the restaurants of the seed that the store does not know, and reads those that it does.
func (s *Service) publishSeed(ctx context.Context) error {
	for _, o := range s.seed {
		state, version, err := s.store.Update(ctx, o.Restaurant.ID, func(_ offer, version int) (eventstore.Change, error) {
			if version > 0 {
				return eventstore.Change{}, nil
			}
			return eventstore.Change{Events: []eventstore.Event{{Type: menuapi.MenuPublished, Data: menuapi.NewPublished(o.Restaurant, o.Items)}}}, nil
		})
		if err != nil {
			return err
		}
		if err := s.catalogue.put(state, version); err != nil {
			return err
		}
	}
	s.catalogue.complete()
	return nil
}

// refresh reads all menus again; those that this replica knows in the same version stay as they are.
func (s *Service) refresh(ctx context.Context) error {
	for _, id := range s.catalogue.ids() {
		state, version, err := s.store.Load(ctx, id)
		if err != nil {
			return err
		}
		if err := s.catalogue.put(state, version); err != nil {
			return err
		}
	}
	return nil
}
