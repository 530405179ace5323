package broker_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/dishmesh/dishmesh/services/internal/broker"
)

var testTopics = []broker.Topic{{Name: "fooddelivery.order", Partitions: 6}, {Name: "fooddelivery.order.dlq.payment", Partitions: 1}}

// TestMain lets the test program be a broker that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("BROKER_DIR"); dir != "" {
		port, err := strconv.Atoi(os.Getenv("BROKER_PORT"))
		if err != nil {
			os.Exit(2)
		}
		b, err := broker.Start(context.Background(), broker.Config{Dir: dir, Port: port, Topics: testTopics})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(b.Addr())
		select {}
	}
	os.Exit(m.Run())
}

// startProcess runs a broker in a process of its own and returns its address.
func startProcess(t *testing.T, dir string, port string) (*exec.Cmd, string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), "BROKER_DIR="+dir, "BROKER_PORT="+port)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	buf := make([]byte, 64)
	n, err := out.Read(buf)
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	addr := strings.TrimSpace(string(buf[:n]))
	if addr == "" {
		t.Fatal("the broker did not start")
	}
	return cmd, addr
}

func client(t *testing.T, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(addr))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func consume(t *testing.T, c *kgo.Client, n int) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var got []string
	for len(got) < n {
		fetches := c.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			t.Fatalf("got %d of %d records: %v", len(got), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { got = append(got, string(r.Value)) })
	}
	return got
}

// TestKilledBrokerKeepsWhatItAcknowledged kills a broker with SIGKILL after records and offsets were acknowledged.
func TestKilledBrokerKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	cmd, addr := startProcess(t, dir, "0")
	producer := client(t, addr, kgo.DefaultProduceTopic("fooddelivery.order"), kgo.RequiredAcks(kgo.AllISRAcks()))
	var want []string
	for i := range 50 {
		value := fmt.Sprintf("event %02d", i)
		if err := producer.ProduceSync(t.Context(), &kgo.Record{Key: []byte("ord_1"), Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		want = append(want, value)
	}
	group := []kgo.Opt{kgo.ConsumerGroup("payment"), kgo.ConsumeTopics("fooddelivery.order"), kgo.DisableAutoCommit(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MaxConcurrentFetches(1), kgo.SessionTimeout(6 * time.Second)}
	first := client(t, addr, group...)
	got := consume(t, first, 50)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("before the kill (-want +got):\n%s", diff)
	}
	if err := first.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.LeaveGroup()
	if err := producer.ProduceSync(t.Context(), &kgo.Record{Key: []byte("ord_1"), Value: []byte("last words")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()

	_, addr = startProcess(t, dir, "0")
	all := consume(t, client(t, addr, kgo.ConsumeTopics("fooddelivery.order"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())), 51)
	if diff := cmp.Diff(append(want, "last words"), all); diff != "" {
		t.Errorf("all records after the kill (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"last words"}, consume(t, client(t, addr, group...), 1)); diff != "" {
		t.Errorf("what the group had not committed (-want +got):\n%s", diff)
	}
}

func TestTopicsAreNeverConjuredUp(t *testing.T) {
	b, err := broker.Start(t.Context(), broker.Config{Dir: t.TempDir(), Topics: testTopics})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := client(t, b.Addr(), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(0))
	err = c.ProduceSync(t.Context(), &kgo.Record{Topic: "fooddelivery.typo", Value: []byte("x")}).FirstErr()
	if err != kerr.UnknownTopicOrPartition {
		t.Errorf("produce to a topic that does not exist: got %v, want %v", err, kerr.UnknownTopicOrPartition)
	}
}

func TestStartOverTheSameDataAndBusyPort(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		b, err := broker.Start(t.Context(), broker.Config{Dir: dir, Topics: testTopics})
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := strings.Cut(b.Addr(), ":")
		n, err := strconv.Atoi(port)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := broker.Start(t.Context(), broker.Config{Dir: t.TempDir(), Port: n}); err == nil || !strings.Contains(err.Error(), "port "+port+" is busy") {
			t.Errorf("second broker on port %s: got %v", port, err)
		}
		b.Close()
	}
}

func TestTopics(t *testing.T) {
	got, err := broker.Topics([]broker.Subscription{
		{Name: "payment-order", Topic: "fooddelivery.order", Apps: []string{"payment"}},
		{Name: "pricing-order", Topic: "fooddelivery.order", Apps: []string{"pricing"}},
		{Name: "pricing-order-dlq", Topic: "fooddelivery.order.dlq.pricing", Apps: []string{"pricing"}},
		{Name: "gateway-order", PubSub: "live", Topic: "fooddelivery.order", Apps: []string{"gateway"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]int32{}
	for _, topic := range got {
		byName[topic.Name] = topic.Partitions
	}
	want := map[string]int32{"fooddelivery.order.dlq.payment": 1, "fooddelivery.order.dlq.pricing": 1}
	for _, e := range broker.Entities() {
		want["fooddelivery."+e] = 6
	}
	if diff := cmp.Diff(want, byName); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, unknown := range []string{"fooddelivery.ordr", "fooddelivery.order.dlq.menu"} {
		if _, err := broker.Topics([]broker.Subscription{{Name: "typo", Topic: unknown}}); err == nil {
			t.Errorf("the unknown topic %s: got no error", unknown)
		}
	}
}

func TestReadSubscriptions(t *testing.T) {
	dir := t.TempDir()
	if _, err := broker.ReadSubscriptions(dir); err == nil {
		t.Error("an empty folder: got no error")
	}
	yaml := `# Two subscriptions.
kind: Subscription
metadata: {name: one}
spec: {pubsubname: events, topic: fooddelivery.order, routes: {default: /events/fooddelivery.order}}
scopes: [payment]
---
kind: Subscription
metadata: {name: two}
spec: {pubsubname: live, topic: fooddelivery.menu, routes: {default: /events/fooddelivery.menu}}
scopes: [gateway]
`
	if err := os.WriteFile(filepath.Join(dir, "a.yaml"), []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := broker.ReadSubscriptions(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []broker.Subscription{
		{Name: "one", PubSub: "events", Topic: "fooddelivery.order", Route: "/events/fooddelivery.order", Apps: []string{"payment"}},
		{Name: "two", PubSub: "live", Topic: "fooddelivery.menu", Route: "/events/fooddelivery.menu", Apps: []string{"gateway"}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
