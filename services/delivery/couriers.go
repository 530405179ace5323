package delivery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// lastSeen is a courier's position as it is stored. It has a key of its own and no ETag: the last one wins.
type lastSeen struct {
	geo.Point
	At time.Time `json:"at"`
}

// present takes in whether a courier works, and where.
func (s *Service) present(ctx context.Context, id string, online bool, at *geo.Point) (courier, error) {
	s.enrolling.Lock()
	c, err := s.enrol(ctx, id, online, at)
	s.enrolling.Unlock()
	if err != nil {
		return c, err
	}
	if at != nil {
		s.dispatch.locate(c, *at)
	}
	if online {
		if p, ok := s.dispatch.position(id); ok {
			s.place(ctx, id, p)
		}
	} else {
		s.unplace(ctx, id)
	}
	s.dispatch.mu.Lock()
	s.dispatch.saw(c)
	s.dispatch.match()
	s.dispatch.mu.Unlock()
	if !online && c.Offer != nil {
		if _, err := s.decline(ctx, id, c.Offer.OrderID); err != nil && !problem.Permanent(err) {
			return c, err // permanent: the offer was over anyway
		}
	}
	return c, nil
}

// enrol writes the record of a courier, and adds it to the list of couriers the first time.
func (s *Service) enrol(ctx context.Context, id string, online bool, at *geo.Point) (courier, error) {
	for try := 1; ; try++ {
		items, err := s.state.GetBulk(ctx, []string{courierKey(id), positionKey(id)})
		if err != nil {
			return courier{}, err
		}
		c := courier{ID: id}
		if items[0].Exists() {
			if err := json.Unmarshal(items[0].Value, &c); err != nil {
				return c, fmt.Errorf("courier %s: %w", id, err)
			}
		}
		if online && at == nil && !items[1].Exists() {
			return c, problem.New(problem.InvalidRequest, "2 faulty field(s)").WithFields(
				problem.Field{Name: "lat", Reason: "is required to go online"}, problem.Field{Name: "lon", Reason: "is required to go online"})
		}
		ops, err := s.enrolOps(ctx, &c, items[0], online, at)
		if err != nil || len(ops) == 0 {
			return c, err
		}
		if err = s.state.Transact(ctx, ops...); err == nil {
			return c, nil
		}
		if !errors.Is(err, sidecar.ErrConflict) {
			return c, err
		}
		if try == 8 {
			return c, problem.Wrap(err, problem.WriteConflict, "your record is being written by others").After(time.Second)
		}
	}
}

func (s *Service) enrolOps(ctx context.Context, c *courier, old sidecar.Item, online bool, at *geo.Point) ([]sidecar.Op, error) {
	var ops []sidecar.Op
	if !old.Exists() || c.Online != online {
		c.Online = online
		c.Version++
		value, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		ops = append(ops, sidecar.Op{Key: courierKey(c.ID), Value: value, ETag: old.ETag, Create: !old.Exists()})
	}
	if at != nil {
		op, err := positionOp(c.ID, *at, time.Now())
		if err != nil {
			return nil, err
		}
		ops = append(ops, op)
	}
	if old.Exists() {
		return ops, nil
	}
	ids, list, err := s.courierIDs(ctx)
	if err != nil || slices.Contains(ids, c.ID) {
		return ops, err
	}
	value, err := json.Marshal(append(ids, c.ID))
	if err != nil {
		return nil, err
	}
	return append(ops, sidecar.Op{Key: couriersKey, Value: value, ETag: list.ETag, Create: !list.Exists()}), nil
}

func positionOp(id string, at geo.Point, now time.Time) (sidecar.Op, error) {
	value, err := json.Marshal(lastSeen{at, now.UTC()})
	return sidecar.Op{Key: positionKey(id), Value: value}, err
}

func (s *Service) courierIDs(ctx context.Context) ([]string, sidecar.Item, error) {
	item, err := s.state.Get(ctx, couriersKey)
	if err != nil || !item.Exists() {
		return nil, item, err
	}
	var ids []string
	if err := json.Unmarshal(item.Value, &ids); err != nil {
		return nil, item, fmt.Errorf("list of couriers: %w", err)
	}
	return ids, item, nil
}

// readCourier reads the record of a courier; the zero record if there is none.
func (s *Service) readCourier(ctx context.Context, id string) (courier, error) {
	var c courier
	item, err := s.state.Get(ctx, courierKey(id))
	if err == nil && item.Exists() {
		err = json.Unmarshal(item.Value, &c)
	}
	return c, err
}

// place and unplace keep the index. It is a hint that is checked before it is acted on and is put right by the
// next position, so a failure is no reason to refuse what the courier wanted.
func (s *Service) place(ctx context.Context, id string, at geo.Point) {
	if err := s.dispatch.index.Set(ctx, id, at); err != nil {
		s.log.Warn("position not indexed", "courier", id, "error", err)
	}
}

func (s *Service) unplace(ctx context.Context, id string) {
	if err := s.dispatch.index.Remove(ctx, id); err != nil {
		s.log.Warn("position not removed from the index", "courier", id, "error", err)
	}
}

// position gives where a courier was last seen.
func (x *dispatcher) position(id string) (geo.Point, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	v := x.couriers[id]
	if v == nil || !v.located {
		return geo.Point{}, false
	}
	return v.at, true
}

// locate notes where a courier is.
func (x *dispatcher) locate(c courier, at geo.Point) {
	x.mu.Lock()
	defer x.mu.Unlock()
	v := x.saw(c)
	v.at, v.located, v.saved = at, true, time.Now()
}

// moved takes in a courier's position: in memory always, to the store and as an event every now and then.
func (s *Service) moved(ctx context.Context, id string, at geo.Point) error {
	x, now := s.dispatch, time.Now()
	x.mu.Lock()
	v := x.couriers[id]
	known := v != nil
	x.mu.Unlock()
	if !known { // enrolled through another replica
		c, err := s.readCourier(ctx, id)
		if err != nil {
			return err
		}
		if c.ID == "" {
			return problem.New(problem.IllegalState, "say that you are online first")
		}
		x.mu.Lock()
		v = x.saw(c)
		x.mu.Unlock()
	}
	x.mu.Lock()
	v.at, v.located = at, true
	online, order := v.Online, v.OrderID
	save := now.Sub(v.saved) >= s.cfg.PositionSave
	if save {
		v.saved = now
	}
	tell := order != "" && now.Sub(v.told) >= s.cfg.LocationEvery
	if tell {
		v.told = now
	}
	carried, stale := v.carried, now.Sub(v.readAt) > s.cfg.Refresh
	if order == "" {
		x.match()
	}
	x.mu.Unlock()

	if online {
		s.place(ctx, id, at)
	}
	if save {
		op, err := positionOp(id, at, now)
		if err != nil {
			return err
		}
		if err := s.state.Transact(ctx, op); err != nil {
			return err
		}
	}
	if !tell {
		return nil
	}
	if stale {
		d, _, err := s.deliveries.Load(ctx, order)
		if err != nil {
			return err
		}
		x.mu.Lock()
		if v.OrderID == order {
			v.carried, v.readAt = d, now
		}
		x.mu.Unlock()
		carried = d
	}
	return s.tellLocation(ctx, id, carried, at, now)
}

// tellLocation publishes where the courier of an order is. It does not go through the outbox: the next one makes
// up for one that is lost.
func (s *Service) tellLocation(ctx context.Context, id string, d delivery, at geo.Point, now time.Time) error {
	if d.CourierID != id || d.Status != deliveryapi.Assigned && d.Status != deliveryapi.PickedUp {
		return nil
	}
	schema, data, err := deliveryapi.Events.Encode(deliveryapi.TypeLocationUpdated, &deliveryapi.LocationUpdatedData{
		OrderId: d.OrderID, CustomerId: d.CustomerID, RestaurantId: d.RestaurantID, CourierId: id,
		Lat: at.Lat, Lon: at.Lon, Eta: contract.Timestamp(s.arrival(d, at, now))})
	if err != nil {
		return err
	}
	stamp := strconv.FormatInt(now.UnixMilli(), 10)
	err = s.publisher.Publish(ctx, cloudevent.Topic(deliveryapi.LocationEntity), cloudevent.Event{
		SpecVersion: "1.0", ID: "location/" + d.OrderID + "/" + stamp, Source: s.source,
		Type: cloudevent.Prefix + deliveryapi.TypeLocationUpdated, Subject: d.OrderID, Time: now.UTC(),
		DataContentType: "application/json", DataSchema: schema, CorrelationID: d.OrderID, Sequence: stamp, Data: data,
	})
	if err != nil {
		s.log.Warn("location not published", "order", d.OrderID, "error", err)
	}
	return nil
}

// arrival is when a courier who is at a place will be at the door.
func (s *Service) arrival(d delivery, at geo.Point, now time.Time) time.Time {
	if d.Status == deliveryapi.Assigned {
		return s.eta(now, geo.Distance(at, d.Pickup.Point)+geo.Distance(d.Pickup.Point, d.Dropoff.Point))
	}
	return s.eta(now, geo.Distance(at, d.Dropoff.Point))
}
