package audit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/city/acquirer"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// facts are what the sources say, boiled down to what the invariants are about.
type facts struct {
	cfg        Config
	read       time.Time // when the orders were read; what is younger may belong to an order not seen
	journal    []customer.Acknowledgement
	orders     map[string]orderFact
	payments   map[string]*paymentFact
	tickets    map[string]ticketFact
	deliveries map[string]deliveryFact
	shifts     map[string][]shift // by courier
	couriers   map[string]string  // who carries what, by the couriers' own records
	boards     map[string]string  // order to restaurant, for tickets that count as work on a board
	book       map[string][]movement
	bookTotal  int

	streams, events int
	gaps            []string // invariant 5
	ledgerFaults    []string // invariant 3
	accounts        map[string]int64
	notes           []string

	ends        map[string]int                    // the last event of each stream that was read, by <stream>/<id>
	known       map[string]map[string]inbox.State // the inboxes as they were before the streams were read
	stored      []stored                          // what consumers are held to
	slots       []slot                            // publications that are not known to be done
	unpublished map[string]bool                   // the ids of the events in them
	inboxes     map[string]map[string]inbox.State // by app and <stream>/<id>
	notices     map[string]notice                 // by the id of their cause
	sent        map[string]copies                 // by notification id
	pending     int                               // messages that are on their way
}

type orderFact struct {
	orderapi.Order
	at time.Time // of its last event
}

// movement is one thing that happened to money or to a hold. id is the acquirer's name for it.
type movement struct {
	kind   acquirer.Kind
	amount int64
	id     string
	at     time.Time
}

func (m movement) String() string { return fmt.Sprintf("%s %d (%s)", m.kind, m.amount, m.id) }

type paymentFact struct {
	status    paymentapi.Status
	first, at time.Time
	movements []movement
	balances  map[string]int64
}

// sum adds up the movements of one kind, and counts them.
func (p *paymentFact) sum(kind acquirer.Kind) (amount int64, n int) {
	for _, m := range p.movements {
		if m.kind == kind {
			amount += m.amount
			n++
		}
	}
	return amount, n
}

type ticketFact struct {
	status restaurantapi.Status
	first  time.Time
}

type deliveryFact struct {
	status  deliveryapi.Status
	courier string
	first   time.Time
}

// shift is the time in which a courier had an order. A zero end: has it still.
type shift struct {
	order    string
	from, to time.Time
}

func (cfg Config) gather(ctx context.Context) (*facts, error) {
	f := &facts{
		cfg: cfg, orders: map[string]orderFact{}, payments: map[string]*paymentFact{}, tickets: map[string]ticketFact{},
		deliveries: map[string]deliveryFact{}, shifts: map[string][]shift{}, couriers: map[string]string{},
		boards: map[string]string{}, book: map[string][]movement{}, accounts: map[string]int64{}, notes: []string{},
		ends: map[string]int{}, unpublished: map[string]bool{}, notices: map[string]notice{}, sent: map[string]copies{},
	}
	if err := f.readJournal(); err != nil {
		return nil, err
	}
	var err error
	if f.known, err = f.readInboxes(ctx); err != nil {
		return nil, err
	}
	f.read = cfg.Now()
	for _, source := range []struct {
		stream Stream
		take   func(history) error
		more   func(context.Context, Snapshot) error
	}{
		{cfg.Streams.Order, f.takeOrder, nil},
		{cfg.Streams.Payment, f.takePayment, nil},
		{cfg.Streams.Ticket, f.takeTicket, f.readBoards},
		{cfg.Streams.Delivery, f.takeDelivery, f.readCouriers},
	} {
		if err := f.readStream(ctx, source.stream, source.take, source.more); err != nil {
			return nil, err
		}
	}
	for _, other := range cfg.Streams.Others {
		if err := f.readStream(ctx, other, nil, nil); err != nil && !errors.Is(err, ErrNoStore) {
			return nil, err
		}
	}
	if err := f.readMessages(ctx); err != nil {
		return nil, err
	}
	if err := f.readNotices(ctx); err != nil {
		return nil, err
	}
	return f, f.readOutside(ctx)
}

// readOutside reads what the outside world has received. It comes after the stores: what a store says was done, was done
// before.
func (f *facts) readOutside(ctx context.Context) error {
	if f.cfg.Fetch != nil {
		if err := f.cfg.Fetch(ctx); err != nil {
			return err
		}
	}
	if f.cfg.Notices.App != "" {
		for _, channel := range sorted(f.cfg.Notices.Journals) {
			if err := f.readSent(channel, f.cfg.Notices.Journals[channel]); err != nil {
				return err
			}
		}
	}
	return f.readBook()
}

// readStream reads one stream in one snapshot, checks what holds for every stream, and hands each history on.
func (f *facts) readStream(ctx context.Context, s Stream, take func(history) error, more func(context.Context, Snapshot) error) (err error) {
	snapshot, err := f.cfg.Stores.Open(ctx, s.App)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	err = s.each(ctx, snapshot, func(h history) error {
		f.ends[s.Name+"/"+h.id] = h.version
		if h.old {
			return nil
		}
		f.streams++
		f.events += len(h.events)
		f.gaps = append(f.gaps, s.gaps(h)...)
		f.keepEvents(s, h)
		if err := s.replayed(h); err != nil {
			f.ledgerFaults = append(f.ledgerFaults, err.Error())
		}
		if take == nil {
			return nil
		}
		return take(h)
	})
	if err == nil && more != nil {
		err = more(ctx, snapshot)
	}
	return err
}

func decode(h history, state any) error {
	if !h.hasHead {
		return nil
	}
	if err := json.Unmarshal(h.state, state); err != nil {
		return fmt.Errorf("the state of %s can't be read: %w", h.id, err)
	}
	return nil
}

func orderOf(h history) (orderapi.Order, error) {
	var s struct {
		Order orderapi.Order `json:"order"`
	}
	return s.Order, decode(h, &s)
}

func (f *facts) takeOrder(h history) error {
	o, err := orderOf(h)
	if h.hasHead {
		f.orders[h.id] = orderFact{o, h.at}
	}
	return err
}

// movementKinds says which events of the ledger the acquirer must have in its book.
var movementKinds = map[string]acquirer.Kind{
	paymentapi.EventAuthorized: acquirer.Authorize,
	paymentapi.EventCaptured:   acquirer.Capture,
	paymentapi.EventVoided:     acquirer.Void,
	paymentapi.EventRefunded:   acquirer.Refund,
}

func (f *facts) takePayment(h history) error {
	var s struct {
		Status paymentapi.Status `json:"status"`
	}
	if err := decode(h, &s); err != nil {
		return err
	}
	p := &paymentFact{status: s.Status, at: h.at, balances: map[string]int64{}}
	for i, e := range h.events {
		var data paymentapi.Event
		if err := paymentapi.Events.Into(e, &data); err != nil {
			return err
		}
		if i == 0 {
			p.first = e.Time
		}
		if kind, ok := movementKinds[e.Name()]; ok && data.Amount != 0 {
			p.movements = append(p.movements, movement{kind, data.Amount, data.AcquirerReference, e.Time})
		}
		var sum int64
		for _, posting := range data.Postings {
			sum += posting.Amount
			p.balances[posting.Account] += posting.Amount
			f.accounts[posting.Account] += posting.Amount
		}
		if sum != 0 {
			f.ledgerFaults = append(f.ledgerFaults, fmt.Sprintf("%s: the postings of event %s (%s) sum to %d", h.id, e.Sequence, e.Name(), sum))
		}
	}
	f.payments[h.id] = p
	return nil
}

func (f *facts) takeTicket(h history) error {
	var s struct {
		Status restaurantapi.Status `json:"status"`
	}
	if err := decode(h, &s); err != nil {
		return err
	}
	f.tickets[h.id] = ticketFact{s.Status, firstTime(h)}
	return nil
}

func (f *facts) takeDelivery(h history) error {
	var s struct {
		Status    deliveryapi.Status `json:"status"`
		CourierID string             `json:"courier_id"`
	}
	if err := decode(h, &s); err != nil {
		return err
	}
	f.deliveries[h.id] = deliveryFact{s.Status, s.CourierID, firstTime(h)}
	var open shift
	var courier string
	for _, e := range h.events {
		switch e.Name() {
		case deliveryapi.TypeCourierAssigned:
			var d deliveryapi.CourierAssignedData
			if err := deliveryapi.Events.Into(e, &d); err != nil {
				return err
			}
			if courier != "" { // handed over without a release
				f.shifts[courier] = append(f.shifts[courier], open)
			}
			courier, open = d.CourierId, shift{order: h.id, from: e.Time}
		case deliveryapi.TypeReleased, deliveryapi.TypeDelivered:
			if courier != "" {
				open.to = e.Time
				f.shifts[courier] = append(f.shifts[courier], open)
				courier = ""
			}
		}
	}
	if courier != "" {
		f.shifts[courier] = append(f.shifts[courier], open)
	}
	return nil
}

func firstTime(h history) time.Time {
	if len(h.events) == 0 {
		return h.at
	}
	return h.events[0].Time
}

// readCouriers reads the couriers' own records from the snapshot of the deliveries.
func (f *facts) readCouriers(ctx context.Context, from Snapshot) error {
	return from.Each(ctx, "courier/", func(key string, value []byte) error {
		var c struct {
			OrderID string `json:"order_id"`
		}
		if err := json.Unmarshal(value, &c); err != nil {
			return fmt.Errorf("%s is damaged: %w", key, err)
		}
		f.couriers[strings.TrimPrefix(key, "courier/")] = c.OrderID
		return nil
	})
}

// readBoards reads which tickets the kitchens' boards count as work, from the snapshot of the tickets.
func (f *facts) readBoards(ctx context.Context, from Snapshot) error {
	return from.Each(ctx, "board/", func(key string, value []byte) error {
		var b struct {
			Tickets []struct {
				OrderID string               `json:"order_id"`
				Status  restaurantapi.Status `json:"status"`
			} `json:"tickets"`
		}
		if err := json.Unmarshal(value, &b); err != nil {
			return fmt.Errorf("%s is damaged: %w", key, err)
		}
		for _, t := range b.Tickets {
			if t.Status != restaurantapi.Ready {
				f.boards[t.OrderID] = strings.TrimPrefix(key, "board/")
			}
		}
		return nil
	})
}

// readJournal reads what customers were promised. A line that a crash has torn was promised to nobody who knows it.
func (f *facts) readJournal() error {
	b, err := os.ReadFile(f.cfg.Journal)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the customers' journal can't be read: %w", err)
	}
	for n, line := range strings.Split(string(b), "\n") {
		if strings.TrimSpace(line) == "" {
			continue
		}
		var a customer.Acknowledgement
		if err := json.Unmarshal([]byte(line), &a); err != nil || a.OrderID == "" {
			f.notes = append(f.notes, fmt.Sprintf("line %d of the customers' journal is torn and was left out", n+1))
			continue
		}
		if !a.AcknowledgedAt.Before(f.cfg.Since) {
			f.journal = append(f.journal, a)
		}
	}
	return nil
}

// readBook reads the approved operations of the acquirer, by what the merchant calls the purchase.
func (f *facts) readBook() error {
	ops, err := acquirer.ReadBook(f.cfg.Book)
	if err != nil {
		return fmt.Errorf("the acquirer's book can't be read: %w", err)
	}
	for _, op := range ops {
		if op.Outcome != acquirer.Approved || op.Time.Before(f.cfg.Since) {
			continue
		}
		m := movement{op.Kind, op.Amount, op.AuthorizationID, op.Time}
		switch op.Kind {
		case acquirer.Capture:
			m.id = op.CaptureID
		case acquirer.Refund:
			m.id = op.RefundID
		}
		f.book[op.MerchantReference] = append(f.book[op.MerchantReference], m)
		f.bookTotal++
	}
	return nil
}
