package platform

import (
	"slices"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/broker"
)

// The events of all partitions that an app hears may be stuck in their retries at once, and leave the invocations'
// places alone.
func TestPoisonedTopicsLeaveRoomForCalls(t *testing.T) {
	home, err := FindHome()
	if err != nil {
		t.Fatal(err)
	}
	subs, err := broker.ReadSubscriptions(home.Components("subscriptions"))
	if err != nil {
		t.Fatal(err)
	}
	topics, err := broker.Topics(subs)
	if err != nil {
		t.Fatal(err)
	}
	for _, app := range Apps() {
		stuck := 0
		for _, s := range subs {
			if !slices.Contains(s.Apps, app) {
				continue
			}
			i := slices.IndexFunc(topics, func(topic broker.Topic) bool { return topic.Name == s.Topic })
			if i < 0 {
				t.Fatalf("%s hears %s, which is no topic", app, s.Topic)
			}
			stuck += int(topics[i].Partitions)
		}
		if got := maxConcurrency(app, subs) - stuck; got < 256 {
			t.Errorf("%s: %d places are left for invocations when every delivery is stuck, want 256", app, got)
		}
	}
	if got, want := maxConcurrency("x", []broker.Subscription{{Topic: "a", Apps: []string{"x", "y"}}, {Topic: "b", Apps: []string{"y"}}}), 256+6; got != want {
		t.Errorf("got %d, want %d", got, want)
	}
}

// The flag reaches the sidecar.
func TestSidecarsAreToldTheirConcurrency(t *testing.T) {
	home, err := FindHome()
	if err != nil {
		t.Fatal(err)
	}
	p := &plan{cfg: Config{Home: home}, subs: []broker.Subscription{{Topic: "a", Apps: []string{"order"}}}, ports: map[string]int{}}
	args := p.sidecar("order").Args
	if i := slices.Index(args, "--app-max-concurrency"); i < 0 || args[i+1] != "262" {
		t.Errorf("got %v", args)
	}
}
