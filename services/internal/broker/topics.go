package broker

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Prefix starts the name of every topic of the platform.
const Prefix = "fooddelivery."

// Entities are the aggregate types that have a topic of their own, by the part after Prefix. The order of the events
// of one aggregate is kept, because its id is the partition key.
func Entities() []string {
	return []string{"user", "menu", "pricing", "order", "payment", "restaurant", "delivery", "delivery.location", "notification"}
}

// Partitions of an event topic: as many consumers of one group can share it. A dead-letter topic has one, because it
// is read by people and must keep its order.
const Partitions = 6

// Topic is a topic that the broker must hold.
type Topic struct {
	Name       string
	Partitions int32
}

// Subscription is what the topics need to know of a declarative Dapr subscription.
type Subscription struct {
	Name   string
	PubSub string
	Topic  string
	Route  string
	Apps   []string
}

// DeadLetter names the topic that takes what an app could not process of a topic.
func DeadLetter(topic, app string) string { return topic + ".dlq." + app }

// livePubSub is the component of live updates. What is lost of them is lost: they have no dead letters.
const livePubSub = "live"

// Topics lists every topic: one per aggregate type and a dead-letter topic for each subscription to one, unless that is
// of live updates. Whoever subscribes to a dead-letter topic takes its own.
func Topics(subs []Subscription) ([]Topic, error) {
	var out []Topic
	known := map[string]bool{}
	for _, e := range Entities() {
		out = append(out, Topic{Name: Prefix + e, Partitions: Partitions})
		known[Prefix+e] = true
	}
	for _, s := range subs {
		if known[s.Topic] && s.PubSub != livePubSub {
			for _, app := range s.Apps {
				out = append(out, Topic{Name: DeadLetter(s.Topic, app), Partitions: 1})
			}
		}
	}
	for _, t := range out {
		known[t.Name] = true
	}
	for _, s := range subs {
		if !known[s.Topic] {
			return nil, fmt.Errorf("subscription %s names the unknown topic %q", s.Name, s.Topic)
		}
	}
	slices.SortFunc(out, func(a, b Topic) int { return strings.Compare(a.Name, b.Name) })
	return slices.Compact(out), nil
}

// ReadSubscriptions reads the declarative subscriptions of a folder, sorted by file and place.
func ReadSubscriptions(dir string) ([]Subscription, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no subscriptions in %s: is this the components folder of Dishmesh?", dir)
	}
	var out []Subscription
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		subs, err := parseSubscriptions(raw)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, subs...)
	}
	return out, nil
}

func parseSubscriptions(raw []byte) ([]Subscription, error) {
	var out []Subscription
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	for {
		var doc struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     struct {
				Pubsubname, Topic string
				Routes            struct{ Default string }
			}
			Scopes []string
		}
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if doc.Kind != "Subscription" {
			continue
		}
		out = append(out, Subscription{Name: doc.Metadata.Name, PubSub: doc.Spec.Pubsubname, Topic: doc.Spec.Topic,
			Route: doc.Spec.Routes.Default, Apps: doc.Scopes})
	}
}
