package gateway

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// history plays the order service: one order of ann's, whose events are those appended.
type history struct {
	mu      sync.Mutex
	events  []cloudevent.Event
	asked   int
	ended   bool
	onAsked func() // called while a question for events is being answered
}

func (h *history) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if caller := web.Caller(r); caller.Subject != ann.Subject && caller.Role != web.RoleOperator {
		web.Fail(w, r, problem.New(problem.NotFound, "there is no such order"))
		return
	}
	h.mu.Lock()
	events, ended, hook := h.events, h.ended, h.onAsked
	h.onAsked = nil
	h.asked++
	h.mu.Unlock()
	if !strings.HasSuffix(r.URL.Path, "/events") {
		o := orderapi.Order{ID: anOrder, Status: orderapi.Placed, Version: len(events)}
		if ended {
			o.Status = orderapi.Delivered
		}
		_ = web.JSON(w, 200, o)
		return
	}
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	list := orderapi.EventList{Events: []orderapi.HistoryEvent{}}
	for _, e := range events[min(after, len(events)):] {
		list.Events = append(list.Events, orderapi.HistoryEvent{ID: e.ID, Type: e.Name(), Sequence: e.Seq(), Time: e.Time, Data: e.Data})
	}
	if hook != nil {
		hook()
	}
	_ = web.JSON(w, 200, list)
}

// append adds an event to the order's history and gives it.
func (h *history) append(name string) cloudevent.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := event(name, len(h.events)+1, `{"order_id":"`+anOrder+`","customer_id":"usr_ann","restaurant_id":"rst_1"}`)
	h.events = append(h.events, e)
	h.ended = h.ended || ends(name)
	return e
}

func event(name string, sequence int, data string) cloudevent.Event {
	stream, _, _ := strings.Cut(name, ".")
	return cloudevent.Event{SpecVersion: "1.0", ID: fmt.Sprintf("%s/%s/%d", stream, anOrder, sequence), Source: "dishmesh/test",
		Type: cloudevent.Prefix + name, Subject: anOrder, Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Sequence: strconv.Itoa(sequence),
		DataContentType: "application/json", Data: json.RawMessage(data)}
}

// value reads a gauge or a counter.
func value(m prometheus.Metric) float64 {
	var d dto.Metric
	if err := m.Write(&d); err != nil {
		panic(err)
	}
	return d.GetGauge().GetValue() + d.GetCounter().GetValue()
}

// deliver gives an event to the gateway as its sidecar does.
func (f *fixture) deliver(events ...cloudevent.Event) {
	f.t.Helper()
	for _, e := range events {
		b, err := json.Marshal(e)
		if err != nil {
			f.t.Fatal(err)
		}
		stream, _, _ := strings.Cut(e.Name(), ".")
		if e.Name() == "delivery.location-updated" {
			stream = "delivery.location"
		}
		w := httptest.NewRecorder()
		f.app.ServeHTTP(w, httptest.NewRequest("POST", topic.Path(cloudevent.Topic(stream)), strings.NewReader(string(b))))
		if !strings.Contains(w.Body.String(), "SUCCESS") {
			f.t.Fatalf("delivery of %s: %s", e.ID, w.Body)
		}
	}
}

// sse is an open stream as a client sees it: "id event" for each event, ": text" for each comment.
type sse struct {
	t     *testing.T
	resp  *http.Response
	lines chan string
}

func (f *fixture) serve() *httptest.Server {
	server := httptest.NewServer(f.public)
	f.t.Cleanup(server.Close)
	return server
}

func (f *fixture) open(server *httptest.Server, path string, id web.Identity, lastID string) *sse {
	f.t.Helper()
	ctx, cancel := context.WithCancel(f.t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", server.URL+path, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+f.token(id))
	if lastID != "" {
		r.Header.Set("Last-Event-ID", lastID)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { cancel(); resp.Body.Close() })
	s := &sse{t: f.t, resp: resp, lines: make(chan string, 1000)}
	go func() {
		defer close(s.lines)
		lines := bufio.NewScanner(resp.Body)
		id := ""
		for lines.Scan() {
			switch line := lines.Text(); {
			case strings.HasPrefix(line, ":"):
				s.lines <- line
			case strings.HasPrefix(line, "id: "):
				id = line[4:]
			case strings.HasPrefix(line, "event: "):
				s.lines <- strings.TrimSpace(id + " " + line[7:])
				id = ""
			}
		}
	}()
	return s
}

// want reads the lines that are named, in order.
func (s *sse) want(lines ...string) {
	s.t.Helper()
	for _, want := range lines {
		select {
		case got, ok := <-s.lines:
			if !ok || got != want {
				s.t.Fatalf("got %q (open: %v), want %q", got, ok, want)
			}
		case <-time.After(5 * time.Second):
			s.t.Fatalf("nothing came within 5 s, want %q", want)
		}
	}
}

func (s *sse) wantEnd() {
	s.t.Helper()
	select {
	case got, ok := <-s.lines:
		if ok {
			s.t.Fatalf("got %q, want the end", got)
		}
	case <-time.After(5 * time.Second):
		s.t.Fatal("the stream does not end")
	}
}

const orderLive = "/v1/orders/ORDER/live"

func liveOf(path string) string { return strings.Replace(path, "ORDER", anOrder, 1) }

func TestOrderLive(t *testing.T) {
	f, h := newFixture(t), &history{}
	f.mesh["order"] = h
	server := f.serve()
	h.append("order.placed")
	s := f.open(server, liveOf(orderLive), ann, "")
	if got := s.resp.Header.Get("Content-Type"); got != "text/event-stream" {
		t.Fatalf("got %d %s", s.resp.StatusCode, got)
	}
	s.want("1 order.placed")
	f.deliver(h.events[0]) // sent already: not again
	f.deliver(event("restaurant.ticket-accepted", 2, `{"order_id":"`+anOrder+`","restaurant_id":"rst_1","prep_minutes":5}`))
	f.deliver(event("delivery.offered", 2, `{"order_id":"`+anOrder+`","courier_id":"usr_rider"}`)) // the courier's business
	f.deliver(event("delivery.location-updated", 0, `{"order_id":"`+anOrder+`","courier_id":"usr_rider","lat":1,"lon":2}`))
	s.want("restaurant.ticket-accepted", "delivery.location-updated")
	second := h.append("order.accepted")
	f.deliver(second, second)
	h.append("order.picked-up") // its event is late: the next one shows the gap
	f.deliver(h.append("order.delivered"))
	s.want("2 order.accepted", "3 order.picked-up", "4 order.delivered", ": "+endedComment)
	s.wantEnd()
}

func TestOrderLiveResume(t *testing.T) {
	f, h := newFixture(t), &history{}
	f.mesh["order"] = h
	server := f.serve()
	for _, name := range []string{"order.placed", "order.accepted", "order.picked-up"} {
		h.append(name)
	}
	for lastID, want := range map[string][]string{
		"":  {"1 order.placed", "2 order.accepted", "3 order.picked-up"},
		"0": {"1 order.placed", "2 order.accepted", "3 order.picked-up"},
		"2": {"3 order.picked-up"},
		"3": nil,
		"9": nil, // an id that was never given
	} {
		s := f.open(server, liveOf(orderLive), ann, lastID)
		s.want(want...)
		s.resp.Body.Close()
	}
	last := f.open(server, liveOf(orderLive), ann, "9")
	f.deliver(h.append("order.delivered"))
	last.want("4 order.delivered", ": "+endedComment)
	last.wantEnd()
	after := f.open(server, liveOf(orderLive), ann, "4") // nothing is left to say
	after.want(": " + endedComment)
	after.wantEnd()
}

// An event that comes while the backlog is being fetched is neither lost nor sent twice.
func TestOrderLiveBetweenBacklogAndLive(t *testing.T) {
	f, h := newFixture(t), &history{}
	f.mesh["order"] = h
	server := f.serve()
	h.append("order.placed")
	h.onAsked = func() { f.deliver(h.append("order.accepted")) } // after the history was read
	s := f.open(server, liveOf(orderLive), ann, "")
	s.want("1 order.placed", "2 order.accepted")
	first := h.events[0]
	f.deliver(first, h.append("order.cancelled"))
	s.want("3 order.cancelled", ": "+endedComment)
}

func TestOrderLiveIsTheCustomers(t *testing.T) {
	f, h := newFixture(t), &history{}
	f.mesh["order"] = h
	h.append("order.placed")
	if err := problem.Read(f.do(f.request("GET", liveOf(orderLive), bob, ""))); problem.Of(err) != problem.NotFound {
		t.Errorf("got %v, want not-found", err)
	}
	delete(f.mesh, "order")
	if err := problem.Read(f.do(f.request("GET", liveOf(orderLive), ann, ""))); problem.Of(err) != problem.Unavailable {
		t.Errorf("got %v, want unavailable", err)
	}
	if got := value(f.hub.open); got != 0 {
		t.Errorf("%v listeners are left", got)
	}
}

// A stream that hears nothing looks for itself: the line to the broker may be broken.
func TestOrderLiveMendsItself(t *testing.T) {
	f, h := newFixture(t, func(c *Config) { c.Heartbeat = 20 * time.Millisecond }), &history{}
	f.mesh["order"] = h
	h.append("order.placed")
	s := f.open(f.serve(), liveOf(orderLive), ann, "")
	s.want("1 order.placed")
	h.append("order.rejected") // nobody tells
	for line := range s.lines {
		if line == "2 order.rejected" {
			s.want(": " + endedComment)
			return
		}
		if line != ": " {
			t.Fatalf("got %q", line)
		}
	}
	t.Fatal("the stream ended without the event")
}

func TestSidecarStart(t *testing.T) {
	f, h := newFixture(t), &history{}
	f.mesh["order"] = h
	f.resettle = time.Millisecond
	server := f.serve()
	h.append("order.placed")
	customer := f.open(server, liveOf(orderLive), ann, "")
	kitchen := f.open(server, "/v1/restaurants/rst_1/live", cook, "")
	customer.want("1 order.placed")
	runtest.Eventually(t, "the kitchen listens", func() bool { return value(f.hub.open) == 2 })
	h.append("order.accepted") // while there was no sidecar
	var asked atomic.Int32
	f.sidecar = func(context.Context) error {
		if asked.Add(1) < 3 {
			return errors.New("away")
		}
		return nil
	}
	ctx, cancel := context.WithCancel(t.Context())
	watching := make(chan struct{})
	go func() { defer close(watching); f.watchSidecar(ctx, time.Millisecond) }()
	defer func() { cancel(); <-watching }()
	customer.want("2 order.accepted")
	kitchen.want(": " + lostComment)
	kitchen.wantEnd()
}

func TestKitchenLive(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.serve(), "/v1/restaurants/rst_1/live", cook, "")
	f.deliver(
		event("restaurant.ticket-opened", 1, `{"order_id":"`+anOrder+`","restaurant_id":"rst_1"}`),
		event("restaurant.ticket-opened", 1, `{"order_id":"`+anOrder+`","restaurant_id":"rst_2"}`),
		event("restaurant.ticket-barred", 1, `{"order_id":"`+anOrder+`","restaurant_id":"rst_1"}`),
		event("order.placed", 1, `{"order_id":"`+anOrder+`","restaurant_id":"rst_1"}`),
		event("order.cancelled", 2, `{"order_id":"`+anOrder+`","restaurant_id":"rst_1"}`))
	s.want("restaurant.ticket-opened", "order.cancelled")
}

func TestCourierLive(t *testing.T) {
	f := newFixture(t)
	s := f.open(f.serve(), "/v1/couriers/me/live", rider, "")
	with := func(name, courier string) cloudevent.Event {
		return event(name, 1, `{"order_id":"`+anOrder+`","restaurant_id":"rst_1","courier_id":"`+courier+`"}`)
	}
	ready := event("restaurant.ticket-ready", 3, `{"order_id":"`+anOrder+`","restaurant_id":"rst_1"}`)
	f.deliver(with("delivery.offered", rider.Subject), with("delivery.offered", "usr_other"), with("delivery.courier-assigned", rider.Subject), ready)
	s.want("delivery.offered", "delivery.courier-assigned", "restaurant.ticket-ready")
	f.deliver(with("delivery.released", rider.Subject), ready) // no more the courier's order
	f.deliver(with("delivery.courier-assigned", rider.Subject))
	s.want("delivery.released", "delivery.courier-assigned", "restaurant.ticket-ready") // it was ready before
	f.deliver(with("delivery.delivered", rider.Subject))
	s.want("delivery.delivered")
	if got := len(f.hub.transits); got != 0 {
		t.Errorf("%d orders are still tracked", got)
	}
}

// What the courier carries since before the gateway started is asked for.
func TestCourierLiveKnowsTheOrder(t *testing.T) {
	f := newFixture(t)
	f.mesh["delivery"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"courier":{"courier_id":%q},"offers":[],"delivery":{"order_id":%q}}`, rider.Subject, anOrder)
	})
	s := f.open(f.serve(), "/v1/couriers/me/live", rider, "")
	f.deliver(event("restaurant.ticket-ready", 3, `{"order_id":"`+anOrder+`","restaurant_id":"rst_1"}`))
	s.want("restaurant.ticket-ready")
}

func TestPaymentEventsHideTheLedger(t *testing.T) {
	data := `{"order_id":"` + anOrder + `","amount":1200,"currency":"EUR","acquirer_reference":"x","postings":[{"account":"platform","amount":5}]}`
	e := event("payment.captured", 2, data)
	var d concerns
	if err := e.Into(&d); err != nil {
		t.Fatal(err)
	}
	f, err := eventFrame(e, d)
	if err != nil {
		t.Fatal(err)
	}
	want := "event: payment.captured\ndata: " + `{"type":"payment.captured","id":"payment/` + anOrder + `/2","subject":"` + anOrder +
		`","sequence":2,"time":"2026-03-01T12:00:00Z","dataschema":"proto:dishmesh.payment.v1.Event","data":{"order_id":"` + anOrder + `","amount":"1200","currency":"EUR"}}` + "\n\n"
	if diff := cmp.Diff(want, string(f.wire(true))); diff != "" {
		t.Error(diff)
	}
}

// A reader that does not read is cut off; the hub and the other streams don't notice.
func TestSlowReader(t *testing.T) {
	f := newFixture(t)
	server := f.serve()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /v1/restaurants/rst_1/live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", f.token(cook))
	quick := f.open(server, "/v1/restaurants/rst_2/live", boss, "")
	runtest.Eventually(t, "both listen", func() bool { return value(f.hub.open) == 2 })
	big := strings.Repeat("x", 500_000)
	for i := 1; value(f.hub.dropped) == 0; i++ {
		if i > 1000 {
			t.Fatal("1000 large events did not fill the buffer")
		}
		began := time.Now()
		f.deliver(event("restaurant.ticket-opened", i, `{"order_id":"`+anOrder+`","restaurant_id":"rst_1","note":"`+big+`"}`))
		if took := time.Since(began); took > 2*time.Second {
			t.Fatalf("an event waited %s for a slow reader", took)
		}
	}
	f.deliver(event("restaurant.ticket-opened", 1, `{"order_id":"`+anOrder+`","restaurant_id":"rst_2"}`))
	quick.want("restaurant.ticket-opened")
	if got := value(f.hub.open); got != 1 {
		t.Errorf("%v listeners are left, want 1", got)
	}
}

// A full buffer is told to the reader, who then connects again.
func TestTooSlowComment(t *testing.T) {
	f := newFixture(t)
	l := f.hub.listen(orderKey(anOrder))
	for i := range testConfig.StreamBuffer + 1 {
		f.deliver(event("order.placed", i+1, `{"order_id":"`+anOrder+`"}`))
	}
	n := 0
	for range l.frames {
		n++
	}
	if n != testConfig.StreamBuffer {
		t.Errorf("got %d events before the end, want %d", n, testConfig.StreamBuffer)
	}
	f.hub.leave(l) // a second time does no harm
	if got := value(f.hub.open); got != 0 {
		t.Errorf("%v listeners are left", got)
	}
}

func TestStreamsPerAccount(t *testing.T) {
	f := newFixture(t)
	server := f.serve()
	for range testConfig.StreamsEach {
		f.open(server, "/v1/restaurants/rst_1/live", cook, "")
	}
	resp := f.do(f.request("GET", "/v1/restaurants/rst_1/live", cook, ""))
	if err := problem.Read(resp); problem.Of(err) != problem.RateLimited || resp.Header.Get("Retry-After") == "" {
		t.Errorf("got %v", err)
	}
	f.open(server, "/v1/restaurants/rst_1/live", boss, "")
}

func TestOrdersThatNeverEndAreForgotten(t *testing.T) {
	f := newFixture(t)
	f.hub.carries("ord_old", "usr_rider")
	f.clock.advance(transitKept + time.Minute)
	f.hub.carries("ord_new", "usr_rider")
	if _, ok := f.hub.transits["ord_old"]; ok || len(f.hub.transits) != 1 {
		t.Errorf("got %d orders", len(f.hub.transits))
	}
}

func TestUnknownEventsAreAccepted(t *testing.T) {
	f := newFixture(t)
	f.deliver(event("order.invented-later", 1, `{"order_id":1}`), event("order.placed", 1, `{"order_id":1}`), event("order.placed", 1, `[]`))
}
