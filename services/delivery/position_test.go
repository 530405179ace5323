package delivery_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

func (w *world) moves(n int, to geo.Point) {
	w.t.Helper()
	w.must(w.do(courier(n), "PUT", "/v1/couriers/me/position", map[string]any{"lat": to.Lat, "lon": to.Lon}, nil))
}

func (w *world) locations() []*deliveryapi.LocationUpdatedData {
	w.t.Helper()
	var got []*deliveryapi.LocationUpdatedData
	for _, p := range w.fakes.Publisher.Sent() {
		if p.Topic != cloudevent.Topic(deliveryapi.LocationEntity) {
			continue
		}
		w.must(p.Event.Validate())
		d := &deliveryapi.LocationUpdatedData{}
		w.must(deliveryapi.Events.Into(p.Event, d))
		got = append(got, d)
	}
	return got
}

func TestLocationIsToldOnlyWithAnOrder(t *testing.T) {
	cfg := config(t)
	cfg.LocationEvery = time.Hour
	w := start(t, cfg, nil)
	w.online(1, at(1000))
	w.moves(1, at(900))
	if got := w.locations(); len(got) != 0 {
		t.Errorf("without an order: %+v", got)
	}
	w.dispatch("ord_1")
	w.must(w.courierDoes(1, "accept", "ord_1"))
	w.moves(1, at(800))
	w.moves(1, at(700)) // too soon after the last
	got := w.locations()
	if len(got) != 1 || got[0].OrderId != "ord_1" || got[0].CustomerId != "usr_customer" || got[0].Lat != at(800).Lat || got[0].Eta == nil {
		t.Fatalf("got %+v", got)
	}
	if p := w.get("ord_1").Courier; p == nil || *p != at(700) {
		t.Errorf("tracking: got %v, want the latest position", p)
	}
}

func TestPositionSurvivesARestart(t *testing.T) {
	cfg := config(t)
	cfg.PositionSave = 0
	first := start(t, cfg, nil)
	first.online(1, at(1000))
	first.dispatch("ord_1")
	first.must(first.courierDoes(1, "accept", "ord_1"))
	first.moves(1, at(300))
	first.stop()
	w := start(t, cfg, first.fakes.Store)
	if p := w.get("ord_1").Courier; p == nil || *p != at(300) {
		t.Errorf("got %v", p)
	}
	w.moves(1, at(200))
	if got := w.locations(); len(got) != 1 || got[0].OrderId != "ord_1" {
		t.Errorf("the order of the courier is not known after the restart: %+v", got)
	}
}

func TestComingWithinReachGetsTheWaitingOrder(t *testing.T) {
	w := start(t, config(t), nil)
	w.online(1, centre)
	w.dispatch("ord_1")
	w.must(w.courierDoes(1, "accept", "ord_1"))
	w.dispatch("ord_2") // waits for courier 1
	w.online(2, at(50_000))
	w.moves(2, at(5_000))
	w.eventually("the courier is asked", func() bool { return w.offered(2, "ord_2") })
}

func (w *world) takesIn(kind string, data string) *httptest.ResponseRecorder {
	body := `{"specversion":"1.0","id":"ticket/ord_1/3","source":"dishmesh/restaurant","type":"fooddelivery.` + kind +
		`","subject":"ord_1","sequence":"3","time":"2026-01-01T12:00:00Z","datacontenttype":"application/json","data":` + data + `}`
	r := httptest.NewRequest(http.MethodPost, topic.Path(cloudevent.Topic("restaurant")), strings.NewReader(body))
	rec := httptest.NewRecorder()
	w.http.ServeHTTP(rec, r)
	return rec
}

func TestReadyInAnyOrder(t *testing.T) {
	ready := `{"order_id":"ord_1","restaurant_id":"rst_1"}`
	for _, first := range []bool{true, false} {
		w := start(t, config(t), nil)
		w.online(1, centre)
		if first {
			w.takesIn("restaurant.ticket-ready", ready)
		}
		w.dispatch("ord_1")
		if got := w.get("ord_1").Ready; got != first {
			t.Errorf("ready before the request %v: got %v", first, got)
		}
		for range 2 {
			if rec := w.takesIn("restaurant.ticket-ready", ready); !strings.Contains(rec.Body.String(), "SUCCESS") {
				t.Errorf("got %s", rec.Body)
			}
		}
		w.takesIn("restaurant.ticket-opened", ready)
		if !w.get("ord_1").Ready {
			t.Error("not ready")
		}
	}
}

func TestMalformedReadyIsADeadLetter(t *testing.T) {
	w := start(t, config(t), nil)
	w.takesIn("restaurant.ticket-ready", `{}`)
	sent := w.fakes.Publisher.Sent()
	if len(sent) != 1 || sent[0].Topic != "fooddelivery.restaurant.dlq.delivery" {
		t.Errorf("got %+v", sent)
	}
}

func TestNotReadyYetIsUnavailable(t *testing.T) {
	deps, service := unstarted(t)
	w := &world{t: t, deps: deps, http: service}
	wantProblem(t, w.do(courier(1), "POST", "/internal/deliveries/ord_1/dispatch", request(), nil), problem.Unavailable)
}
