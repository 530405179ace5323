package order

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi/orderv2"
)

// produced lets an order service that is set by EVENT_VERSIONS see an order through, and gives its order.delivered.
// The service is then started again as it is by default, on the same store: what it wrote must still load.
func produced(t *testing.T, versions string) cloudevent.Event {
	t.Helper()
	d, fakes := runtest.New(t, "order")
	s, err := newService(d, Config{EventVersions: versions}, &noting{})
	if err != nil {
		t.Fatal(err)
	}
	runtest.Start(t, d)
	placed := &orderapi.PlacedEvent{OrderId: "ord_1", CustomerId: "usr_1", RestaurantId: "rst_01", Currency: "EUR",
		Subtotal: 1890, DeliveryFee: 290, SurgeFee: 50, Discount: 100, Tax: 140, Total: 2130}
	if _, _, err := s.place(t.Context(), placed, "card_ok"); err != nil {
		t.Fatal(err)
	}
	schema, data, err := deliveryapi.Events.Encode(deliveryapi.TypeDelivered, &deliveryapi.DeliveredData{OrderId: "ord_1", CourierId: "usr_9"})
	if err != nil {
		t.Fatal(err)
	}
	status := runtest.Deliver(t, runtest.Router(d, s), cloudevent.Event{SpecVersion: "1.0", ID: "delivery/ord_1/5", Source: "dishmesh/delivery",
		Type: cloudevent.Prefix + deliveryapi.TypeDelivered, Subject: "ord_1", Sequence: "5", DataSchema: schema, Data: data})
	if status != "SUCCESS" {
		t.Fatal(status)
	}
	var got cloudevent.Event
	runtest.Eventually(t, "order.delivered is published", func() bool {
		for _, p := range fakes.Publisher.Sent() {
			if p.Event.Name() == orderapi.EventDelivered {
				got = p.Event
			}
		}
		return got.ID != ""
	})
	later, _ := runtest.New(t, "order")
	later.State = fakes.Store
	again, err := newService(later, Config{}, &noting{})
	if err != nil {
		t.Fatal(err)
	}
	if st, err := again.orders.At(t.Context(), "ord_1", 3); err != nil || st.Order.Status != orderapi.Delivered {
		t.Errorf("after a restart: %s, %v", st.Order.Status, err)
	}
	return got
}

// reader is a consumer of order.delivered that knows it by some contract.
type reader struct {
	router *mux.Router
	pub    *sidecartest.Publisher
	total  func() int64 // of the bill that was read last
}

func newReader(t *testing.T, app string, read func(cloudevent.Event) (int64, error)) reader {
	var total int64
	r := reader{mux.NewRouter(), &sidecartest.Publisher{}, func() int64 { return total }}
	s := topic.New(t.Context(), app, r.pub, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	s.Handle(r.router, topic.Subscription{Topic: cloudevent.Topic("order"), Schedule: topic.Money, Types: []string{orderapi.EventDelivered},
		Handler: func(_ context.Context, e cloudevent.Event) (err error) {
			total, err = read(e)
			return err
		}})
	return r
}

// TestVersionsSideBySide runs a reader that knows version 1 of order.delivered only beside one of today, on what the
// order service writes by either setting, and on a version that neither knows.
func TestVersionsSideBySide(t *testing.T) {
	old := contract.Must(contract.One[*orderapi.DeliveredEvent](orderapi.EventDelivered))
	newer := produced(t, "")
	newer.DataSchema = strings.Replace(newer.DataSchema, ".v2.", ".v3.", 1)
	for _, tt := range []struct {
		name     string
		event    cloudevent.Event
		schema   string
		old, new string // why it is parked, "" if it is handled
	}{
		{"told to write version 1", produced(t, "order.delivered=1"), "proto:dishmesh.order.v1.DeliveredEvent", "", ""},
		{"the newest", produced(t, ""), "proto:dishmesh.order.v2.DeliveredEvent",
			"unknown-version: event order/ord_1/3 has the schema proto:dishmesh.order.v2.DeliveredEvent; known here are the versions of fooddelivery.order.delivered up to proto:dishmesh.order.v1.DeliveredEvent", ""},
		{"newer than known", newer, "proto:dishmesh.order.v3.DeliveredEvent",
			"unknown-version: event order/ord_1/3 has the schema proto:dishmesh.order.v3.DeliveredEvent; known here are the versions of fooddelivery.order.delivered up to proto:dishmesh.order.v1.DeliveredEvent",
			"unknown-version: event order/ord_1/3 has the schema proto:dishmesh.order.v3.DeliveredEvent; known here are the versions of fooddelivery.order.delivered up to proto:dishmesh.order.v2.DeliveredEvent"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.event.DataSchema != tt.schema {
				t.Fatalf("the order service wrote %s %s", tt.event.DataSchema, tt.event.Data)
			}
			for _, r := range []struct {
				reader
				parked string
			}{
				{newReader(t, "old", func(e cloudevent.Event) (int64, error) {
					var d orderapi.DeliveredEvent
					err := old.Into(e, &d)
					return d.Total, err
				}), tt.old},
				{newReader(t, "new", func(e cloudevent.Event) (int64, error) {
					var d orderv2.DeliveredEvent
					err := orderapi.Events.Into(e, &d)
					return d.GetBill().GetTotal(), err
				}), tt.new},
			} {
				if status := runtest.Deliver(t, r.router, tt.event); status != "SUCCESS" {
					t.Errorf("%s, want SUCCESS: it is handled or parked", status)
				}
				sent := r.pub.Sent()
				if r.parked == "" {
					if r.total() != 2130 || len(sent) != 0 {
						t.Errorf("the total is %d, %d dead letters", r.total(), len(sent))
					}
					continue
				}
				var letter topic.DeadLetter
				if len(sent) != 1 || sent[0].Event.Into(&letter) != nil {
					t.Fatalf("%d dead letters, want one", len(sent))
				}
				if diff := cmp.Diff(r.parked, letter.Cause); diff != "" || letter.Attempts != 1 {
					t.Errorf("after %d attempts, want 1; cause (-want +got):\n%s", letter.Attempts, diff)
				}
				var back cloudevent.Event
				if err := json.Unmarshal(letter.Original, &back); err != nil || !cmp.Equal(back, tt.event) {
					t.Errorf("what is parked is not what came: %v", err)
				}
			}
		})
	}
}

// Both versions say the same, so that nothing is lost on the way up and down.
func TestDeliveredVersions(t *testing.T) {
	var v1, v2 orderv2.DeliveredEvent
	for versions, m := range map[string]*orderv2.DeliveredEvent{"order.delivered=1": &v1, "": &v2} {
		if err := orderapi.Events.Into(produced(t, versions), m); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(&v1, &v2, protocmp.Transform()); diff != "" || v2.GetBill().GetTax() != 140 {
		t.Errorf("version 1 and 2 (-1 +2):\n%s", diff)
	}
}

func TestEventVersionsSetting(t *testing.T) {
	d, _ := runtest.New(t, "order")
	_, err := newService(d, Config{EventVersions: "order.delivered=3"}, &noting{})
	if err == nil || err.Error() != `EVENT_VERSIONS: "order.delivered=3": order.delivered has versions 1 to 2, so say order.delivered=2` {
		t.Errorf("got %v", err)
	}
}
