package pricing

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// event delivers an event as the sidecar does.
func (f *fixture) event(entity, name, subject string, sequence int) {
	f.t.Helper()
	body, err := json.Marshal(cloudevent.Event{SpecVersion: "1.0", ID: fmt.Sprintf("%s/%s/%d", entity, subject, sequence), Source: "dishmesh/" + entity,
		Type: cloudevent.Prefix + name, Subject: subject, Time: f.clock.now(), Sequence: strconv.Itoa(sequence), Data: json.RawMessage("{}")})
	if err != nil {
		f.t.Fatal(err)
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, httptest.NewRequest("POST", topic.Path(cloudevent.Topic(entity)), strings.NewReader(string(body))))
	if w.Code != 200 || !strings.Contains(w.Body.String(), "SUCCESS") {
		f.t.Fatalf("event %s: %d %s", name, w.Code, w.Body)
	}
}

func (f *fixture) orders(name string, from, to int) {
	f.t.Helper()
	for n := from; n < to; n++ {
		f.event("order", name, fmt.Sprintf("ord_%d", n), 1)
	}
}

func (f *fixture) updateSurge() int64 {
	f.t.Helper()
	if err := f.surge.update(context.Background()); err != nil {
		f.t.Fatal(err)
	}
	return f.surge.current()
}

func TestSurgeFollowsOpenOrders(t *testing.T) {
	f := setUp(t)
	runtest.Start(t, f.deps)
	f.orders("order.placed", 0, 199)
	f.orders("order.placed", 0, 199) // repeats
	if got := f.updateSurge(); got != 0 {
		t.Errorf("surge %d with 199 open orders", got)
	}
	f.orders("order.placed", 199, 200)
	if got := f.updateSurge(); got != 2500 {
		t.Errorf("surge %d with 200 open orders", got)
	}
	q := f.mustAsk("usr_1", soups(1, ""))
	if q.SurgeBP != 2500 || q.SurgeFee != 65 {
		t.Errorf("quote has surge %d, fee %d", q.SurgeBP, q.SurgeFee)
	}
	f.orders("order.placed", 200, 400)
	if got := f.updateSurge(); got != 5000 {
		t.Errorf("surge %d with 400 open orders", got)
	}
	f.orders("order.delivered", 0, 80)
	if got := f.updateSurge(); got != 5000 {
		t.Errorf("surge %d with 320 open orders: it must not flutter", got)
	}
	f.orders("order.cancelled", 80, 90)
	if got := f.updateSurge(); got != 2500 {
		t.Errorf("surge %d with 310 open orders", got)
	}
	f.orders("order.failed", 90, 200)
	f.orders("order.rejected", 200, 400)
	f.orders("order.placed", 0, 400) // late repeats
	if got := f.updateSurge(); got != 0 {
		t.Errorf("surge %d with no open orders", got)
	}

	want := []int64{2500, 5000, 2500, 0}
	runtest.Eventually(t, "the changes are published", func() bool { return len(f.fakes.Publisher.Sent()) >= len(want) })
	var got []int64
	for _, sent := range f.fakes.Publisher.Sent() {
		var c pricingapi.SurgeChanged
		if err := pricingapi.Events.Into(sent.Event, &c); err != nil {
			t.Fatal(err)
		}
		if sent.Topic != "fooddelivery.pricing" || sent.Event.Name() != pricingapi.SurgeChangedEvent || sent.Event.Subject != "town" || c.Zone != "town" {
			t.Errorf("published %+v on %s", sent.Event, sent.Topic)
		}
		got = append(got, c.SurgeBp)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
}

func TestEndBeforePlaced(t *testing.T) {
	f := setUp(t)
	f.orders("order.delivered", 0, 1)
	f.orders("order.placed", 0, 1)
	if got := f.surge.orders.count(f.clock.now()); got != 0 {
		t.Errorf("%d open orders", got)
	}
}

func TestForgottenOrdersDoNotSurgeForEver(t *testing.T) {
	f := setUp(t)
	f.orders("order.placed", 0, 300)
	f.orders("order.delivered", 300, 400)
	f.clock.add(openAtMost + time.Second)
	if got := f.surge.orders.count(f.clock.now()); got != 0 {
		t.Errorf("%d open orders", got)
	}
	if got := len(f.surge.orders.ended); got != 0 {
		t.Errorf("%d ends are remembered", got)
	}
}

func TestReplicasAddUp(t *testing.T) {
	f := setUp(t)
	runtest.Start(t, f.deps)
	deps, fakes := runtest.New(t, "pricing")
	deps.State, deps.Instance, deps.Outbox = f.fakes.Store, "other", f.deps.Outbox
	other := setUpOn(t, defaults(t), deps, fakes, f.clock)
	f.orders("order.placed", 0, 100)
	other.orders("order.placed", 100, 220)
	if got := f.updateSurge(); got != 0 {
		t.Errorf("surge %d while one reported", got)
	}
	if got := other.updateSurge(); got != 2500 {
		t.Errorf("surge %d when both reported", got)
	}
	if got := f.updateSurge(); got != 2500 {
		t.Errorf("surge %d at the replica that did not decide", got)
	}
	f.clock.add(reportAge + time.Second) // the other is gone
	if got := f.updateSurge(); got != 0 {
		t.Errorf("surge %d after a replica went", got)
	}
}

func TestQuietLoadWritesNothing(t *testing.T) {
	f := setUp(t)
	keys := len(f.fakes.Store.Keys())
	f.orders("order.placed", 0, 9)
	f.updateSurge()
	if got := len(f.fakes.Store.Keys()); got != keys {
		t.Errorf("%d keys were written", got-keys)
	}
}

func TestParseSteps(t *testing.T) {
	for _, text := range []string{"200", "200:", ":1", "0:100", "200:-1", "200:2500,100:5000", "200:2500,300:1000", "200:2500,200:5000", "1:999999", "x:y"} {
		if got, err := parseSteps(text); err == nil {
			t.Errorf("%q gave %v", text, got)
		}
	}
	for text, want := range map[string]steps{"off": nil, "": nil, "200:2500, 400:5000": {{200, 2500}, {400, 5000}}} {
		got, err := parseSteps(text)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(step{})); err != nil || diff != "" {
			t.Errorf("%q: error %v (-want +got):\n%s", text, err, diff)
		}
	}
}
