// Package pricing says what an order costs and stands by it for a while: it makes signed quotes, and confirms them
// when an order is placed.
package pricing

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/rpc"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// Config is what can be set. Amounts are minor units.
type Config struct {
	QuoteLifetime time.Duration `env:"QUOTE_LIFETIME" default:"10m" help:"how long a quote is good for"`
	DeliveryBase  int64         `env:"DELIVERY_BASE" default:"199" help:"delivery fee before distance, in cents"`
	DeliveryPerKm int64         `env:"DELIVERY_PER_KM" default:"60" help:"delivery fee for each kilometre, in cents"`
	SurgeSteps    string        `env:"SURGE_STEPS" default:"200:2500,400:5000,800:10000" help:"surcharge on the delivery fee: open orders:basis points, rising; or off"`
	SurgeInterval time.Duration `env:"SURGE_INTERVAL" default:"5s" help:"how often open orders are counted"`
	MenuFresh     time.Duration `env:"MENU_FRESH" default:"2m" help:"how long a menu is used before it is looked up again"`
	MenuStale     time.Duration `env:"MENU_STALE" default:"1h" help:"how long a menu is used while the menu service is away"`
	KeyRotation   time.Duration `env:"KEY_ROTATION" default:"24h" help:"age at which the key that signs quotes is replaced"`
}

// check reports every setting that makes no sense.
func (c Config) check() error {
	var errs []error
	for name, d := range map[string]time.Duration{"QUOTE_LIFETIME": c.QuoteLifetime, "SURGE_INTERVAL": c.SurgeInterval} {
		if d < 100*time.Millisecond {
			errs = append(errs, errors.New(name+": must be at least 100ms"))
		}
	}
	if c.DeliveryBase < 0 || c.DeliveryBase > maxFee || c.DeliveryPerKm < 0 || c.DeliveryPerKm > maxFee {
		errs = append(errs, errors.New("DELIVERY_BASE, DELIVERY_PER_KM: must be from 0 to 10000"))
	}
	if c.KeyRotation < c.QuoteLifetime {
		errs = append(errs, errors.New("KEY_ROTATION: must not be shorter than QUOTE_LIFETIME, or keys are forgotten before their quotes expire"))
	}
	return errors.Join(errs...)
}

// maxFee bounds the parts of the tariff.
const maxFee = 10_000

// Service is the pricing service.
type Service struct {
	cfg         Config
	log         *slog.Logger
	topics      *topic.Subscriber
	menus       *menus
	signer      *signer
	promotions  promotions
	redemptions *redemptions
	recent      *recent
	surge       *surge
	tariff      tariff
	now         func() time.Time

	quotes, confirms *prometheus.CounterVec
}

// New builds the service.
func New(d *run.Deps, cfg Config) (run.Service, error) { return build(d, cfg, time.Now) }

func build(d *run.Deps, cfg Config, now func() time.Time) (*Service, error) {
	codes, err1 := readPromotions(promotionsYAML)
	steps, err2 := parseSteps(cfg.SurgeSteps)
	if err := errors.Join(cfg.check(), err1, err2); err != nil {
		return nil, err
	}
	s := &Service{
		cfg: cfg, log: d.Log, topics: d.Topics, now: now, promotions: codes, recent: newRecent(),
		tariff:      tariff{base: cfg.DeliveryBase, perKm: cfg.DeliveryPerKm},
		signer:      newSigner(d.State, cfg.KeyRotation, now),
		redemptions: &redemptions{state: d.State, now: now},
		menus: &menus{client: menuapi.NewClient(d.Invoker), fresh: cfg.MenuFresh, stale: cfg.MenuStale, pause: 2 * time.Second,
			now: now, log: d.Log, slots: map[string]*menuSlot{}},
		surge: &surge{steps: steps, orders: newOpenOrders(), state: d.State, instance: d.Instance, now: now,
			zones: eventstore.New(d.State, d.UseOutbox(), eventstore.Options[zone]{
				Name: "pricing", Source: "dishmesh/pricing", Topic: cloudevent.Topic("pricing"), Events: pricingapi.Events, Apply: applyZone,
			})},
		quotes:   prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quotes_total", Help: "Quotes asked for, by outcome: ok or the problem."}, []string{"outcome"}),
		confirms: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "quote_confirmations_total", Help: "Confirmations of quotes, by outcome: ok or the problem."}, []string{"outcome"}),
	}
	d.Metrics.MustRegister(s.quotes, s.confirms, prometheus.NewGaugeFunc(
		prometheus.GaugeOpts{Name: "surge_basis_points", Help: "Surcharge on delivery fees."},
		func() float64 { return float64(s.surge.current()) }))
	return s, nil
}

// Routes implements run.Service.
func (s *Service) Routes(r *mux.Router) {
	r.Handle("/v1/quotes", web.HandlerFunc(s.handleQuote)).Methods("POST")
	path, handler := pricingapi.NewPricingServiceHandler(calls{s}, rpc.HandlerOptions())
	r.PathPrefix(path).Handler(handler)
	s.topics.Handle(r, s.Subscriptions()...)
	s.surge.zones.Serve(r)
}

// Ready implements run.Readier.
func (s *Service) Ready() error {
	if !s.signer.ready() {
		return errors.New("there is no signing key yet")
	}
	return nil
}

// Run implements run.Runner: it sees to the signing keys and the surcharge.
func (s *Service) Run(ctx context.Context) error {
	for delay := 50 * time.Millisecond; ; delay = min(2*delay, time.Second) {
		err := s.signer.ensure(ctx)
		if err == nil {
			break
		}
		s.log.Warn("no signing key yet", "error", err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(delay):
		}
	}
	tick := time.NewTicker(s.cfg.SurgeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := s.surge.update(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("surge not updated", "error", err)
		}
		if s.signer.due() {
			if err := s.signer.ensure(ctx); err != nil && ctx.Err() == nil {
				s.log.Warn("signing key not rotated", "error", err)
			}
		}
	}
}

// takeMenuEvent ends what is known of a menu that has changed.
func (s *Service) takeMenuEvent(_ context.Context, e cloudevent.Event) error {
	switch e.Name() {
	case menuapi.MenuItemChanged, menuapi.MenuPublished:
		s.menus.expire(e.Subject)
	}
	return nil
}

// takeOrderEvent counts open orders.
func (s *Service) takeOrderEvent(_ context.Context, e cloudevent.Event) error {
	switch e.Name() {
	case orderapi.EventPlaced:
		s.surge.orders.place(e.Subject, e.Time)
	case orderapi.EventRejected, orderapi.EventDelivered, orderapi.EventCancelled, orderapi.EventFailed:
		s.surge.orders.end(e.Subject, s.now())
	}
	return nil
}

func outcome(err error) string {
	if err == nil {
		return "ok"
	}
	return string(problem.Of(err))
}
