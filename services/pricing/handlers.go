package pricing

import (
	"context"
	"net/http"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/money"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

func (s *Service) handleQuote(w http.ResponseWriter, r *http.Request) error {
	q, err := s.answerQuote(r)
	s.quotes.WithLabelValues(outcome(err)).Inc()
	if err != nil {
		return err
	}
	w.Header().Set("Cache-Control", "no-store")
	return web.JSON(w, http.StatusCreated, q)
}

func (s *Service) answerQuote(r *http.Request) (pricingapi.Quote, error) {
	caller := web.Caller(r)
	switch {
	case caller.Subject == "":
		return pricingapi.Quote{}, problem.New(problem.Unauthenticated, "a quote is for a customer")
	case caller.Role != web.RoleCustomer:
		return pricingapi.Quote{}, problem.New(problem.Forbidden, "a quote is for a customer, not for a %.20s", caller.Role)
	}
	var req pricingapi.QuoteRequest
	if err := web.Decode(r, &req); err != nil {
		return pricingapi.Quote{}, err
	}
	return s.quote(r.Context(), caller.Subject, req)
}

// quote prices a request that is valid in form.
func (s *Service) quote(ctx context.Context, customerID string, req pricingapi.QuoteRequest) (q pricingapi.Quote, err error) {
	m, err := s.menus.get(ctx, req.RestaurantID)
	if err != nil {
		return q, err
	}
	now := s.now().UTC()
	if !m.schedule.OpenAt(now) {
		return q, problem.New(problem.RestaurantClosed, "%s is closed", m.Restaurant.Name)
	}
	door := geo.Point{Lat: *req.Dropoff.Lat, Lon: *req.Dropoff.Lon}
	distance := metres(m.Restaurant.Point(), door)
	if distance > int64(m.Restaurant.DeliveryRadiusM) {
		return q, problem.New(problem.OutOfRange, "%s delivers within %d m, the address is %d m away", m.Restaurant.Name, m.Restaurant.DeliveryRadiusM, distance)
	}
	b, err := fill(m, req.Items)
	if err != nil {
		return q, err
	}
	if b.subtotal > money.Max {
		return q, tooDear()
	}
	var promo *promotion
	if req.Promotion != "" {
		p, err := s.promotion(ctx, req.Promotion, customerID, b.subtotal, now)
		if err != nil {
			return q, err
		}
		promo = &p
	}
	q = pricingapi.Quote{
		ID: ids.New("qte"), CustomerID: customerID, RestaurantID: m.Restaurant.ID, RestaurantName: m.Restaurant.Name, Currency: m.Currency,
		Pickup:    pricingapi.PickupPlace{Lat: m.Restaurant.Lat, Lon: m.Restaurant.Lon, Address: m.Restaurant.Address},
		Dropoff:   pricingapi.DropoffPlace{Lat: door.Lat, Lon: door.Lon, Street: req.Dropoff.Street},
		ExpiresAt: now.Add(s.cfg.QuoteLifetime).Truncate(time.Millisecond),
	}
	settle(&q, b, s.tariff.fee(distance), s.surge.current(), promo)
	if q.Total > money.Max {
		return q, tooDear()
	}
	q.Token, err = s.signer.sign(q)
	return q, err
}

func tooDear() error {
	return problem.New(problem.InvalidRequest, "1 faulty field(s)").
		WithFields(problem.Field{Name: "items", Reason: "must not cost more than " + money.Format(money.Max, money.Currency)})
}

// promotion gives the promotion of a code if it would hold for the customer's order now.
func (s *Service) promotion(ctx context.Context, code, customerID string, subtotal int64, now time.Time) (promotion, error) {
	p, err := s.promotions.find(code)
	if err != nil {
		return p, err
	}
	if err := p.applies(subtotal, now); err != nil {
		return p, err
	}
	return p, s.redemptions.possible(ctx, p, customerID)
}

// confirm checks a quote for an order. Without a promotion nothing is written: the token says it all.
func (s *Service) confirm(ctx context.Context, req pricingapi.ConfirmRequest) (pricingapi.Quote, error) {
	q, err := s.signer.verify(ctx, req.Token)
	if err != nil {
		return pricingapi.Quote{}, err
	}
	if q.CustomerID != req.CustomerID {
		return pricingapi.Quote{}, problem.New(problem.QuoteNotYours, "")
	}
	if q.Promotion == "" {
		if !s.recent.has(req.OrderID, q.ID) {
			if err := s.stands(ctx, q); err != nil {
				return pricingapi.Quote{}, err
			}
			s.recent.add(req.OrderID, q.ID)
		}
		return q, nil
	}
	p, err := s.promotions.find(q.Promotion)
	if err != nil {
		return pricingapi.Quote{}, err
	}
	if err := s.redemptions.redeem(ctx, q, p, req.OrderID, func() error { return s.stands(ctx, q) }); err != nil {
		return pricingapi.Quote{}, err
	}
	return q, nil
}

// stands says why a genuine quote does not hold any more.
func (s *Service) stands(ctx context.Context, q pricingapi.Quote) error {
	if now := s.now(); !now.Before(q.ExpiresAt) {
		return problem.New(problem.QuoteExpired, "it was good until %s", q.ExpiresAt.Format(time.RFC3339))
	}
	m, err := s.menus.get(ctx, q.RestaurantID)
	if err != nil {
		return err
	}
	return unchanged(m, q)
}

// release gives back what an order redeemed.
func (s *Service) release(ctx context.Context, orderID string) (bool, error) {
	return s.redemptions.release(ctx, orderID, func(code string) promotion {
		if p, ok := s.promotions[code]; ok {
			return p
		}
		return promotion{Code: code} // withdrawn since: it has no limits to give back to
	})
}
