package gateway

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// hearers says on which kinds of stream an event is shown.
type hearers struct {
	order   bool // to the customer: of the order
	kitchen bool // of the restaurant
	courier bool // of the courier in the event, or who carries the order
}

// shown is who gets to see what. A type that is not in it is nobody's business outside.
var shown = map[string]hearers{
	orderapi.EventPlaced:          {order: true},
	orderapi.EventAccepted:        {order: true},
	orderapi.EventRejected:        {order: true},
	orderapi.EventPickedUp:        {order: true},
	orderapi.EventDelivered:       {order: true},
	orderapi.EventCancelRequested: {order: true},
	orderapi.EventCancelRefused:   {order: true},
	orderapi.EventCancelled:       {order: true, kitchen: true},
	orderapi.EventFailed:          {order: true},

	paymentapi.EventAuthorized: {order: true},
	paymentapi.EventDeclined:   {order: true},
	paymentapi.EventCaptured:   {order: true},
	paymentapi.EventVoided:     {order: true},
	paymentapi.EventRefunded:   {order: true},

	restaurantapi.TypeTicketOpened:    {order: true, kitchen: true},
	restaurantapi.TypeTicketAccepted:  {order: true, kitchen: true},
	restaurantapi.TypeTicketRejected:  {order: true, kitchen: true},
	restaurantapi.TypeTicketReady:     {order: true, kitchen: true, courier: true},
	restaurantapi.TypeTicketCancelled: {order: true, kitchen: true},

	deliveryapi.TypeRequested:          {order: true},
	deliveryapi.TypeOffered:            {courier: true},
	deliveryapi.TypeOfferDeclined:      {courier: true},
	deliveryapi.TypeOfferExpired:       {courier: true},
	deliveryapi.TypeCourierAssigned:    {order: true, courier: true},
	deliveryapi.TypeCourierUnavailable: {order: true},
	deliveryapi.TypeReleased:           {order: true, courier: true},
	deliveryapi.TypePickedUp:           {order: true, courier: true},
	deliveryapi.TypeDelivered:          {order: true, courier: true},
	deliveryapi.TypeLocationUpdated:    {order: true},
}

// ends reports whether nothing follows an event in the stream of its order.
func ends(eventType string) bool {
	switch eventType {
	case orderapi.EventDelivered, orderapi.EventRejected, orderapi.EventCancelled, orderapi.EventFailed:
		return true
	}
	return false
}

// frame is an event as it is sent, encoded once for all who get it.
type frame struct {
	sequence int    // of an order's event within the order, by which a stream is resumed; 0 for all others
	ends     bool   // the order's last event
	lost     bool   // no event: some may have been missed
	bytes    []byte // the event and data lines and the empty line after them
}

// liveEvent is the data of an event as it is sent.
type liveEvent struct {
	Type     string    `json:"type"`
	ID       string    `json:"id"`
	Subject  string    `json:"subject"`
	Sequence int       `json:"sequence"`
	Time     time.Time `json:"time"`
	// DataSchema names the message and version of the data.
	DataSchema string          `json:"dataschema,omitempty"`
	Data       json.RawMessage `json:"data"`
}

func newFrame(e liveEvent) (frame, error) {
	b, err := json.Marshal(e)
	if err != nil {
		return frame{}, err
	}
	out := make([]byte, 0, len(b)+len(e.Type)+16)
	out = append(append(append(out, "event: "...), e.Type...), "\ndata: "...)
	return frame{bytes: append(append(out, b...), "\n\n"...)}, nil
}

// listener is one stream's place in the hub. frames is closed by the hub when the listener is too slow.
type listener struct {
	key    string
	frames chan frame
}

// transit is what must be known of an order on its way: who carries it, and that it is ready.
type transit struct {
	courier string
	ready   *frame
	at      time.Time
}

// transitKept is after what time an order whose end was missed is forgotten.
const transitKept = 6 * time.Hour

// hub hands events to the streams that they concern. It never waits for a stream.
type hub struct {
	buffer  int
	now     func() time.Time
	open    prometheus.Gauge
	dropped prometheus.Counter

	mu        sync.Mutex
	listeners map[string]map[*listener]struct{}
	transits  map[string]*transit
	swept     time.Time
}

func newHub(buffer int, now func() time.Time, reg prometheus.Registerer) *hub {
	h := &hub{
		buffer: buffer, now: now, listeners: map[string]map[*listener]struct{}{}, transits: map[string]*transit{},
		open:    prometheus.NewGauge(prometheus.GaugeOpts{Name: "gateway_live_streams", Help: "Live streams that are open."}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "gateway_live_streams_too_slow_total", Help: "Live streams closed because their reader was too slow."}),
	}
	reg.MustRegister(h.open, h.dropped)
	return h
}

func orderKey(id string) string      { return "order/" + id }
func restaurantKey(id string) string { return "restaurant/" + id }
func courierKey(id string) string    { return "courier/" + id }

func (h *hub) listen(key string) *listener {
	l := &listener{key: key, frames: make(chan frame, h.buffer)}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners[key] == nil {
		h.listeners[key] = map[*listener]struct{}{}
	}
	h.listeners[key][l] = struct{}{}
	h.open.Inc()
	return l
}

// leave may be called after the hub has closed the listener itself.
func (h *hub) leave(l *listener) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.remove(l)
}

func (h *hub) remove(l *listener) {
	set := h.listeners[l.key]
	if _, ok := set[l]; !ok {
		return
	}
	delete(set, l)
	if len(set) == 0 {
		delete(h.listeners, l.key)
	}
	h.open.Dec()
}

func (h *hub) send(l *listener, f frame) {
	select {
	case l.frames <- f:
	default:
		h.remove(l)
		h.dropped.Inc()
		close(l.frames)
	}
}

func (h *hub) sendAll(key string, f frame) {
	for l := range h.listeners[key] {
		h.send(l, f)
	}
}

// handle takes an event in. It is a topic.Handler that never fails: what can't be shown is not worth a retry.
func (h *hub) handle(_ context.Context, e cloudevent.Event) error {
	name := e.Name()
	who, ok := shown[name]
	if !ok {
		return nil
	}
	var d concerns
	if e.Into(&d) != nil {
		return nil
	}
	if d.OrderID == "" {
		d.OrderID = e.Subject
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	courier := d.CourierID
	if courier == "" {
		if t := h.transits[d.OrderID]; t != nil {
			courier = t.courier
		}
	}
	var keys [3]string
	n := 0
	for _, k := range [...]struct {
		may bool
		key string
	}{{who.order, orderKey(d.OrderID)}, {who.kitchen, restaurantKey(d.RestaurantID)}, {who.courier, courierKey(courier)}} {
		if k.may && len(h.listeners[k.key]) > 0 {
			keys[n], n = k.key, n+1
		}
	}
	isReady := name == restaurantapi.TypeTicketReady
	if n > 0 || isReady {
		f, err := eventFrame(e, d)
		if err != nil {
			return nil
		}
		for _, key := range keys[:n] {
			h.sendAll(key, f)
		}
		if isReady {
			f.sequence = 0
			h.transit(d.OrderID).ready = &f
		}
	}
	h.track(name, d)
	return nil
}

// concerns is what all payloads have in common, in all their versions: whom an event concerns. The rest of a payload
// is passed on as it is, in whatever version it was written.
type concerns struct {
	OrderID      string `json:"order_id"`
	RestaurantID string `json:"restaurant_id"`
	CourierID    string `json:"courier_id"`
}

func eventFrame(e cloudevent.Event, d concerns) (frame, error) {
	name, schema, data := e.Name(), e.DataSchema, e.Data
	switch name {
	case paymentapi.EventAuthorized, paymentapi.EventDeclined, paymentapi.EventCaptured, paymentapi.EventVoided, paymentapi.EventRefunded:
		var p paymentapi.Event
		err := paymentapi.Events.Into(e, &p)
		if err == nil { // the postings are the ledger's, and the card is nobody's business
			schema, data, err = paymentapi.Events.Encode(name, &paymentapi.Event{
				OrderId: d.OrderID, Amount: p.Amount, Currency: p.Currency, Reason: p.Reason})
		}
		if err != nil {
			return frame{}, err
		}
	}
	f, err := newFrame(liveEvent{Type: name, ID: e.ID, Subject: e.Subject, Sequence: e.Seq(), Time: e.Time, DataSchema: schema, Data: data})
	if err != nil {
		return frame{}, err
	}
	if isOrderEvent(name) {
		f.sequence, f.ends = e.Seq(), ends(name)
	}
	return f, nil
}

func isOrderEvent(name string) bool { return len(name) > 6 && name[:6] == "order." }

// track keeps who carries what. The kitchen may have been done before there was a courier: then the courier hears
// of it upon the assignment.
func (h *hub) track(name string, d concerns) {
	switch name {
	case deliveryapi.TypeCourierAssigned:
		h.assign(d.OrderID, d.CourierID)
	case deliveryapi.TypeReleased, deliveryapi.TypeDelivered, restaurantapi.TypeTicketCancelled:
		delete(h.transits, d.OrderID)
	default:
		if ends(name) {
			delete(h.transits, d.OrderID)
		}
	}
}

func (h *hub) assign(order, courier string) {
	t := h.transit(order)
	t.courier = courier
	if t.ready != nil {
		h.sendAll(courierKey(courier), *t.ready)
	}
}

// carries tells the hub what it may have missed: that a courier carries an order.
func (h *hub) carries(order, courier string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.transit(order).courier = courier
}

func (h *hub) transit(order string) *transit {
	now := h.now()
	if now.Sub(h.swept) > time.Minute {
		h.swept = now
		for id, t := range h.transits {
			if now.Sub(t.at) > transitKept {
				delete(h.transits, id)
			}
		}
	}
	t := h.transits[order]
	if t == nil {
		t = &transit{at: now}
		h.transits[order] = t
	}
	return t
}

// lost tells all streams that events may have been missed.
func (h *hub) lost() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, set := range h.listeners {
		for l := range set {
			h.send(l, frame{lost: true})
		}
	}
}

// wire gives the frame as it is sent, with an id if the stream can be resumed from it.
func (f frame) wire(resumable bool) []byte {
	if !resumable || f.sequence == 0 {
		return f.bytes
	}
	return append(strconv.AppendInt([]byte("id: "), int64(f.sequence), 10), append([]byte{'\n'}, f.bytes...)...)
}
