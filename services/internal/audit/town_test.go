package audit_test

import (
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dishmesh/dishmesh/services/city/acquirer"
	"github.com/dishmesh/dishmesh/services/delivery"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/audit"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract/catalogue"
	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/order"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/restaurant"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

var streams = audit.Streams{
	Order:    audit.Stream{App: "order", Name: "order", Replay: order.Replay},
	Payment:  audit.Stream{App: "payment", Name: "payment", Replay: payment.Replay},
	Ticket:   audit.Stream{App: "restaurant", Name: "ticket", Replay: restaurant.Replay},
	Delivery: audit.Stream{App: "delivery", Name: "delivery", Replay: delivery.Replay},
}

// noon is when the audits of these tests take place; what the town has done lies an hour back.
var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// town is a data folder, written by hand.
type town struct {
	t     *testing.T
	dir   string
	dbs   map[string]*sql.DB
	clock time.Time
	book  []acquirer.Operation
}

func newTown(t *testing.T) *town {
	t.Helper()
	w := &town{t: t, dir: t.TempDir(), dbs: map[string]*sql.DB{}, clock: noon.Add(-time.Hour)}
	w.must(os.Mkdir(filepath.Join(w.dir, "state"), 0o700))
	w.must(os.Mkdir(filepath.Join(w.dir, "client"), 0o700))
	for _, app := range []string{"order", "payment", "restaurant", "delivery"} {
		db, err := sql.Open("sqlite", filepath.Join(w.dir, "state", app+".db")+"?_pragma=journal_mode(WAL)&_pragma=synchronous(0)")
		w.must(err)
		t.Cleanup(func() { _ = db.Close() })
		// As components-contrib makes it (state/sqlite/sqlite_migrations.go).
		_, err = db.Exec(`CREATE TABLE state (key TEXT NOT NULL PRIMARY KEY, value TEXT NOT NULL, is_binary BOOLEAN NOT NULL,
			etag TEXT NOT NULL, expiration_time TIMESTAMP DEFAULT NULL, update_time TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)`)
		w.must(err)
		w.dbs[app] = db
	}
	return w
}

func (w *town) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) config() audit.Config {
	return audit.Config{
		Stores: audit.SQLite{Dir: filepath.Join(w.dir, "state")}, Streams: streams,
		Book:    filepath.Join(w.dir, "acquirer.jsonl"),
		Journal: filepath.Join(w.dir, "client", customer.JournalFile),
		Now:     func() time.Time { return noon },
	}
}

func (w *town) audit() audit.Report {
	w.t.Helper()
	w.writeBook()
	r, err := audit.Run(w.t.Context(), w.config())
	w.must(err)
	return r
}

func (w *town) put(app, key string, value any) {
	w.t.Helper()
	raw, err := json.Marshal(value)
	w.must(err)
	_, err = w.dbs[app].Exec(`INSERT OR REPLACE INTO state (key, value, is_binary, etag) VALUES (?, ?, true, 'e')`,
		app+"||"+key, base64.StdEncoding.EncodeToString(raw))
	w.must(err)
}

func (w *town) delete(app, key string) {
	w.t.Helper()
	res, err := w.dbs[app].Exec(`DELETE FROM state WHERE key = ?`, app+"||"+key)
	w.must(err)
	if n, err := res.RowsAffected(); err != nil || n != 1 {
		w.t.Fatalf("%s is not there to be deleted", key)
	}
}

// get reads a stored value into v.
func (w *town) get(app, key string, v any) {
	w.t.Helper()
	var value string
	w.must(w.dbs[app].QueryRow(`SELECT value FROM state WHERE key = ?`, app+"||"+key).Scan(&value))
	raw, err := base64.StdEncoding.DecodeString(value)
	w.must(err)
	w.must(json.Unmarshal(raw, v))
}

// change edits a stored value as a JSON object.
func (w *town) change(app, key string, edit func(map[string]any)) {
	w.t.Helper()
	var v map[string]any
	w.get(app, key, &v)
	edit(v)
	w.put(app, key, v)
}

type event struct {
	kind string
	data any
}

// encode takes a message, or the JSON object that was written before there were messages.
func encode(kind string, data any) (string, []byte, error) {
	if m, ok := data.(proto.Message); ok {
		return catalogue.All.Encode(kind, m)
	}
	b, err := json.Marshal(data)
	return "", b, err
}

// append adds events to a stream, a second apart, and writes the head that follows.
func (w *town) append(s audit.Stream, id string, events ...event) {
	w.t.Helper()
	var all []cloudevent.Event
	for seq := 1; ; seq++ {
		var value string
		err := w.dbs[s.App].QueryRow(`SELECT value FROM state WHERE key = ?`, fmt.Sprintf("%s||%s/%s/%06d", s.App, s.Name, id, seq)).Scan(&value)
		if err != nil {
			break
		}
		var e cloudevent.Event
		w.get(s.App, fmt.Sprintf("%s/%s/%06d", s.Name, id, seq), &e)
		all = append(all, e)
	}
	for _, e := range events {
		w.clock = w.clock.Add(time.Second)
		schema, data, err := encode(e.kind, e.data)
		w.must(err)
		seq := strconv.Itoa(len(all) + 1)
		ev := cloudevent.Event{SpecVersion: "1.0", ID: s.Name + "/" + id + "/" + seq, Source: "dishmesh/" + s.App,
			Type: cloudevent.Prefix + e.kind, Subject: id, Time: w.clock, Sequence: seq, CorrelationID: id, DataSchema: schema, Data: data}
		all = append(all, ev)
		w.put(s.App, fmt.Sprintf("%s/%s/%06d", s.Name, id, len(all)), ev)
	}
	state, err := s.Replay(all)
	w.must(err)
	w.put(s.App, s.Name+"/"+id, map[string]any{"version": len(all), "at": w.clock, "state": state})
}

// What happens to an order, in the words of the streams. All orders cost 25.90.
const (
	total     = int64(2590)
	customer1 = "usr_1"
)

func (w *town) placed(id string) {
	w.append(streams.Order, id, event{orderapi.EventPlaced, &orderapi.PlacedEvent{OrderId: id, CustomerId: customer1,
		RestaurantId: "rst_1", Currency: "EUR", Subtotal: total, Total: total}})
	line, err := json.Marshal(customer.Acknowledgement{OrderID: id, AcknowledgedAt: w.clock, CustomerID: customer1, Total: total, Currency: "EUR"})
	w.must(err)
	f, err := os.OpenFile(w.config().Journal, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	w.must(err)
	_, err = f.Write(append(line, '\n'))
	w.must(err)
	w.must(f.Close())
}

// pay books a movement in the ledger and at the acquirer.
func (w *town) pay(id string, kind acquirer.Kind) {
	w.ledger(id, kind)
	w.charge(id, kind, 0)
}

func reference(id string, kind acquirer.Kind) string {
	if kind == acquirer.Void {
		kind = acquirer.Authorize
	}
	return string(kind)[:3] + "_" + id
}

func (w *town) ledger(id string, kind acquirer.Kind) {
	held, clearing := "order:"+id+":held", "order:"+id+":clearing"
	e := &paymentapi.Event{OrderId: id, Amount: total, Currency: "EUR", AcquirerReference: reference(id, kind)}
	move := func(debit, credit string) {
		e.Postings = append(e.Postings, &paymentapi.Event_Posting{Account: debit, Amount: total}, &paymentapi.Event_Posting{Account: credit, Amount: -total})
	}
	kinds := map[acquirer.Kind]string{acquirer.Authorize: paymentapi.EventAuthorized, acquirer.Capture: paymentapi.EventCaptured,
		acquirer.Void: paymentapi.EventVoided, acquirer.Refund: paymentapi.EventRefunded}
	switch kind {
	case acquirer.Authorize:
		move("acquirer:held", held)
	case acquirer.Capture:
		move(held, "acquirer:held")
		move("acquirer:receivable", clearing)
	case acquirer.Void:
		move(held, "acquirer:held")
	case acquirer.Refund:
		move(clearing, "acquirer:receivable")
	}
	w.append(streams.Payment, id, event{kinds[kind], e})
}

// charge writes an approved operation into the acquirer's book; extra makes another one of the same kind.
func (w *town) charge(id string, kind acquirer.Kind, extra int) {
	suffix := ""
	if extra > 0 {
		suffix = "_" + strconv.Itoa(extra)
	}
	w.book = append(w.book, acquirer.Operation{Sequence: int64(len(w.book) + 1), Time: w.clock, Kind: kind, Outcome: acquirer.Approved,
		IdempotencyKey: id + "/" + string(kind), MerchantReference: id, Amount: total, Currency: "EUR",
		AuthorizationID: reference(id, acquirer.Authorize) + map[bool]string{true: suffix}[kind == acquirer.Authorize],
		CaptureID:       reference(id, acquirer.Capture) + map[bool]string{true: suffix}[kind == acquirer.Capture],
		RefundID:        reference(id, acquirer.Refund)})
}

func (w *town) writeBook() {
	var lines []byte
	for _, op := range w.book {
		line, err := json.Marshal(op)
		w.must(err)
		lines = append(append(lines, line...), '\n')
	}
	w.must(os.WriteFile(w.config().Book, lines, 0o600))
}

func (w *town) paidOut(id string) {
	w.append(streams.Payment, id, event{paymentapi.EventPaidOut, &paymentapi.Event{OrderId: id, Amount: total, Postings: []*paymentapi.Event_Posting{
		{Account: "order:" + id + ":clearing", Amount: total}, {Account: "restaurant:rst_1:payable", Amount: -total}}}})
}

func (w *town) ticket(id, kind string) {
	data := map[string]any{"order_id": id, "restaurant_id": "rst_1", "customer_id": customer1}
	w.append(streams.Ticket, id, event{kind, data})
}

func (w *town) courier(id, kind, courier string) {
	w.append(streams.Delivery, id, event{kind, map[string]any{"order_id": id, "customer_id": customer1, "courier_id": courier}})
	switch kind {
	case deliveryapi.TypeCourierAssigned:
		w.put("delivery", "courier/"+courier, map[string]any{"courier_id": courier, "order_id": id})
	case deliveryapi.TypeDelivered, deliveryapi.TypeReleased:
		w.put("delivery", "courier/"+courier, map[string]any{"courier_id": courier})
	}
}

func (w *town) end(id string, status orderapi.Status) {
	kind := map[orderapi.Status]string{orderapi.Delivered: orderapi.EventDelivered, orderapi.Rejected: orderapi.EventRejected,
		orderapi.Cancelled: orderapi.EventCancelled}[status]
	if kind == "" {
		kind = orderapi.EventFailed
	}
	w.append(streams.Order, id, event{kind, map[string]any{"order_id": id, "status": status, "reason": "because", "detail": "so it was"}})
}

// settle fills the town with one order of each ending, and one that has just been placed.
func (w *town) settle() *town {
	w.placed("ord_delivered")
	w.pay("ord_delivered", acquirer.Authorize)
	w.ticket("ord_delivered", restaurantapi.TypeTicketOpened)
	w.ticket("ord_delivered", restaurantapi.TypeTicketAccepted)
	w.pay("ord_delivered", acquirer.Capture)
	w.courier("ord_delivered", deliveryapi.TypeRequested, "")
	w.courier("ord_delivered", deliveryapi.TypeCourierAssigned, "usr_c1")
	w.courier("ord_delivered", deliveryapi.TypePickedUp, "usr_c1")
	w.courier("ord_delivered", deliveryapi.TypeDelivered, "usr_c1")
	w.end("ord_delivered", orderapi.Delivered)
	w.paidOut("ord_delivered")

	w.placed("ord_rejected")
	w.pay("ord_rejected", acquirer.Authorize)
	w.ticket("ord_rejected", restaurantapi.TypeTicketOpened)
	w.ticket("ord_rejected", restaurantapi.TypeTicketRejected)
	w.pay("ord_rejected", acquirer.Void)
	w.end("ord_rejected", orderapi.Rejected)

	w.placed("ord_cancelled")
	w.pay("ord_cancelled", acquirer.Authorize)
	w.ticket("ord_cancelled", restaurantapi.TypeTicketOpened)
	w.ticket("ord_cancelled", restaurantapi.TypeTicketAccepted)
	w.pay("ord_cancelled", acquirer.Capture)
	w.courier("ord_cancelled", deliveryapi.TypeRequested, "")
	w.courier("ord_cancelled", deliveryapi.TypeCourierAssigned, "usr_c1")
	w.courier("ord_cancelled", deliveryapi.TypeReleased, "usr_c1")
	w.pay("ord_cancelled", acquirer.Refund)
	w.ticket("ord_cancelled", restaurantapi.TypeTicketCancelled)
	w.end("ord_cancelled", orderapi.Cancelled)

	w.placed("ord_declined")
	w.append(streams.Payment, "ord_declined", event{paymentapi.EventDeclined, &paymentapi.Event{OrderId: "ord_declined", Amount: total, Reason: "card_declined"}})
	w.end("ord_declined", orderapi.Declined)

	w.placed("ord_broken")
	w.pay("ord_broken", acquirer.Authorize)
	w.pay("ord_broken", acquirer.Capture)
	w.end("ord_broken", orderapi.CompensationFailed)

	w.clock = noon.Add(-10 * time.Second)
	w.placed("ord_new")
	w.pay("ord_new", acquirer.Authorize)
	return w
}

// copyState copies the stores as a crash would leave them: without what SQLite keeps in shared memory.
func (w *town) copyState() string {
	dir := w.t.TempDir()
	files, err := filepath.Glob(filepath.Join(w.dir, "state", "*"))
	w.must(err)
	for _, f := range files {
		if filepath.Ext(f) == ".db-shm" {
			continue
		}
		b, err := os.ReadFile(f)
		w.must(err)
		w.must(os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o600))
	}
	return dir
}
