package delivery

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

func (s *Service) handleDispatch(w http.ResponseWriter, r *http.Request) error {
	var in deliveryapi.DispatchRequest
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	d, err := s.request(r.Context(), mux.Vars(r)["order"], in)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, deliveryapi.DispatchResult{Status: d.Status, CourierID: d.CourierID, Reason: d.Reason})
}

func (s *Service) handleRelease(w http.ResponseWriter, r *http.Request) error {
	var in deliveryapi.ReleaseRequest
	if r.ContentLength != 0 {
		if err := web.Decode(r, &in); err != nil {
			return err
		}
	}
	out, err := s.release(r.Context(), mux.Vars(r)["order"], in.Reason)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, out)
}

func (s *Service) handleGet(w http.ResponseWriter, r *http.Request) error {
	d, err := s.load(r.Context(), mux.Vars(r)["order"])
	if err != nil {
		return err
	}
	return s.track(w, r, d)
}

func (s *Service) handleTrack(w http.ResponseWriter, r *http.Request) error {
	d, err := s.load(r.Context(), mux.Vars(r)["order"])
	if err != nil {
		return err
	}
	who := web.Caller(r)
	if who.Subject == "" || who.Role != web.RoleOperator && who.Subject != d.CustomerID && who.Subject != d.CourierID {
		return noDelivery(d.OrderID)
	}
	return s.track(w, r, d)
}

func (s *Service) load(ctx context.Context, order string) (delivery, error) {
	d, version, err := s.deliveries.Load(ctx, order)
	if err == nil && (version == 0 || d.Barred) {
		err = noDelivery(order)
	}
	return d, err
}

func (s *Service) track(w http.ResponseWriter, r *http.Request, d delivery) error {
	t, err := s.tracking(r.Context(), d)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, t)
}

// tracking is a delivery as people see it, with what is known of its kitchen and its courier.
func (s *Service) tracking(ctx context.Context, d delivery) (deliveryapi.Tracking, error) {
	t := deliveryapi.Tracking{OrderID: d.OrderID, CustomerID: d.CustomerID, RestaurantID: d.RestaurantID,
		Status: d.Status, Reason: d.Reason, CourierID: d.CourierID, ETA: d.ETA, Pickup: d.Pickup, Dropoff: d.Dropoff,
		CourierNote: d.CourierNote, RequestedAt: d.RequestedAt, AssignedAt: d.AssignedAt, PickedUpAt: d.PickedUpAt, DeliveredAt: d.DeliveredAt}
	t.Ready = d.Status == deliveryapi.PickedUp || d.Status == deliveryapi.Delivered
	if !t.Ready {
		item, err := s.state.Get(ctx, readyKey(d.OrderID))
		if err != nil {
			return t, err
		}
		t.Ready = item.Exists()
	}
	if d.Status == deliveryapi.Assigned || d.Status == deliveryapi.PickedUp {
		at, ok, err := s.whereabouts(ctx, d.CourierID)
		if err != nil {
			return t, err
		}
		if ok {
			t.Courier, t.ETA = &at, s.arrival(d, at, time.Now())
		}
	}
	return t, nil
}

// whereabouts gives a courier's position: as this process heard it, or as any replica stored it.
func (s *Service) whereabouts(ctx context.Context, id string) (geo.Point, bool, error) {
	if at, ok := s.dispatch.position(id); ok {
		return at, true, nil
	}
	item, err := s.state.Get(ctx, positionKey(id))
	if err != nil || !item.Exists() {
		return geo.Point{}, false, err
	}
	var at lastSeen
	err = json.Unmarshal(item.Value, &at)
	return at.Point, err == nil, err
}

// rider gives the courier who calls.
func rider(r *http.Request) (string, error) {
	who := web.Caller(r)
	if who.Role != web.RoleCourier || who.Subject == "" {
		return "", problem.New(problem.Forbidden, "this is for couriers")
	}
	return who.Subject, nil
}

// byCourier makes a handler of something that a courier does with an order.
func (s *Service) byCourier(do func(ctx context.Context, courier, order string) (delivery, error)) web.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		id, err := rider(r)
		if err != nil {
			return err
		}
		d, err := do(r.Context(), id, mux.Vars(r)["order"])
		if err != nil {
			return err
		}
		return s.track(w, r, d)
	}
}

// handleDecline answers with nothing: what becomes of the order is no business of those who declined it.
func (s *Service) handleDecline(w http.ResponseWriter, r *http.Request) error {
	id, err := rider(r)
	if err != nil {
		return err
	}
	if _, err := s.decline(r.Context(), id, mux.Vars(r)["order"]); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) handleMe(w http.ResponseWriter, r *http.Request) error {
	id, err := rider(r)
	if err != nil {
		return err
	}
	c, err := s.readCourier(r.Context(), id)
	if err != nil {
		return err
	}
	c.ID = id
	out := deliveryapi.CourierView{Offers: []deliveryapi.Offer{}}
	if out.Courier, err = s.person(r.Context(), c); err != nil {
		return err
	}
	if c.Offer != nil && time.Now().Before(c.Offer.ExpiresAt) {
		out.Offers = append(out.Offers, *c.Offer)
	}
	if c.OrderID != "" {
		d, err := s.load(r.Context(), c.OrderID)
		if err != nil {
			return err
		}
		t, err := s.tracking(r.Context(), d)
		if err != nil {
			return err
		}
		out.Delivery = &t
	}
	return web.JSON(w, http.StatusOK, out)
}

func (s *Service) person(ctx context.Context, c courier) (deliveryapi.Courier, error) {
	out := deliveryapi.Courier{CourierID: c.ID, Online: c.Online, OrderID: c.OrderID}
	at, ok, err := s.whereabouts(ctx, c.ID)
	if ok {
		out.Position = &at
	}
	return out, err
}

func (s *Service) handlePresence(w http.ResponseWriter, r *http.Request) error {
	id, err := rider(r)
	if err != nil {
		return err
	}
	var in deliveryapi.PresenceRequest
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	var at *geo.Point
	if in.Lat != nil && in.Lon != nil {
		at = &geo.Point{Lat: *in.Lat, Lon: *in.Lon}
	}
	c, err := s.present(r.Context(), id, *in.Online, at)
	if err != nil {
		return err
	}
	out, err := s.person(r.Context(), c)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, out)
}

func (s *Service) handlePosition(w http.ResponseWriter, r *http.Request) error {
	id, err := rider(r)
	if err != nil {
		return err
	}
	var in deliveryapi.PositionRequest
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	if err := s.moved(r.Context(), id, geo.Point{Lat: *in.Lat, Lon: *in.Lon}); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// readyKept is how long it is remembered that an order was ready: well beyond any delivery.
const readyKept = 24 * time.Hour

// onRestaurant notes that the food of an order is ready. The note has a key of its own, so that it does not matter
// whether the delivery has been asked for yet, nor how often or in which order events come.
func (s *Service) onRestaurant(ctx context.Context, e cloudevent.Event) error {
	if e.Name() != restaurantapi.TypeTicketReady {
		return nil
	}
	var d restaurantapi.TicketReady
	if err := restaurantapi.Events.Into(e, &d); err != nil {
		return err
	}
	if d.OrderId == "" {
		return problem.New(problem.InvalidRequest, "event %s names no order", e.ID)
	}
	value, err := json.Marshal(map[string]time.Time{"at": e.Time})
	if err != nil {
		return err
	}
	return s.state.Transact(ctx, sidecar.Op{Key: readyKey(d.OrderId), Value: value, TTL: readyKept})
}
