package notification

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// told is what is kept of a cause under told/<id>: what became of it by each channel.
type told struct {
	ID        string    `json:"id"`
	Cause     string    `json:"cause"` // id of the event
	Template  string    `json:"template"`
	User      string    `json:"user_id"`
	OrderID   string    `json:"order_id,omitempty"`
	CreatedAt time.Time `json:"created_at"`
	Channels  []state   `json:"channels"` // those that were tried
	Events    int       `json:"events"`   // published so far
}

// state is that of one notification.
type state struct {
	Channel  string     `json:"channel"`
	Subject  string     `json:"subject,omitempty"`
	Status   string     `json:"status"`
	SentAt   *time.Time `json:"sent_at,omitempty"`
	Attempts int        `json:"attempts"`
	Refused  bool       `json:"refused,omitempty"` // by the provider: not to be tried again
	Reason   string     `json:"reason,omitempty"`
}

func toldKey(id string) string { return "told/" + id }

// of gives the state of a channel, to be changed; a new one if it was not tried yet.
func (t *told) of(channel string) *state {
	for i := range t.Channels {
		if t.Channels[i].Channel == channel {
			return &t.Channels[i]
		}
	}
	t.Channels = append(t.Channels, state{Channel: channel})
	return &t.Channels[len(t.Channels)-1]
}

// final tells whether nothing is owed by a channel any more.
func (t *told) final(channel string) bool {
	for _, c := range t.Channels {
		if c.Channel == channel {
			return c.Status == notificationapi.Sent || c.Refused
		}
	}
	return false
}

// notifications lists them as the API shows them.
func (t *told) notifications() []notificationapi.Notification {
	var all []notificationapi.Notification
	for _, c := range t.Channels {
		all = append(all, notificationapi.Notification{
			ID: notificationID(t.Cause, c.Channel), Cause: t.Cause, Channel: c.Channel, Template: t.Template, OrderID: t.OrderID,
			Subject: c.Subject, Status: c.Status, CreatedAt: t.CreatedAt, SentAt: c.SentAt,
		})
	}
	return all
}

// keepFacts is for how long an order's facts are kept for the messages that follow, a refund being the last.
const keepFacts = 30 * 24 * time.Hour

// orderFacts is what later messages of an order need from order.placed.
type orderFacts struct {
	CustomerID string `json:"customer_id"`
	Restaurant string `json:"restaurant"`
	Currency   string `json:"currency"`
}

func orderKey(order string) string { return "order/" + order }

// view is what is known of a cause and its recipient, as it was read at once.
type view struct {
	contact contact
	told    told
	mailbox mailbox
	order   orderFacts

	toldItem, mailboxItem sidecar.Item
	orderKnown            bool
}

// read reads all that concerns an event, together with what is read for other events of the moment.
func (s *Service) read(ctx context.Context, e cloudevent.Event, n notice) (*view, error) {
	id := ids.Derive("ntc", e.ID)
	r := &reading{keys: []string{toldKey(id), mailboxKey(n.user), contactKey(n.user), orderKey(n.fact.OrderID)}}
	if n.fact.OrderID == "" {
		r.keys = r.keys[:3]
	}
	if err := s.reads.Do(ctx, r, e.Time); err != nil {
		return nil, err
	}
	v := &view{toldItem: r.items[0], mailboxItem: r.items[1]}
	for i, into := range []any{&v.told, &v.mailbox, &v.contact, &v.order}[:len(r.keys)] {
		if r.items[i].Exists() {
			if err := json.Unmarshal(r.items[i].Value, into); err != nil {
				return nil, fmt.Errorf("%s: %w", r.keys[i], err)
			}
		}
	}
	v.orderKnown = len(r.keys) > 3 && r.items[3].Exists()
	if n.contact != nil {
		v.contact = *n.contact
	} else if !r.items[2].Exists() {
		return nil, problem.New(problem.Unavailable, "how to reach %s isn't known yet", n.user)
	}
	if !v.toldItem.Exists() {
		v.told = told{ID: id, Cause: e.ID, Template: e.Name(), User: n.user, OrderID: n.fact.OrderID, CreatedAt: s.now().UTC()}
	}
	return v, nil
}

// ops are the writes that bring the store from v, as it was read, to v as it is now.
func (s *Service) ops(e cloudevent.Event, n notice, v *view, tried bool) ([]sidecar.Op, error) {
	var ops []sidecar.Op
	put := func(key string, value any, op sidecar.Op) error {
		b, err := json.Marshal(value)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		op.Key, op.Value = key, b
		ops = append(ops, op)
		return nil
	}
	if tried && !forgets {
		op := sidecar.Op{ETag: v.toldItem.ETag, Create: !v.toldItem.Exists(), TTL: s.cfg.KeepFor}
		if err := put(toldKey(v.told.ID), v.told, op); err != nil {
			return nil, err
		}
		if v.mailbox.add(v.told.ID) {
			op := sidecar.Op{ETag: v.mailboxItem.ETag, Create: !v.mailboxItem.Exists()}
			if err := put(mailboxKey(n.user), v.mailbox, op); err != nil {
				return nil, err
			}
		}
	}
	if e.Name() == orderapi.EventPlaced && !v.orderKnown {
		facts := orderFacts{CustomerID: n.user, Restaurant: n.fact.RestaurantName, Currency: n.fact.Currency}
		if err := put(orderKey(n.fact.OrderID), facts, sidecar.Op{TTL: keepFacts}); err != nil {
			return nil, err
		}
	}
	return ops, nil
}
