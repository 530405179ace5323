package delivery

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// courier is the record of a courier. Who writes it names its ETag, so that two orders can't both take one.
type courier struct {
	ID      string             `json:"courier_id"`
	Version int                `json:"version"` // of the record, so that an older reading never replaces a newer one
	Online  bool               `json:"online"`
	OrderID string             `json:"order_id,omitempty"` // assigned to the courier and not delivered yet
	Offer   *deliveryapi.Offer `json:"offer,omitempty"`
}

// free says whether the courier can be offered an order: works, carries none and has no other open offer.
func (c courier) free(order string, now time.Time) bool {
	return c.Online && c.OrderID == "" && (c.Offer == nil || c.Offer.OrderID == order || now.After(c.Offer.ExpiresAt))
}

// The keys of the store beside those of the aggregate.
const (
	couriersKey = "couriers" // ids of all couriers
	shards      = 16         // of the index of searching deliveries
)

func courierKey(id string) string  { return "courier/" + id }
func positionKey(id string) string { return "position/" + id }
func readyKey(order string) string { return "ready/" + order }
func shardKey(shard int) string    { return fmt.Sprintf("searching/%02d", shard) }

func shardOf(order string) int {
	h := fnv.New32a()
	h.Write([]byte(order))
	return int(h.Sum32() % shards)
}

// plan is one attempt at a change of a delivery: the events that happen, and the couriers that change with it, in
// one transaction.
type plan struct {
	state    sidecar.Store
	order    string
	now      time.Time
	d        delivery
	change   eventstore.Change
	items    map[string]sidecar.Item
	couriers map[string]*courier
	dirty    []string // couriers that changed
}

// fetch reads keys that were not read in this attempt, all at once.
func (p *plan) fetch(ctx context.Context, keys ...string) error {
	keys = slices.DeleteFunc(keys, func(k string) bool { _, ok := p.items[k]; return ok })
	if len(keys) == 0 {
		return nil
	}
	items, err := p.state.GetBulk(ctx, keys)
	if err != nil {
		return err
	}
	for i, k := range keys {
		p.items[k] = items[i]
	}
	return nil
}

// courier gives the record of a courier, nil if there is none. The index page of the order is read along with it,
// for most plans need both.
func (p *plan) courier(ctx context.Context, id string) (*courier, error) {
	if c, ok := p.couriers[id]; ok {
		return c, nil
	}
	if err := p.fetch(ctx, courierKey(id), shardKey(shardOf(p.order))); err != nil {
		return nil, err
	}
	item := p.items[courierKey(id)]
	if !item.Exists() {
		return nil, nil
	}
	c := &courier{}
	if err := json.Unmarshal(item.Value, c); err != nil {
		return nil, fmt.Errorf("courier %s: %w", id, err)
	}
	p.couriers[id] = c
	return c, nil
}

// changed marks a courier's record as to be written.
func (p *plan) changed(c *courier) {
	if !slices.Contains(p.dirty, c.ID) {
		c.Version++
		p.dirty = append(p.dirty, c.ID)
	}
}

// withdraw takes the order's offer from a courier's record, if it is still there.
func (p *plan) withdraw(ctx context.Context, id string) error {
	c, err := p.courier(ctx, id)
	if err == nil && c != nil && c.Offer != nil && c.Offer.OrderID == p.order {
		c.Offer = nil
		p.changed(c)
	}
	return err
}

// finish adds the operations for the couriers and, if the delivery enters or leaves the search, for the index.
func (p *plan) finish(ctx context.Context, was bool) error {
	for _, id := range p.dirty {
		value, err := json.Marshal(p.couriers[id])
		if err != nil {
			return fmt.Errorf("courier %s: %w", id, err)
		}
		p.change.Ops = append(p.change.Ops, sidecar.Op{Key: courierKey(id), Value: value, ETag: p.items[courierKey(id)].ETag})
	}
	is := p.d.searching()
	if was == is {
		return nil
	}
	key := shardKey(shardOf(p.order))
	if err := p.fetch(ctx, key); err != nil {
		return err
	}
	page := p.items[key]
	var orders []string
	if page.Exists() {
		if err := json.Unmarshal(page.Value, &orders); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	orders = slices.DeleteFunc(orders, func(o string) bool { return o == p.order })
	if is {
		orders = append(orders, p.order)
	}
	value, err := json.Marshal(orders)
	if err != nil {
		return err
	}
	p.change.Ops = append(p.change.Ops, sidecar.Op{Key: key, Value: value, ETag: page.ETag, Create: !page.Exists()})
	return nil
}
