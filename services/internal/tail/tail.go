// Package tail reads the platform's events from the broker, as they happen or from the beginning, without being a
// member of any consumer group: nobody misses an event because somebody watches.
package tail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
)

// deadLetters is what stands between a topic and the app whose dead letters a topic holds.
const deadLetters = ".dlq."

// Config of a Tail.
type Config struct {
	Brokers []string
	// Topic is an entity such as "order"; "": all. Its dead letters belong to it.
	Topic string
	// Order, unless it is "", is the id of the order that is wanted.
	Order string
	// Beginning reads what is there already; otherwise only what comes.
	Beginning bool
	// Stop ends after what was there when the tail began, instead of waiting for more.
	Stop bool
}

// Record is an event with its place in the broker.
type Record struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Offset    int64  `json:"offset"`
	Key       string `json:"key"`
	// DeadLetterOf is the app that could not process the event; "" for an event that is no dead letter.
	DeadLetterOf string `json:"dead_letter_of,omitempty"`
	// Event is absent from a record that is none.
	Event *cloudevent.Event `json:"event,omitempty"`
	// Raw is the record's value where that is no event.
	Raw string `json:"raw,omitempty"`
}

// Run hands the records to fn, in the order of each partition, until ctx is done (which is no error), the end is
// reached if that is wanted, or fn returns an error. The story of one order that has been told to its end comes in the
// order of time.
func Run(ctx context.Context, cfg Config, fn func(Record) error) (err error) {
	offset := kgo.NewOffset().AtEnd()
	if cfg.Beginning {
		offset = kgo.NewOffset().AtStart()
	}
	topics := "^" + regexp.QuoteMeta(cloudevent.Prefix) + `.+$`
	if cfg.Topic != "" {
		entity := strings.TrimPrefix(cfg.Topic, cloudevent.Prefix)
		topics = "^" + regexp.QuoteMeta(cloudevent.Topic(entity)) + `(\.dlq\..+)?$`
	}
	client, err := kgo.NewClient(
		kgo.SeedBrokers(cfg.Brokers...), kgo.ClientID("dishmesh-events"),
		kgo.ConsumeRegex(), kgo.ConsumeTopics(topics), kgo.ConsumeResetOffset(offset),
	)
	if err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	defer client.Close()
	if err := client.Ping(ctx); err != nil {
		return fmt.Errorf("the broker at %s does not answer: %w", strings.Join(cfg.Brokers, ","), err)
	}
	var left *ends
	var story []Record
	if cfg.Stop && cfg.Order != "" {
		tell := fn
		fn = func(r Record) error { story = append(story, r); return nil }
		defer func() {
			slices.SortStableFunc(story, byTime)
			for i := 0; err == nil && i < len(story); i++ {
				err = tell(story[i])
			}
		}()
	}
	if cfg.Stop {
		if !cfg.Beginning {
			return nil
		}
		if left, err = readEnds(ctx, client, regexp.MustCompile(topics)); err != nil {
			return err
		}
	}
	for !left.reached() {
		fetches := client.PollFetches(ctx)
		if ctx.Err() != nil {
			return nil
		}
		var failure error
		fetches.EachError(func(topic string, partition int32, err error) {
			failure = errors.Join(failure, fmt.Errorf("%s/%d: %w", topic, partition, err))
		})
		if failure != nil {
			return failure
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			if rec := decode(r); left.wants(r) && (cfg.Order == "" || rec.concerns(cfg.Order)) {
				if err := fn(rec); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func decode(r *kgo.Record) Record {
	rec := Record{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Key: string(r.Key)}
	if _, app, ok := strings.Cut(r.Topic, deadLetters); ok {
		rec.DeadLetterOf = app
	}
	var e cloudevent.Event
	if json.Unmarshal(r.Value, &e) != nil || e.Type == "" {
		rec.Raw = string(r.Value)
		return rec
	}
	rec.Event = &e
	return rec
}

// byTime orders events by their time; what is no event comes first.
func byTime(a, b Record) int {
	var at, bt time.Time
	if a.Event != nil {
		at = a.Event.Time
	}
	if b.Event != nil {
		bt = b.Event.Time
	}
	return at.Compare(bt)
}

func (r Record) concerns(order string) bool {
	if r.Key == order {
		return true
	}
	if r.Event == nil {
		return strings.Contains(r.Raw, order)
	}
	var d struct {
		OrderID string `json:"order_id"`
	}
	_ = json.Unmarshal(r.Event.Data, &d) // data without an order id are of no order
	return r.Event.Subject == order || r.Event.CorrelationID == order || d.OrderID == order
}

type partition struct {
	topic string
	id    int32
}

// ends counts down what is left to read until where the partitions ended; nil has no end.
type ends struct {
	next map[partition]int64 // the offset after the last record that is wanted
	open int
}

func (e *ends) reached() bool { return e != nil && e.open == 0 }

// wants reports whether a record was there when the tail began, and notes that it was read.
func (e *ends) wants(r *kgo.Record) bool {
	if e == nil {
		return true
	}
	p := partition{r.Topic, r.Partition}
	end := e.next[p]
	if r.Offset == end-1 {
		e.open--
	}
	return r.Offset < end
}

// readEnds asks where the partitions end now.
func readEnds(ctx context.Context, client *kgo.Client, topics *regexp.Regexp) (*ends, error) {
	meta, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, client)
	if err != nil {
		return nil, fmt.Errorf("topics of the broker: %w", err)
	}
	request := func(timestamp int64) (*kmsg.ListOffsetsResponse, error) {
		req := kmsg.NewPtrListOffsetsRequest()
		for _, t := range meta.Topics {
			if t.Topic == nil || !topics.MatchString(*t.Topic) {
				continue
			}
			rt := kmsg.NewListOffsetsRequestTopic()
			rt.Topic = *t.Topic
			for _, p := range t.Partitions {
				rp := kmsg.NewListOffsetsRequestTopicPartition()
				rp.Partition, rp.Timestamp = p.Partition, timestamp
				rt.Partitions = append(rt.Partitions, rp)
			}
			req.Topics = append(req.Topics, rt)
		}
		return req.RequestWith(ctx, client)
	}
	const latest, earliest = -1, -2 // Kafka protocol, ListOffsets
	starts, err := request(earliest)
	if err != nil {
		return nil, fmt.Errorf("start of the topics: %w", err)
	}
	first := map[partition]int64{}
	for _, t := range starts.Topics {
		for _, p := range t.Partitions {
			first[partition{t.Topic, p.Partition}] = p.Offset
		}
	}
	stops, err := request(latest)
	if err != nil {
		return nil, fmt.Errorf("end of the topics: %w", err)
	}
	e := &ends{next: map[partition]int64{}}
	for _, t := range stops.Topics {
		for _, p := range t.Partitions {
			at := partition{t.Topic, p.Partition}
			if p.Offset > first[at] {
				e.next[at] = p.Offset
				e.open++
			}
		}
	}
	return e, nil
}
