// Package delivery finds couriers for orders and follows them to the door.
//
// A delivery is an aggregate by order id; a courier is a record by courier id that says what is offered to and
// carried by them. An assignment writes both in one transaction under their ETags. Deliveries that search are
// listed in a few index pages, written in the same transactions, so that a search goes on after a crash and can
// be taken up by any replica. What is quick, such as who is free and what expires when, is in memory (dispatcher)
// and is rebuilt from the store.
package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/delivery/geoindex"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// Config of the service.
type Config struct {
	Radii         string        `env:"DISPATCH_RADII" default:"1500,3000,6000,12000" help:"rounds of the widening search for a courier: metres around the restaurant, growing"`
	OfferTTL      time.Duration `env:"OFFER_TTL" default:"5s" help:"time a courier has to accept an offer"`
	Deadline      time.Duration `env:"DISPATCH_DEADLINE" default:"60s" help:"time a search lasts at most, where the caller sets none"`
	MissedPause   time.Duration `env:"MISSED_PAUSE" default:"10s" help:"time before a courier who let an offer expire is offered the same order again"`
	Speed         float64       `env:"COURIER_SPEED" default:"5.5" help:"how fast couriers are taken to be, in metres per second as the crow flies"`
	PositionSave  time.Duration `env:"POSITION_SAVE" default:"5s" help:"how often a courier's position is written to the store at most"`
	LocationEvery time.Duration `env:"LOCATION_EVERY" default:"1s" help:"how often the position of a courier with an order is published at most"`
	Refresh       time.Duration `env:"DISPATCH_REFRESH" default:"10s" help:"how often couriers and searches are read again, to see what other replicas wrote"`
	GeoRedis      string        `env:"GEO_REDIS_ADDR" help:"host:port of a Redis for the couriers' positions; default: in this process"`
	GeoUser       string        `env:"GEO_REDIS_USERNAME" help:"user of that Redis; empty: its default user"`
	GeoPassword   string        `env:"GEO_REDIS_PASSWORD" secret:"true" help:"password of that user"`
}

// Service is the delivery service.
type Service struct {
	cfg        Config
	log        *slog.Logger
	source     string
	state      sidecar.Store
	publisher  sidecar.Publisher
	topics     *topic.Subscriber
	deliveries *eventstore.Store[delivery]
	dispatch   *dispatcher
	metrics    metrics
	turns      [shards]sync.Mutex // per index page: writers of this process queue instead of conflicting
	enrolling  sync.Mutex         // the same for the list of couriers
}

// New makes the service.
func New(d *run.Deps, cfg Config) (run.Service, error) {
	radii, err := parseRadii(cfg.Radii)
	if err != nil {
		return nil, err
	}
	if cfg.OfferTTL <= 0 || cfg.Deadline <= 0 || cfg.MissedPause <= 0 || cfg.Speed <= 0 || cfg.Refresh <= 0 {
		return nil, errors.New("OFFER_TTL, DISPATCH_DEADLINE, MISSED_PAUSE, COURIER_SPEED and DISPATCH_REFRESH must be more than 0")
	}
	var index geoindex.Index = geoindex.NewMemory()
	if cfg.GeoRedis != "" {
		index = geoindex.NewRedis(cfg.GeoRedis, cfg.GeoUser, cfg.GeoPassword, "couriers")
	}
	return &Service{
		cfg: cfg, log: d.Log, source: "dishmesh/" + d.Name, state: d.State, publisher: d.Publisher, topics: d.Topics,
		metrics: newMetrics(d.Metrics),
		dispatch: &dispatcher{index: index, radii: radii, pause: cfg.MissedPause, signal: make(chan struct{}, 1),
			couriers: map[string]*view{}, searches: map[string]*search{}},
		deliveries: eventstore.New(d.State, d.UseOutbox(), eventstore.Options[delivery]{
			Name: "delivery", Source: "dishmesh/" + d.Name, Topic: cloudevent.Topic("delivery"), Events: deliveryapi.Events, Apply: apply,
		}),
	}, nil
}

func parseRadii(s string) ([]float64, error) {
	var radii []float64
	for part := range strings.SplitSeq(s, ",") {
		r, err := strconv.ParseFloat(strings.TrimSpace(part), 64)
		if err != nil || r <= 0 || len(radii) > 0 && r <= radii[len(radii)-1] {
			return nil, fmt.Errorf("DISPATCH_RADII=%q: must be metres that grow, such as 1500,3000,6000", s)
		}
		radii = append(radii, r)
	}
	return radii, nil
}

// Routes implements run.Service.
func (s *Service) Routes(r *mux.Router) {
	const order = "{order:[A-Za-z0-9_-]{1,64}}"
	for _, route := range []struct {
		method, path string
		h            web.HandlerFunc
	}{
		{"POST", "/internal/deliveries/" + order + "/dispatch", s.handleDispatch},
		{"POST", "/internal/deliveries/" + order + "/release", s.handleRelease},
		{"GET", "/internal/deliveries/" + order, s.handleGet},
		{"GET", "/v1/deliveries/" + order, s.handleTrack},
		{"POST", "/v1/deliveries/" + order + "/accept", s.byCourier(s.accept)},
		{"POST", "/v1/deliveries/" + order + "/decline", s.handleDecline},
		{"POST", "/v1/deliveries/" + order + "/pickup", s.byCourier(s.pickup)},
		{"POST", "/v1/deliveries/" + order + "/deliver", s.byCourier(s.deliver)},
		{"GET", "/v1/couriers/me", s.handleMe},
		{"PUT", "/v1/couriers/me", s.handlePresence},
		{"PUT", "/v1/couriers/me/position", s.handlePosition},
	} {
		r.Handle(route.path, route.h).Methods(route.method)
	}
	s.topics.Handle(r, s.Subscriptions()...)
	s.deliveries.Serve(r)
}

// Ready implements run.Readier.
func (s *Service) Ready() error {
	s.dispatch.mu.Lock()
	defer s.dispatch.mu.Unlock()
	if !s.dispatch.ready {
		return errors.New("couriers and searches are not read yet")
	}
	return nil
}

// workers carry on searches at a time.
const workers = 4

// Run carries on the searches, those that a crash or another replica left too: it implements run.Runner.
func (s *Service) Run(ctx context.Context) error {
	var running sync.WaitGroup
	defer running.Wait()
	for range workers {
		running.Go(func() { s.work(ctx) })
	}
	for {
		wait := s.cfg.Refresh
		if err := s.refresh(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("couriers and searches not read, will be tried again", "error", err)
			wait = min(wait, time.Second)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// takeOver is what another replica gets to carry on a search of its own before this one does.
const takeOver = time.Second

// refresh reads couriers and searches from the store.
func (s *Service) refresh(ctx context.Context) error {
	if err := s.refreshCouriers(ctx); err != nil {
		return err
	}
	found, err := s.lostSearches(ctx)
	if err != nil {
		return err
	}
	x := s.dispatch
	x.mu.Lock()
	defer x.mu.Unlock()
	grace := takeOver
	if !x.ready {
		grace = 0 // most likely they are our own, from before a crash
	}
	for _, d := range found {
		if x.searches[d.OrderID] == nil {
			x.track(d, grace)
		}
	}
	x.ready = true
	x.match()
	return nil
}

// lostSearches gives the deliveries that search and that this process does not know.
func (s *Service) lostSearches(ctx context.Context) ([]delivery, error) {
	keys := make([]string, shards)
	for i := range keys {
		keys[i] = shardKey(i)
	}
	pages, err := s.state.GetBulk(ctx, keys)
	if err != nil {
		return nil, err
	}
	var unknown []string
	for i, page := range pages {
		if !page.Exists() {
			continue
		}
		var orders []string
		if err := json.Unmarshal(page.Value, &orders); err != nil {
			return nil, fmt.Errorf("%s: %w", keys[i], err)
		}
		s.dispatch.mu.Lock()
		for _, o := range orders {
			if s.dispatch.searches[o] == nil {
				unknown = append(unknown, o)
			}
		}
		s.dispatch.mu.Unlock()
	}
	if len(unknown) == 0 {
		return nil, nil
	}
	return s.deliveries.LoadMany(ctx, unknown)
}

// refreshCouriers reads the records and positions of all couriers.
func (s *Service) refreshCouriers(ctx context.Context) error {
	ids, _, err := s.courierIDs(ctx)
	if err != nil {
		return err
	}
	keys := make([]string, 0, 2*len(ids))
	for _, id := range ids {
		keys = append(keys, courierKey(id), positionKey(id))
	}
	items, err := s.state.GetBulk(ctx, keys)
	if err != nil {
		return err
	}
	for i, id := range ids {
		var c courier
		var at lastSeen
		record, position := items[2*i], items[2*i+1]
		if err := errors.Join(decode(record, &c), decode(position, &at)); err != nil {
			return fmt.Errorf("courier %s: %w", id, err)
		}
		if !record.Exists() {
			continue
		}
		x := s.dispatch
		x.mu.Lock()
		v := x.saw(c)
		if position.Exists() && (!v.located || at.At.After(v.saved)) {
			v.at, v.located, v.saved = at.Point, true, at.At
		}
		online, located, p := v.Online, v.located, v.at
		x.mu.Unlock()
		if online && located {
			s.place(ctx, id, p)
		} else {
			s.unplace(ctx, id)
		}
	}
	return nil
}

func decode(item sidecar.Item, v any) error {
	if !item.Exists() {
		return nil
	}
	return json.Unmarshal(item.Value, v)
}
