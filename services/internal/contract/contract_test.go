package contract_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi/orderv2"
)

func event(name, schema, data string) cloudevent.Event {
	return cloudevent.Event{ID: "order/ord_1/4", Type: cloudevent.Prefix + name, DataSchema: schema, Data: json.RawMessage(data)}
}

const v1, v2 = "proto:dishmesh.order.v1.DeliveredEvent", "proto:dishmesh.order.v2.DeliveredEvent"

func TestDecode(t *testing.T) {
	delivered := &orderv2.DeliveredEvent{OrderId: "ord_1", CourierId: "usr_9", Bill: &orderv2.Bill{Currency: "EUR", Total: 2590}}
	for _, tt := range []struct {
		name  string
		event cloudevent.Event
		want  proto.Message
		err   string
		kind  problem.Type
	}{
		{"the newest version", event("order.delivered", v2, `{"order_id":"ord_1","courier_id":"usr_9","bill":{"currency":"EUR","total":"2590"}}`), delivered, "", ""},
		{"an older version", event("order.delivered", v1, `{"order_id":"ord_1","courier_id":"usr_9","currency":"EUR","total":"2590"}`), delivered, "", ""},
		{"before there were versions", event("order.delivered", "", `{"order_id":"ord_1","courier_id":"usr_9","currency":"EUR","subtotal":0,"total":2590}`), delivered, "", ""},
		{"fields that are not known", event("order.delivered", v2, `{"order_id":"ord_1","courier_id":"usr_9","bill":{"currency":"EUR","total":"2590","tip":"5"},"door":{"code":7}}`), delivered, "", ""},
		{"names in lower camel case", event("order.delivered", v2, `{"orderId":"ord_1","courierId":"usr_9","bill":{"currency":"EUR","total":2590}}`), delivered, "", ""},
		{"nulls", event("order.accepted", "", `{"order_id":null,"prep_minutes":null}`), &orderapi.AcceptedEvent{}, "", ""},
		{"a newer version", event("order.delivered", "proto:dishmesh.order.v3.DeliveredEvent", `{}`), nil,
			"event order/ord_1/4 has the schema proto:dishmesh.order.v3.DeliveredEvent; known here are the versions of fooddelivery.order.delivered up to " + v2, problem.UnknownVersion},
		{"another event's version", event("order.accepted", v1, `{}`), nil, "has the schema " + v1, problem.UnknownVersion},
		{"another event", event("order.eaten", "", `{}`), nil, "event order/ord_1/4 is of type fooddelivery.order.eaten, which is not known here", problem.UnknownVersion},
		{"no object", event("order.delivered", v2, `[1]`), nil, "the data of event order/ord_1/4 are no dishmesh.order.v2.DeliveredEvent", problem.MalformedJSON},
		{"a wrong type", event("order.delivered", v2, `{"bill":{"total":"much"}}`), nil, "invalid value for int64", problem.MalformedJSON},
		{"a fraction of money", event("order.delivered", v1, `{"total":25.9}`), nil, "invalid value for int64", problem.MalformedJSON},
		{"nothing", event("order.delivered", v2, ``), nil, "unexpected token", problem.MalformedJSON},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := orderapi.Events.Decode(tt.event)
			if tt.want == nil {
				if err == nil || !problem.Permanent(err) || problem.Of(err) != tt.kind {
					t.Fatalf("got %v, %v; want a problem %s that no repetition mends", got, err, tt.kind)
				}
				// protobuf separates its errors by a space that may or may not be breakable
				if text := strings.ReplaceAll(explain(err), "\u00a0", " "); !strings.Contains(text, tt.err) {
					t.Errorf("got %q, want %q in it", text, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got, protocmp.Transform()); diff != "" {
				t.Errorf("decoded (-want +got):\n%s", diff)
			}
			into := tt.want.ProtoReflect().New().Interface()
			if err := orderapi.Events.Into(tt.event, into); err != nil || !proto.Equal(into, tt.want) {
				t.Errorf("read into: %v, %v", into, err)
			}
		})
	}
}

func explain(err error) string {
	var all []string
	for ; err != nil; err = unwrap(err) {
		all = append(all, err.Error())
	}
	return strings.Join(all, ": ")
}

func unwrap(err error) error {
	u, ok := err.(interface{ Unwrap() error })
	if !ok {
		return nil
	}
	return u.Unwrap()
}

// What was in the message before is gone, in either version.
func TestIntoResets(t *testing.T) {
	for schema, data := range map[string]string{v1: `{"order_id":"ord_2"}`, v2: `{"order_id":"ord_2","bill":{}}`} {
		m := &orderv2.DeliveredEvent{OrderId: "ord_1", CourierId: "usr_9"}
		if err := orderapi.Events.Into(event("order.delivered", schema, data), m); err != nil {
			t.Fatal(err)
		}
		if want := (&orderv2.DeliveredEvent{OrderId: "ord_2", Bill: &orderv2.Bill{}}); !proto.Equal(want, m) {
			t.Errorf("%s: got %v", schema, m)
		}
	}
	if err := orderapi.Events.Into(event("order.delivered", v1, `{}`), &orderapi.DeliveredEvent{}); err == nil {
		t.Error("an older version was read where the newest is known")
	}
}

func TestEncode(t *testing.T) {
	m := &orderv2.DeliveredEvent{OrderId: "ord_1", Bill: &orderv2.Bill{Currency: "EUR", Total: 9007199254740993}}
	older, err := orderapi.Events.Writing(" order.delivered=1 ,")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		set    *contract.Set
		event  string
		m      proto.Message
		schema string
		data   string
		err    string
	}{
		{"the newest", orderapi.Events, "order.delivered", m, v2, `{"order_id":"ord_1","bill":{"currency":"EUR","total":"9007199254740993"}}`, ""},
		{"an older version", older, "order.delivered", m, v1, `{"order_id":"ord_1","currency":"EUR","total":"9007199254740993"}`, ""},
		{"another event of that set", older, "order.accepted", &orderapi.AcceptedEvent{PrepMinutes: 5}, "proto:dishmesh.order.v1.AcceptedEvent", `{"prep_minutes":5}`, ""},
		{"another message", orderapi.Events, "order.accepted", m, "", "", "event order.accepted takes a dishmesh.order.v1.AcceptedEvent, not a *orderv2.DeliveredEvent"},
		{"no message", orderapi.Events, "order.accepted", nil, "", "", "event order.accepted takes a dishmesh.order.v1.AcceptedEvent, not a <nil>"},
		{"another event", orderapi.Events, "order.eaten", m, "", "", "event order.eaten is in no contract"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			schema, data, err := tt.set.Encode(tt.event, tt.m)
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("got %v, want %s", err, tt.err)
				}
				return
			}
			var got, want any
			if err != nil || json.Unmarshal(data, &got) != nil || json.Unmarshal([]byte(tt.data), &want) != nil {
				t.Fatalf("%s, %v", data, err)
			}
			if diff := cmp.Diff(want, got); diff != "" || schema != tt.schema {
				t.Errorf("%s (-want +got):\n%s", schema, diff)
			}
		})
	}
}

func TestWriting(t *testing.T) {
	for spec, want := range map[string]string{
		"":                   "",
		"order.delivered=2":  "",
		"order.delivered":    `"order.delivered": order.delivered has versions 1 to 2, so say order.delivered=2`,
		"order.delivered=0":  `"order.delivered=0": order.delivered has versions 1 to 2, so say order.delivered=2`,
		"order.delivered=v1": `"order.delivered=v1": order.delivered has versions 1 to 2, so say order.delivered=2`,
		"surge=1,zone=1":     "\"surge=1\": there is no event \"surge\" here, only pricing.surge-changed\n\"zone=1\": there is no event \"zone\" here, only pricing.surge-changed",
	} {
		set := orderapi.Events
		if strings.HasPrefix(spec, "surge") {
			set = contract.Must(contract.One[*structpb.Struct]("pricing.surge-changed"))
		}
		_, err := set.Writing(spec)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", spec, diff)
		}
	}
}

// Three versions, of which each step is written for its neighbour only.
func TestSteps(t *testing.T) {
	set := contract.Must(contract.Event{Name: "sum.told", Versions: []contract.Version{
		contract.Older(func(m *wrapperspb.Int32Value) *wrapperspb.Int64Value { return wrapperspb.Int64(int64(m.Value) * 10) },
			func(m *wrapperspb.Int64Value) *wrapperspb.Int32Value { return wrapperspb.Int32(int32(m.Value / 10)) }),
		contract.Older(func(m *wrapperspb.Int64Value) *structpb.Value { return structpb.NewNumberValue(float64(m.Value)) },
			func(m *structpb.Value) *wrapperspb.Int64Value { return wrapperspb.Int64(int64(m.GetNumberValue())) }),
		contract.Newest[*structpb.Value](),
	}})
	for version, want := range map[string]string{"sum.told=1": "7", "sum.told=2": `"70"`, "": "70"} {
		w, err := set.Writing(version)
		if err != nil {
			t.Fatal(err)
		}
		schema, data, err := w.Encode("sum.told", structpb.NewNumberValue(70))
		if err != nil || string(data) != want {
			t.Fatalf("%s: wrote %s, %v; want %s", version, data, err, want)
		}
		m, err := set.Decode(event("sum.told", schema, string(data)))
		if got, ok := m.(*structpb.Value); err != nil || !ok || got.GetNumberValue() != 70 {
			t.Errorf("%s: read %v, %v", version, m, err)
		}
	}
}

func TestMust(t *testing.T) {
	for want, events := range map[string][]contract.Event{
		"event a.b has no version":    {{Name: "a.b"}},
		"event a.b is declared twice": {contract.One[*structpb.Value]("a.b"), contract.One[*structpb.Value]("a.b")},
		"event a.b: version 1 of 2: every version but the newest needs an upcaster": {{Name: "a.b", Versions: []contract.Version{
			contract.Newest[*structpb.Value](), contract.Newest[*structpb.Struct]()}}},
	} {
		func() {
			defer func() {
				if got, ok := recover().(error); !ok || got.Error() != want {
					t.Errorf("got %v, want %s", got, want)
				}
			}()
			contract.Must(events...)
		}()
	}
}

func TestTopic(t *testing.T) {
	if got := contract.One[*structpb.Value]("order.placed").Topic(); got != "fooddelivery.order" {
		t.Error(got)
	}
	if got := (contract.Event{Name: "delivery.location-updated", Entity: "delivery.location"}).Topic(); got != "fooddelivery.delivery.location" {
		t.Error(got)
	}
}

func TestTimes(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 123456789, time.FixedZone("CET", 3600))
	if got := contract.Time(contract.Timestamp(at)); !got.Equal(at) || got.Location() != time.UTC {
		t.Errorf("got %v", got)
	}
	if ts := contract.Timestamp(time.Time{}); ts != nil || !contract.Time(nil).IsZero() {
		t.Errorf("the zero time is %v and comes back as %v", ts, contract.Time(nil))
	}
	// as it was written before there were messages
	if got := contract.Time(&timestamppb.Timestamp{Seconds: time.Time{}.Unix()}); !got.IsZero() {
		t.Errorf("got %v", got)
	}
}
