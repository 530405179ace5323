package tail_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/tail"
)

const deadTopic = "fooddelivery.order.dlq.delivery"

// broker starts a broker with the topics order, payment (2 partitions each) and one of dead letters.
func broker(t *testing.T) (addrs []string, produce func(topic, key, value string)) {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1),
		kfake.SeedTopics(2, "fooddelivery.order", "fooddelivery.payment"), kfake.SeedTopics(1, deadTopic, "other"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	client, err := kgo.NewClient(kgo.SeedBrokers(cluster.ListenAddrs()...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return cluster.ListenAddrs(), func(topic, key, value string) {
		t.Helper()
		r := &kgo.Record{Topic: topic, Key: []byte(key), Value: []byte(value)}
		if err := client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

func event(kind, subject, correlation string) string {
	b, err := json.Marshal(cloudevent.Event{
		SpecVersion: "1.0", ID: "x/1", Source: "dishmesh/x", Type: cloudevent.Prefix + kind, Subject: subject, CorrelationID: correlation,
		Time: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Data: json.RawMessage(`{}`),
	})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestFromBeginning(t *testing.T) {
	addrs, produce := broker(t)
	for i := range 20 {
		id := fmt.Sprintf("ord_%d", i)
		produce("fooddelivery.order", id, event("order.placed", id, id))
	}
	produce("fooddelivery.payment", "ord_7", event("payment.authorized", "ord_7", "ord_7"))
	produce("fooddelivery.payment", "pay_1", event("payment.captured", "pay_1", "ord_7"))
	produce(deadTopic, "ord_7", event("order.placed", "ord_7", "ord_7"))
	produce(deadTopic, "", "no event of ord_7")
	produce("other", "ord_7", event("order.placed", "ord_7", "ord_7"))

	for _, tc := range []struct {
		name, topic, order string
		want               map[string]int
	}{
		{"all", "", "", map[string]int{"order.placed": 21, "payment.authorized": 1, "payment.captured": 1, "raw": 1}},
		{"a topic and its dead letters", "order", "", map[string]int{"order.placed": 21, "raw": 1}},
		{"its full name", "fooddelivery.payment", "", map[string]int{"payment.authorized": 1, "payment.captured": 1}},
		{"an order", "", "ord_7", map[string]int{"order.placed": 2, "payment.authorized": 1, "payment.captured": 1, "raw": 1}},
		{"nothing", "nothing", "", map[string]int{}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			got := map[string]int{}
			cfg := tail.Config{Brokers: addrs, Topic: tc.topic, Order: tc.order, Beginning: true, Stop: true}
			err := tail.Run(ctx, cfg, func(r tail.Record) error {
				if dead := r.Topic == deadTopic; dead != (r.DeadLetterOf == "delivery") {
					t.Errorf("%s: dead letter of %q", r.Topic, r.DeadLetterOf)
				}
				if r.Event == nil {
					got["raw"]++
				} else {
					got[r.Event.Name()]++
				}
				return nil
			})
			if err != nil || ctx.Err() != nil {
				t.Fatalf("got error %v, %v", err, ctx.Err())
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("records (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFromEnd(t *testing.T) {
	addrs, produce := broker(t)
	produce("fooddelivery.order", "old", event("order.placed", "old", ""))
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	seen := make(chan string, 100)
	go func() {
		ended <- tail.Run(ctx, tail.Config{Brokers: addrs}, func(r tail.Record) error {
			seen <- r.Key
			return nil
		})
	}()
	// When the tail has begun can't be seen from outside: produce until one arrives.
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case key := <-seen:
			if key != "new" {
				t.Fatalf("got %q, want only what is new", key)
			}
			cancel() // as Ctrl-C does
			if err := <-ended; err != nil {
				t.Fatalf("got %v, want no error", err)
			}
			return
		case err := <-ended:
			t.Fatalf("ended: %v", err)
		case <-again.C:
			produce("fooddelivery.order", "new", event("order.placed", "new", ""))
		}
	}
}

func TestLine(t *testing.T) {
	at := time.Date(2026, 11, 22, 12, 0, 0, 123e6, time.Local)
	for _, tc := range []struct {
		name string
		r    tail.Record
		want string
	}{
		{"event", tail.Record{Topic: "fooddelivery.payment", Partition: 3, Offset: 42, Event: &cloudevent.Event{
			Type: "fooddelivery.payment.captured", Subject: "ord_1", Time: at, Data: json.RawMessage(`{"amount":2150,"currency":"EUR","reason":"two words"}`)}},
			`12:00:00.123  fooddelivery.payment/3/42           payment.captured              ord_1  amount=21.50EUR reason="two words"`},
		{"dead letter", tail.Record{Topic: deadTopic, DeadLetterOf: "delivery", Event: &cloudevent.Event{
			Type: "fooddelivery.order.placed", Subject: "ord_1", Time: at, Data: json.RawMessage(`{}`)}},
			`12:00:00.123  fooddelivery.order.dlq.delivery/0/0  order.placed                  ord_1  DEAD LETTER of delivery`},
		{"no event", tail.Record{Topic: deadTopic, Raw: "oops\n"},
			`              fooddelivery.order.dlq.delivery/0/0  no event: "oops\n"`},
	} {
		if got := tc.r.Line(); got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
	}
}
