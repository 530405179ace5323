package readable_test

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/dapr/components-contrib/pubsub"
	inmemory "github.com/dapr/components-contrib/pubsub/in-memory"
	"github.com/dapr/kit/logger"

	"github.com/dishmesh/dishmesh/components/runtime/daprd/readable"
)

// TestEveryRecordArrives publishes records and looks at what a subscriber gets.
func TestEveryRecordArrives(t *testing.T) {
	for _, tt := range []struct{ name, record, why string }{
		{"an event", `{"id":"a"}`, ""},
		{"an event behind blanks", " \r\n\t{}", ""},
		{"no JSON", "<xml/>", "the record is no JSON object"},
		{"a list", `[{"id":"a"}]`, "the record is no JSON object"},
		{"nothing", "", "the record is empty"},
		{"broken off", `{"id":`, "unexpected end of JSON input"},
		{"bytes", "{\xff\x00", "invalid character 'ÿ' looking for beginning of object key string"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, raw := make(chan []byte, 1), make(chan []byte, 1)
			c := readable.Of(inmemory.New)(logger.NewLogger("test"))
			if err := c.Init(t.Context(), pubsub.Metadata{}); err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			take := func(into chan []byte) pubsub.Handler {
				return func(_ context.Context, m *pubsub.NewMessage) error { into <- m.Data; return nil }
			}
			for rawPayload, into := range map[string]chan []byte{"false": got, "true": raw} {
				req := pubsub.SubscribeRequest{Topic: "t", Metadata: map[string]string{"rawPayload": rawPayload}}
				if err := c.Subscribe(t.Context(), req, take(into)); err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Publish(t.Context(), &pubsub.PublishRequest{Topic: "t", Data: []byte(tt.record)}); err != nil {
				t.Fatal(err)
			}
			if b := receive(t, raw); string(b) != tt.record {
				t.Errorf("with rawPayload: %q", b)
			}
			b := receive(t, got)
			if tt.why == "" {
				if string(b) != tt.record {
					t.Errorf("got %q, want it as it was", b)
				}
				return
			}
			var e struct {
				SpecVersion, Unreadable string
				Data                    []byte `json:"data_base64"`
			}
			if err := json.Unmarshal(b, &e); err != nil || e.SpecVersion != "1.0" || e.Unreadable != tt.why || string(e.Data) != tt.record {
				t.Errorf("got %s, want %q in an envelope with the cause %q", b, tt.record, tt.why)
			}
		})
	}
}

func receive(t *testing.T, c chan []byte) []byte {
	t.Helper()
	select {
	case b := <-c:
		return b
	case <-time.After(10 * time.Second):
		t.Fatal("nothing came")
		return nil
	}
}
