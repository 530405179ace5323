package cloudevent_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
)

func valid() cloudevent.Event {
	return cloudevent.Event{
		SpecVersion: "1.0", ID: "order/ord_1/3", Source: "dishmesh/order", Type: "fooddelivery.order.placed", Subject: "ord_1",
		Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), DataContentType: "application/json", Sequence: "3",
		CorrelationID: "ord_1", TraceParent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Data: json.RawMessage(`{"total":5}`),
	}
}

// The JSON format of CloudEvents 1.0: the attributes' names are lower case, data is embedded.
func TestWireForm(t *testing.T) {
	got, err := json.Marshal(valid())
	if err != nil {
		t.Fatal(err)
	}
	want := `{"specversion":"1.0","id":"order/ord_1/3","source":"dishmesh/order","type":"fooddelivery.order.placed","subject":"ord_1",` +
		`"time":"2026-11-22T12:00:00Z","datacontenttype":"application/json","sequence":"3","correlationid":"ord_1",` +
		`"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01","data":{"total":5}}`
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("event (-want +got):\n%s", diff)
	}
	var back cloudevent.Event
	if err := json.Unmarshal(got, &back); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(valid(), back); diff != "" {
		t.Errorf("round trip (-want +got):\n%s", diff)
	}
}

func TestAccessors(t *testing.T) {
	e := valid()
	var data struct{ Total int }
	if err := e.Into(&data); err != nil || data.Total != 5 {
		t.Errorf("Into: %+v, %v", data, err)
	}
	if err := e.Into(new([]int)); err == nil || !strings.Contains(err.Error(), e.ID) {
		t.Errorf("Into something else: %v, want an error that names the event", err)
	}
	if e.Name() != "order.placed" || e.Seq() != 3 || cloudevent.Topic("order") != "fooddelivery.order" {
		t.Errorf("name %q, sequence %d, topic %q", e.Name(), e.Seq(), cloudevent.Topic("order"))
	}
	e.Sequence = "x"
	if e.Seq() != 0 {
		t.Errorf("sequence of %q: %d, want 0", e.Sequence, e.Seq())
	}
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*cloudevent.Event)
		want   string
	}{
		{"valid", func(*cloudevent.Event) {}, ""},
		{"without id", func(e *cloudevent.Event) { e.ID = "" }, "id is missing"},
		{"without source", func(e *cloudevent.Event) { e.Source = "" }, "source is missing"},
		{"without subject", func(e *cloudevent.Event) { e.Subject = "" }, "subject is missing"},
		{"another version", func(e *cloudevent.Event) { e.SpecVersion = "0.3" }, `specversion is "0.3", not 1.0`},
		{"foreign type", func(e *cloudevent.Event) { e.Type = "com.example.thing" }, `type "com.example.thing" does not start with fooddelivery.`},
		{"without data", func(e *cloudevent.Event) { e.Data = nil }, "data is missing"},
		{"nothing", func(e *cloudevent.Event) { *e = cloudevent.Event{} }, "id is missing\nsource is missing\ntype is missing\nsubject is missing\nspecversion is \"\", not 1.0\ntype \"\" does not start with fooddelivery.\ndata is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := valid()
			tt.change(&e)
			got := ""
			if err := e.Validate(); err != nil {
				got = err.Error()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
