// Package restaurant is the kitchens' side of the platform: tickets with a deadline for the answer, opening hours,
// capacity.
//
// A ticket is an aggregate by order id. Beside it stands one board per restaurant: its settings and its active
// tickets, written in the same transaction as every ticket. The board is how tickets are found by key: for the
// kitchen's list, for the count against the capacity, and for deadlines that pass, after a crash too.
package restaurant

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// Config of the service.
type Config struct {
	Capacity     int           `env:"KITCHEN_CAPACITY" default:"200" help:"tickets that a kitchen works on at a time, until it sets its own"`
	AnswerWithin time.Duration `env:"TICKET_DEADLINE" default:"2m" help:"time a kitchen has to answer, where the caller sets none"`
	ReadyShown   time.Duration `env:"READY_SHOWN" default:"15m" help:"how long a ready ticket stays in the kitchen's list"`
	BoardRefresh time.Duration `env:"BOARD_REFRESH" default:"10s" help:"how often boards are read again, to see what other replicas wrote"`

	Now func() time.Time // the clock; nil: time.Now
}

// Service is the restaurant service.
type Service struct {
	cfg     Config
	log     *slog.Logger
	state   sidecar.Store
	tickets *eventstore.Store[ticket]
	turns   turns

	mu     sync.Mutex
	boards map[string]board // as last seen; only ever replaced by a newer version
	loaded bool
}

// New makes the service.
func New(d *run.Deps, cfg Config) (run.Service, error) {
	if cfg.Capacity < 1 || cfg.AnswerWithin <= 0 || cfg.ReadyShown <= 0 || cfg.BoardRefresh <= 0 {
		return nil, errors.New("KITCHEN_CAPACITY, TICKET_DEADLINE, READY_SHOWN and BOARD_REFRESH must be more than 0")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Service{
		cfg: cfg, log: d.Log, state: d.State, boards: map[string]board{}, turns: turns{m: map[string]*turn{}},
		tickets: eventstore.New(d.State, d.UseOutbox(), eventstore.Options[ticket]{
			Name: restaurantapi.Stream, Source: "dishmesh/" + d.Name, Topic: cloudevent.Topic("restaurant"), Events: restaurantapi.Events, Apply: apply,
		}),
	}, nil
}

// Routes implements run.Service.
func (s *Service) Routes(r *mux.Router) {
	const order, restaurant = "{order:[A-Za-z0-9_-]{1,64}}", "{restaurant:[A-Za-z0-9_-]{1,64}}"
	for _, route := range []struct {
		method, path string
		h            web.HandlerFunc
	}{
		{"POST", "/internal/tickets/" + order + "/open", s.handleOpen},
		{"POST", "/internal/tickets/" + order + "/cancel", s.handleCancel},
		{"GET", "/internal/tickets/" + order, s.handleGet},
		{"POST", "/v1/tickets/" + order + "/accept", s.handleAccept},
		{"POST", "/v1/tickets/" + order + "/reject", s.handleReject},
		{"POST", "/v1/tickets/" + order + "/ready", s.handleReady},
		{"GET", "/v1/restaurants/" + restaurant + "/tickets", s.handleList},
		{"PUT", "/v1/restaurants/" + restaurant + "/hours", s.handleHours},
		{"PUT", "/v1/restaurants/" + restaurant + "/capacity", s.handleCapacity},
	} {
		r.Handle(route.path, route.h).Methods(route.method)
	}
	s.tickets.Serve(r)
}

// Ready implements run.Readier.
func (s *Service) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.loaded {
		return errors.New("the boards are not read yet")
	}
	return nil
}

// Run watches the deadlines: it implements run.Runner.
func (s *Service) Run(ctx context.Context) error {
	sweep := time.NewTicker(time.Second)
	defer sweep.Stop()
	var refreshed time.Time
	for {
		if s.cfg.Now().Sub(refreshed) >= s.cfg.BoardRefresh {
			if err := s.refresh(ctx); err == nil {
				refreshed = s.cfg.Now()
			} else if ctx.Err() == nil {
				s.log.Warn("boards not read, will be tried again", "error", err)
			}
		}
		s.sweep(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-sweep.C:
		}
	}
}

// sweep rejects the tickets whose deadline has passed.
func (s *Service) sweep(ctx context.Context) {
	type late struct{ restaurant, order string }
	var found []late
	now := s.cfg.Now()
	s.mu.Lock()
	for _, b := range s.boards {
		for _, e := range b.Tickets {
			if e.late(now) {
				found = append(found, late{b.RestaurantID, e.OrderID})
			}
		}
	}
	s.mu.Unlock()
	for _, l := range found {
		if err := s.expire(ctx, l.restaurant, l.order); err != nil && ctx.Err() == nil {
			s.log.Warn("late ticket not rejected, will be tried again", "order", l.order, "error", err)
		}
	}
}

// turns gives each restaurant a lock, so that the writers of a board in this process queue instead of conflicting.
type turns struct {
	mu sync.Mutex
	m  map[string]*turn
}

type turn struct {
	sync.Mutex
	waiting int
}

func (t *turns) take(key string) (done func()) {
	t.mu.Lock()
	l := t.m[key]
	if l == nil {
		l = &turn{}
		t.m[key] = l
	}
	l.waiting++
	t.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		t.mu.Lock()
		if l.waiting--; l.waiting == 0 {
			delete(t.m, key)
		}
		t.mu.Unlock()
	}
}
