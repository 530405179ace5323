package broker

import (
	"context"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// CreateTopics makes the topics that are missing on the broker at addr, the embedded one or any other that speaks the
// Kafka protocol, with one replica each. A topic that is there already is left alone.
func CreateTopics(ctx context.Context, addr string, topics []Topic) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ClientID("dishmesh-broker"))
	if err != nil {
		return err
	}
	defer client.Close()
	return CreateTopicsBy(ctx, client, topics, 1)
}

// CreateTopicsBy is CreateTopics by a client that the caller has made, with that many replicas of each.
func CreateTopicsBy(ctx context.Context, client *kgo.Client, topics []Topic, replicas int16) error {
	if len(topics) == 0 {
		return nil
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	for _, t := range topics {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = t.Name, t.Partitions, replicas
		req.Topics = append(req.Topics, topic)
	}
	resp, err := req.RequestWith(ctx, client)
	if err != nil {
		return fmt.Errorf("create topics: %w", err)
	}
	const alreadyExists = 36 // Kafka protocol, error code TOPIC_ALREADY_EXISTS
	var failed []string
	for _, t := range resp.Topics {
		if t.ErrorCode != 0 && t.ErrorCode != alreadyExists {
			failed = append(failed, fmt.Sprintf("%s (code %d)", t.Topic, t.ErrorCode))
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("create topics: %s", strings.Join(failed, ", "))
	}
	return nil
}

// Ping asks a broker that speaks the Kafka protocol for its metadata.
func Ping(ctx context.Context, addr string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ClientID("dishmesh-probe"), kgo.RetryTimeout(0))
	if err != nil {
		return err
	}
	defer client.Close()
	return client.Ping(ctx)
}
