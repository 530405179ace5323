package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dishmesh/dishmesh/services/internal/broker"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/tail"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

// stranger is somebody on the broker who is no part of the platform: the one way to bring in what no service publishes.
type stranger struct {
	site   *site
	addr   string
	client *kgo.Client
	subs   []broker.Subscription // those by which apps take something in for good
}

func (s *site) stranger(t *testing.T) *stranger {
	t.Helper()
	info, err := platform.ReadRunInfo(platform.Layout{Data: s.data})
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(info.Broker), kgo.ClientID("dishmesh-e2e"), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	subs, err := broker.ReadSubscriptions(filepath.Join("..", "..", "components", "subscriptions"))
	if err != nil {
		t.Fatal(err)
	}
	subs = slices.DeleteFunc(subs, func(sub broker.Subscription) bool { return sub.PubSub != "events" })
	return &stranger{s, info.Broker, client, subs}
}

// publish puts records on the broker and waits until it has them.
func (b *stranger) publish(t *testing.T, records ...*kgo.Record) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := b.client.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// record is an event on a topic.
func record(t *testing.T, on string, partition int32, e cloudevent.Event) *kgo.Record {
	t.Helper()
	return &kgo.Record{Topic: on, Partition: partition, Key: []byte(e.Subject), Value: []byte(encode(t, e))}
}

// deadLetter is a record as the adapter of app publishes it when it gives an event up.
func deadLetter(t *testing.T, of, app, cause string, e cloudevent.Event, at time.Time) *kgo.Record {
	t.Helper()
	data, err := json.Marshal(topic.DeadLetter{Topic: of, App: app, Cause: cause, Attempts: 4, First: at, Last: at, Original: []byte(encode(t, e))})
	if err != nil {
		t.Fatal(err)
	}
	return record(t, topic.DeadLetterTopic(of, app), 0, cloudevent.Event{SpecVersion: "1.0", ID: e.ID + "/dead/" + app, Source: "dishmesh/" + app,
		Type: cloudevent.Prefix + "dead-letter", Subject: e.Subject, Time: at, DataContentType: "application/json", CorrelationID: e.CorrelationID, TraceParent: e.TraceParent, Data: data})
}

// events gives all events of an order that are on the broker.
func (b *stranger) events(t *testing.T, order string) []tail.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var all []tail.Record
	err := tail.Run(ctx, tail.Config{Brokers: []string{b.addr}, Order: order, Beginning: true, Stop: true}, func(r tail.Record) error {
		if r.DeadLetterOf == "" && r.Event != nil {
			all = append(all, r)
		}
		return nil
	})
	if err != nil || ctx.Err() != nil {
		t.Fatal(errors.Join(err, ctx.Err()))
	}
	return all
}

// quiet waits until every app has taken in all that is on the topics that it is subscribed to.
func (b *stranger) quiet(t *testing.T) {
	t.Helper()
	eventually(t, time.Minute, "every app is through with its topics", func() error {
		ends, err := b.ends(t.Context())
		if err != nil {
			return err
		}
		for _, sub := range b.subs {
			done, err := b.committed(t.Context(), sub.Apps[0], sub.Topic, len(ends[sub.Topic]))
			if err != nil {
				return err
			}
			for p, end := range ends[sub.Topic] {
				if end > max(0, done[int32(p)]) {
					return fmt.Errorf("%s has %d of %d on %s/%d", sub.Apps[0], done[int32(p)], end, sub.Topic, p)
				}
			}
		}
		return nil
	})
}

// ends asks where the partitions of the subscribed topics end.
func (b *stranger) ends(ctx context.Context) (map[string][]int64, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	out := map[string][]int64{}
	for _, sub := range b.subs {
		if _, ok := out[sub.Topic]; ok {
			continue
		}
		n := int32(broker.Partitions)
		if _, app, ok := cutDeadLetters(sub.Topic); ok && app != "" {
			n = 1
		}
		out[sub.Topic] = make([]int64, n)
		rt := kmsg.NewListOffsetsRequestTopic()
		rt.Topic = sub.Topic
		for p := range n {
			rp := kmsg.NewListOffsetsRequestTopicPartition()
			rp.Partition, rp.Timestamp = p, -1 // the latest
			rt.Partitions = append(rt.Partitions, rp)
		}
		req.Topics = append(req.Topics, rt)
	}
	resp, err := req.RequestWith(ctx, b.client)
	if err != nil {
		return nil, err
	}
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return nil, fmt.Errorf("%s/%d: %w", rt.Topic, p.Partition, err)
			}
			out[rt.Topic][p.Partition] = p.Offset
		}
	}
	return out, nil
}

// committed asks how far the group of an app is.
func (b *stranger) committed(ctx context.Context, app, of string, partitions int) (map[int32]int64, error) {
	var ids []int32
	for p := range partitions {
		ids = append(ids, int32(p))
	}
	req := kmsg.NewPtrOffsetFetchRequest()
	single := kmsg.NewOffsetFetchRequestTopic()
	single.Topic, single.Partitions = of, ids
	req.Group, req.Topics = app, []kmsg.OffsetFetchRequestTopic{single}
	grouped := kmsg.NewOffsetFetchRequestGroup()
	in := kmsg.NewOffsetFetchRequestGroupTopic()
	in.Topic, in.Partitions = of, ids
	grouped.Group, grouped.Topics = app, []kmsg.OffsetFetchRequestGroupTopic{in}
	req.Groups = []kmsg.OffsetFetchRequestGroup{grouped}
	resp, err := req.RequestWith(ctx, b.client)
	if err != nil {
		return nil, err
	}
	out := map[int32]int64{}
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			out[p.Partition] = p.Offset
		}
	}
	for _, g := range resp.Groups {
		for _, rt := range g.Topics {
			for _, p := range rt.Partitions {
				out[p.Partition] = p.Offset
			}
		}
	}
	return out, nil
}
