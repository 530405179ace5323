package payment_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/city/acquirer"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi/orderv2"
	"github.com/dishmesh/dishmesh/services/payment"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

const apiKey = "test-key"

var errBroken = errors.New("connection reset")

// fault is what happens to one exchange with the acquirer.
type fault int

const (
	pass       fault = iota
	dropBefore       // the request gets lost
	dropAfter        // the answer gets lost
	arriveLate       // the caller hears nothing; the request arrives when the test says so
)

// line is the connection to the city's own acquirer: a binding that can break.
type line struct {
	handler http.Handler
	book    string
	close   func()

	mu     sync.Mutex
	faults []fault // of the next exchanges; then pass
	late   []func()
	calls  []string // "post capture", "get operations"
}

func newLine(t testing.TB, dir string) *line {
	t.Helper()
	l := &line{book: filepath.Join(dir, "acquirer.jsonl")}
	a, err := acquirer.Open(acquirer.Config{BookPath: l.book, APIKey: apiKey, Silence: time.Minute, SlowBy: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	l.handler = a.Handler()
	l.close = func() { _ = a.Close() }
	return l
}

func (l *line) next(faults ...fault) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.faults = faults
}

func (l *line) log() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.calls)
}

// deliver lets the requests arrive that are late.
func (l *line) deliver() {
	l.mu.Lock()
	late := l.late
	l.late = nil
	l.mu.Unlock()
	for _, f := range late {
		f()
	}
}

// InvokeBinding does what bindings.http of Dapr does: metadata that starts with a capital becomes a header.
func (l *line) InvokeBinding(ctx context.Context, name, operation string, data []byte, metadata map[string]string) (sidecar.BindingResult, error) {
	if name != "acquirer" || metadata["errorIfNot2XX"] != "false" {
		return sidecar.BindingResult{}, errors.New("not the acquirer's binding")
	}
	exchange := func(ctx context.Context) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(ctx, strings.ToUpper(operation), "http://acquirer/"+strings.TrimLeft(metadata["path"], "/"), bytes.NewReader(data))
		for k, v := range metadata {
			if k[0] >= 'A' && k[0] <= 'Z' {
				r.Header.Set(k, v)
			}
		}
		w := httptest.NewRecorder()
		l.handler.ServeHTTP(w, r)
		return w
	}
	l.mu.Lock()
	f := pass
	if len(l.faults) > 0 {
		f, l.faults = l.faults[0], l.faults[1:]
	}
	l.calls = append(l.calls, operation+" "+verb(metadata["path"]))
	if f == arriveLate && operation == "post" {
		l.late = append(l.late, func() { exchange(context.Background()) })
	}
	l.mu.Unlock()
	switch f {
	case dropBefore, arriveLate:
		return sidecar.BindingResult{}, problem.Wrap(errBroken, problem.Unavailable, "acquirer can't be reached")
	case dropAfter:
		exchange(ctx)
		return sidecar.BindingResult{}, problem.Wrap(errBroken, problem.Unavailable, "acquirer can't be reached")
	}
	w := exchange(ctx)
	if ctx.Err() != nil {
		return sidecar.BindingResult{}, problem.Wrap(ctx.Err(), problem.Timeout, "acquirer does not answer")
	}
	return sidecar.BindingResult{Data: w.Body.Bytes(), Status: w.Code, Metadata: map[string]string{"statusCode": strconv.Itoa(w.Code)}}, nil
}

func verb(path string) string {
	if strings.HasPrefix(path, "/v1/operations/") {
		return "operations"
	}
	return path[strings.LastIndex(path, "/")+1:]
}

// flakyStore is a store that can fail before and after it has written.
type flakyStore struct {
	*sidecartest.Store
	mu     sync.Mutex
	skip   int // writes to the ledger that pass before the failures
	before int // failures left
	after  int
}

// fail lets skip writes to the ledger pass, then fails some before and some after they are written.
func (s *flakyStore) fail(skip, before, after int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.skip, s.before, s.after = skip, before, after
}

func (s *flakyStore) Transact(ctx context.Context, ops ...sidecar.Op) error {
	ledger := slices.ContainsFunc(ops, func(op sidecar.Op) bool { return strings.HasPrefix(op.Key, "payment/") })
	s.mu.Lock()
	if ledger && s.skip > 0 {
		s.skip--
		ledger = false
	}
	before, after := ledger && s.before > 0, ledger && s.after > 0
	if before {
		s.before--
	} else if after {
		s.after--
	}
	s.mu.Unlock()
	if before {
		return problem.Wrap(errBroken, problem.Unavailable, "the store does not answer")
	}
	err := s.Store.Transact(ctx, ops...)
	if err == nil && after {
		return problem.Wrap(errBroken, problem.Unavailable, "the store does not answer")
	}
	return err
}

// bench is a payment service on fakes, with the city's acquirer behind it.
type bench struct {
	t       testing.TB
	line    *line
	store   *flakyStore
	pub     *sidecartest.Publisher
	router  *mux.Router
	service run.Service
	client  paymentapi.Client
	logs    *bytes.Buffer
	stop    func()
}

// patient is a time-out that no call of a test reaches, unless it is meant to.
const patient = 5 * time.Second

func newBench(t testing.TB, timeout time.Duration) *bench {
	l := newLine(t, t.TempDir())
	t.Cleanup(l.close)
	return newBenchOn(t, l, &flakyStore{Store: sidecartest.NewStore()}, "one", timeout)
}

// newBenchOn is another replica on the same store.
func newBenchOn(t testing.TB, l *line, store *flakyStore, instance string, timeout time.Duration) *bench {
	t.Helper()
	b := &bench{t: t, line: l, store: store, pub: &sidecartest.Publisher{}, logs: &bytes.Buffer{}}
	d, _ := runtest.New(t, "payment")
	log := slog.New(slog.NewJSONHandler(&syncWriter{w: b.logs}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	ctx, cancel := context.WithCancel(t.Context())
	d.Log, d.State, d.Publisher, d.Binding = log, store, b.pub, l
	d.Outbox = outbox.New(store, b.pub, outbox.Options{Instance: instance, Log: log})
	d.Topics = topic.New(ctx, "payment", b.pub, log, prometheus.NewRegistry())
	s, err := payment.New(d, payment.Config{AcquirerAPIKey: apiKey, AcquirerTimeout: timeout, CommissionBP: 2000})
	if err != nil {
		t.Fatal(err)
	}
	b.service, b.router = s, runtest.Router(d, s)
	b.client = paymentapi.Client{Invoker: sidecartest.Mesh{"payment": b.router}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := d.Outbox.Run(ctx); err != nil {
			t.Errorf("outbox: %v", err)
		}
	}()
	b.stop = func() { cancel(); <-done }
	t.Cleanup(b.stop)
	runtest.Eventually(t, "the outbox is ready", d.Outbox.Ready)
	return b
}

type syncWriter struct {
	mu sync.Mutex
	w  io.Writer
}

func (s *syncWriter) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.w.Write(p)
}

func request(card string) paymentapi.AuthorizeRequest {
	return paymentapi.AuthorizeRequest{
		Amount: 2590, Currency: "EUR", Card: card, CustomerID: "usr_1", RestaurantID: "rst_1",
		Bill: paymentapi.Bill{Subtotal: 2400, DeliveryFee: 390, SurgeFee: 50, Discount: 250, Tax: 170},
	}
}

// run gives the outcome of a command as one word: the status, or the type of the problem.
func (b *bench) run(order, command string) string {
	var r paymentapi.Result
	var err error
	ctx := b.t.Context()
	switch command {
	case "authorize":
		r, err = b.client.Authorize(ctx, order, request("card_ok"))
	case "authorize declined":
		r, err = b.client.Authorize(ctx, order, request("card_declined"))
	case "capture":
		r, err = b.client.Capture(ctx, order)
	case "void":
		r, err = b.client.Void(ctx, order)
	case "refund":
		r, err = b.client.Refund(ctx, order, "kitchen_rejected")
	case "refund crashes": // after the intent is recorded, before anything is sent
		b.line.next(dropBefore, dropBefore)
		_, err = b.client.Refund(ctx, order, "kitchen_rejected")
	case "deliver":
		return b.deliver(order)
	default:
		b.t.Fatalf("no such command: %s", command)
	}
	if err != nil {
		return string(problem.Of(err))
	}
	if r.Reason != "" {
		return string(r.Status) + " " + r.Reason
	}
	return string(r.Status)
}

// deliver sends order.delivered as the sidecar does and says whether it was taken in or dead-lettered.
func (b *bench) deliver(order string) string {
	schema, data, err := orderapi.Events.Encode(orderapi.EventDelivered, &orderv2.DeliveredEvent{OrderId: order, CustomerId: "usr_1", RestaurantId: "rst_1", CourierId: "usr_9"})
	if err != nil {
		b.t.Fatal(err)
	}
	body, err := json.Marshal(cloudevent.Event{
		SpecVersion: "1.0", ID: "order/" + order + "/4", Source: "dishmesh/order", Type: "fooddelivery.order.delivered",
		Subject: order, Sequence: "4", Time: time.Now(), DataContentType: "application/json", DataSchema: schema, Data: data,
	})
	if err != nil {
		b.t.Fatal(err)
	}
	dead := b.deadLetters()
	w := httptest.NewRecorder()
	b.router.ServeHTTP(w, httptest.NewRequest("POST", "/events/fooddelivery.order", bytes.NewReader(body)))
	if !strings.Contains(w.Body.String(), "SUCCESS") {
		return "retry"
	}
	if b.deadLetters() > dead {
		return "dead letter"
	}
	return "ok"
}

func (b *bench) deadLetters() int {
	n := 0
	for _, s := range b.pub.Sent() {
		if strings.Contains(s.Topic, ".dlq.") {
			n++
		}
	}
	return n
}

// ledger reads the stored events of an order and checks what holds for every ledger: no gap, sums of zero, and a
// head that follows from the events.
func (b *bench) ledger(order string) []*paymentapi.Event {
	b.t.Helper()
	var head struct {
		Version int             `json:"version"`
		State   json.RawMessage `json:"state"`
	}
	item, err := b.store.Get(b.t.Context(), "payment/"+order)
	if err != nil {
		b.t.Fatal(err)
	}
	if !item.Exists() {
		return nil
	}
	if err := json.Unmarshal(item.Value, &head); err != nil {
		b.t.Fatal(err)
	}
	var events []cloudevent.Event
	var all []*paymentapi.Event
	for seq := 1; seq <= head.Version; seq++ {
		item, err := b.store.Get(b.t.Context(), "payment/"+order+"/"+pad(seq))
		if err != nil || !item.Exists() {
			b.t.Fatalf("event %d of %s is missing (%v)", seq, order, err)
		}
		var e cloudevent.Event
		if err := json.Unmarshal(item.Value, &e); err != nil {
			b.t.Fatal(err)
		}
		p := &paymentapi.Event{}
		if err := paymentapi.Events.Into(e, p); err != nil {
			b.t.Fatal(err)
		}
		var sum int64
		for _, posting := range p.Postings {
			sum += posting.Amount
		}
		if sum != 0 {
			b.t.Fatalf("the postings of %s sum to %d", e.ID, sum)
		}
		p.Reason = strings.TrimPrefix(e.Name(), "payment.") // the type, for short comparisons
		events, all = append(events, e), append(all, p)
	}
	state, err := payment.Replay(events)
	if err != nil {
		b.t.Fatal(err)
	}
	replayed, err := json.Marshal(state)
	if err != nil {
		b.t.Fatal(err)
	}
	if diff := cmp.Diff(string(head.State), string(replayed)); diff != "" {
		b.t.Fatalf("the head of %s is not what its events give (-head +replay):\n%s", order, diff)
	}
	return all
}

func pad(n int) string {
	s := strconv.Itoa(n)
	return strings.Repeat("0", 6-len(s)) + s
}

// movements lists what moved money or holds, from the ledger and from the acquirer's book, in one notation.
func (b *bench) movements(order string) (ledger, book []string) {
	b.t.Helper()
	verbs := map[string]string{"authorized": "authorize", "captured": "capture", "voided": "void", "refunded": "refund"}
	for _, e := range b.ledger(order) {
		if v := verbs[e.Reason]; v != "" && e.Amount != 0 {
			ledger = append(ledger, v+" "+strconv.FormatInt(e.Amount, 10)+" "+e.AcquirerReference)
		}
	}
	ops, err := acquirer.ReadBook(b.line.book)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, op := range ops {
		if op.MerchantReference != order || op.Outcome != acquirer.Approved {
			continue
		}
		id := map[acquirer.Kind]string{acquirer.Authorize: op.AuthorizationID, acquirer.Capture: op.CaptureID,
			acquirer.Void: op.AuthorizationID, acquirer.Refund: op.RefundID}[op.Kind]
		book = append(book, string(op.Kind)+" "+strconv.FormatInt(op.Amount, 10)+" "+id)
	}
	return ledger, book
}

// agree fails unless ledger and book tell the same story, and gives its verbs.
func (b *bench) agree(order string) []string {
	b.t.Helper()
	ledger, book := b.movements(order)
	if diff := cmp.Diff(book, ledger); diff != "" {
		b.t.Fatalf("book and ledger of %s differ (-book +ledger):\n%s", order, diff)
	}
	verbs := []string{}
	for _, m := range ledger {
		v, _, _ := strings.Cut(m, " ")
		verbs = append(verbs, v)
	}
	return verbs
}
