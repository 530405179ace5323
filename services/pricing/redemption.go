package pricing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// redemption says which order redeemed a promotion; it stays when it was released, so that a release is idempotent.
type redemption struct {
	OrderID    string     `json:"order_id"`
	QuoteID    string     `json:"quote_id"`
	Code       string     `json:"code"`
	CustomerID string     `json:"customer_id"`
	At         time.Time  `json:"at"`
	ReleasedAt *time.Time `json:"released_at,omitempty"`
}

// counter is how often a code was redeemed, in all or by one customer.
type counter struct {
	Redeemed int `json:"redeemed"`
}

// redemptions are the promotions that orders took, in the state store: one key per order, one per quote (a quote
// with a promotion is good for one order), and a counter for each limit that a code has. They change together in
// one transaction on the ETags of what was read.
type redemptions struct {
	state sidecar.Store
	now   func() time.Time
	locks [32]sync.Mutex // writers of this process take turns instead of conflicting
}

// How long redemptions are remembered. After the first a release finds nothing to give back; the second only needs
// to outlive the quote.
const (
	keepRedemption = 90 * 24 * time.Hour
	keepUsedQuote  = 24 * time.Hour
)

// attempts bounds the tries of a transaction against writers of other replicas.
const attempts = 10

func orderKey(orderID string) string { return "redemption/" + orderID }
func quoteKey(quoteID string) string { return "quote/" + quoteID }
func codeKey(code string) string     { return "promotion/" + code }
func customerKey(code, customerID string) string {
	return "promotion/" + code + "/customer/" + customerID
}

// record is what is read and written together for one redemption. An item that a code has no limit for is unread.
type record struct {
	redemption             redemption
	quoteUsedBy            string
	inAll, byCustomer      counter
	order, quote, code, by sidecar.Item
}

func (r *redemptions) read(ctx context.Context, orderID, quoteID string, p promotion, customerID string) (rec record, err error) {
	keys := []string{orderKey(orderID), quoteKey(quoteID)}
	if p.Total > 0 {
		keys = append(keys, codeKey(p.Code))
	}
	if p.PerCustomer > 0 {
		keys = append(keys, customerKey(p.Code, customerID))
	}
	items, err := r.state.GetBulk(ctx, keys)
	if err != nil {
		return rec, err
	}
	rec.order, rec.quote = items[0], items[1]
	rest := items[2:]
	if p.Total > 0 {
		rec.code, rest = rest[0], rest[1:]
	}
	if p.PerCustomer > 0 {
		rec.by = rest[0]
	}
	return rec, errors.Join(decode(rec.order, &rec.redemption), decode(rec.quote, &rec.quoteUsedBy),
		decode(rec.code, &rec.inAll), decode(rec.by, &rec.byCustomer))
}

func decode(item sidecar.Item, v any) error {
	if !item.Exists() {
		return nil
	}
	if err := json.Unmarshal(item.Value, v); err != nil {
		return fmt.Errorf("redemption: %T: %w", v, err)
	}
	return nil
}

// possible says whether a customer could redeem a promotion right now; nothing is kept for them.
func (r *redemptions) possible(ctx context.Context, p promotion, customerID string) error {
	if p.Total == 0 && p.PerCustomer == 0 {
		return nil
	}
	rec, err := r.read(ctx, "none", "none", p, customerID)
	if err != nil {
		return err
	}
	return p.within(rec.inAll.Redeemed, rec.byCustomer.Redeemed)
}

// redeem takes the quote's promotion for an order, once: if the order has it already, nothing happens. Before it is
// taken for the first time, check must agree.
func (r *redemptions) redeem(ctx context.Context, q pricingapi.Quote, p promotion, orderID string, check func() error) error {
	return r.transact(ctx, p, q.CustomerID, func() ([]sidecar.Op, error) {
		rec, err := r.read(ctx, orderID, q.ID, p, q.CustomerID)
		if err != nil {
			return nil, err
		}
		if have := rec.redemption; rec.order.Exists() && have.ReleasedAt == nil {
			if have.QuoteID != q.ID {
				return nil, problem.New(problem.IllegalState, "order %s was confirmed with another quote", orderID)
			}
			return nil, nil
		}
		if err := check(); err != nil {
			return nil, err
		}
		if rec.quote.Exists() {
			return nil, problem.New(problem.PromotionExhausted, "the quote was ordered before; one with a promotion is good for one order")
		}
		if err := p.within(rec.inAll.Redeemed, rec.byCustomer.Redeemed); err != nil {
			return nil, err
		}
		rec.redemption = redemption{OrderID: orderID, QuoteID: q.ID, Code: p.Code, CustomerID: q.CustomerID, At: r.now().UTC()}
		rec.quoteUsedBy = orderID
		return rec.ops(p, q.ID, +1)
	})
}

// release gives back what an order took and reports whether there was anything.
func (r *redemptions) release(ctx context.Context, orderID string, find func(code string) promotion) (bool, error) {
	item, err := r.state.Get(ctx, orderKey(orderID))
	if err != nil || !item.Exists() {
		return false, err
	}
	var known redemption
	if err := decode(item, &known); err != nil {
		return false, err
	}
	if known.ReleasedAt != nil {
		return false, nil
	}
	p := find(known.Code)
	released := false
	err = r.transact(ctx, p, known.CustomerID, func() ([]sidecar.Op, error) {
		released = false
		rec, err := r.read(ctx, orderID, known.QuoteID, p, known.CustomerID)
		if err != nil || !rec.order.Exists() || rec.redemption.ReleasedAt != nil || rec.redemption.QuoteID != known.QuoteID {
			return nil, err
		}
		now := r.now().UTC()
		rec.redemption.ReleasedAt = &now
		released = true
		return rec.ops(p, known.QuoteID, -1)
	})
	return released && err == nil, err
}

// ops write the record back, with the counters moved by one. A released quote may be ordered again.
func (rec record) ops(p promotion, quoteID string, by int) ([]sidecar.Op, error) {
	var ops []sidecar.Op
	var errs []error
	put := func(key string, have sidecar.Item, v any, ttl time.Duration) {
		value, err := json.Marshal(v)
		errs = append(errs, err)
		ops = append(ops, sidecar.Op{Key: key, Value: value, ETag: have.ETag, Create: !have.Exists(), TTL: ttl})
	}
	put(orderKey(rec.redemption.OrderID), rec.order, rec.redemption, keepRedemption)
	switch {
	case by > 0:
		put(quoteKey(quoteID), rec.quote, rec.quoteUsedBy, keepUsedQuote)
	case rec.quote.Exists():
		ops = append(ops, sidecar.Op{Key: quoteKey(quoteID), ETag: rec.quote.ETag, Delete: true})
	}
	if p.Total > 0 {
		put(codeKey(p.Code), rec.code, counter{max(0, rec.inAll.Redeemed+by)}, 0)
	}
	if p.PerCustomer > 0 {
		put(customerKey(p.Code, rec.redemption.CustomerID), rec.by, counter{max(0, rec.byCustomer.Redeemed+by)}, 0)
	}
	return ops, errors.Join(errs...)
}

// transact writes what decide comes to, and lets it decide again if somebody else wrote in between.
func (r *redemptions) transact(ctx context.Context, p promotion, customerID string, decide func() ([]sidecar.Op, error)) error {
	contended := p.Code
	if p.Total == 0 {
		contended += "/" + customerID // customers don't meet in any key
	}
	h := fnv.New32a()
	h.Write([]byte(contended))
	lock := &r.locks[h.Sum32()%uint32(len(r.locks))]
	lock.Lock()
	defer lock.Unlock()
	for try := 1; ; try++ {
		ops, err := decide()
		if err != nil || len(ops) == 0 {
			return err
		}
		err = r.state.Transact(ctx, ops...)
		if !errors.Is(err, sidecar.ErrConflict) {
			return err
		}
		if try == attempts {
			return problem.Wrap(err, problem.Unavailable, "the promotion is redeemed by many at this moment").After(time.Second)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(rand.IntN(10*try)+1) * time.Millisecond):
		}
	}
}
