package rights_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/dishmesh/dishmesh/services/internal/broker"
	"github.com/dishmesh/dishmesh/services/internal/rights"
)

// kafka is a broker with users and rights, as the cluster's is, for two services: payment hears of orders.
func kafka(t *testing.T) rights.Kafka {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(), kfake.Superuser("SCRAM-SHA-256", rights.Admin, "root"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	subs := []broker.Subscription{{Name: "a", PubSub: "events", Topic: "fooddelivery.order", Apps: []string{"payment"}}}
	topics, err := broker.Topics(subs)
	if err != nil {
		t.Fatal(err)
	}
	return rights.Kafka{Addr: cluster.ListenAddrs()[0], Topics: topics, Replicas: 1,
		Passwords: map[string]string{rights.Admin: "root", "order": "one", "payment": "two"},
		Grants:    rights.Grants([]string{"order", "payment"}, topics, subs)}
}

func client(t *testing.T, k rights.Kafka, user, password string) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(k.Addr), kgo.RetryTimeout(0), kgo.RequestRetries(0), kgo.UnknownTopicRetries(0),
		kgo.RecordDeliveryTimeout(5*time.Second), kgo.SASL(scram.Auth{User: user, Pass: password}.AsSha256Mechanism()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func write(ctx context.Context, c *kgo.Client, topic string) error {
	return c.ProduceSync(ctx, &kgo.Record{Topic: topic, Value: []byte("{}")}).FirstErr()
}

func TestAServiceWritesWhatIsItsOwn(t *testing.T) {
	k := kafka(t)
	if err := k.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	order, payment := client(t, k, "order", "one"), client(t, k, "payment", "two")
	for _, tt := range []struct {
		who   *kgo.Client
		topic string
		ok    bool
	}{
		{order, "fooddelivery.order", true},
		{order, "fooddelivery.payment", false},
		{order, "fooddelivery.order.dlq.payment", false},
		{payment, "fooddelivery.payment", true},
		{payment, "fooddelivery.order", false},
		{payment, "fooddelivery.order.dlq.payment", true},
	} {
		err := write(t.Context(), tt.who, tt.topic)
		if tt.ok && err != nil || !tt.ok && !errors.Is(err, kerr.TopicAuthorizationFailed) {
			t.Errorf("%s: got %v, want allowed: %t", tt.topic, err, tt.ok)
		}
	}
	// Whose group it is, is a right of its own.
	for user, password := range map[string]string{"payment": "two", "order": "one"} {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.CoordinatorKey, req.CoordinatorKeys = "payment", []string{"payment"}
		resp, err := req.RequestWith(t.Context(), client(t, k, user, password))
		if err != nil {
			t.Fatal(err)
		}
		code := resp.ErrorCode
		for _, c := range resp.Coordinators {
			code = c.ErrorCode
		}
		if got := kerr.ErrorForCode(code) == nil; got != (user == "payment") {
			t.Errorf("the group payment: %s may: %t", user, got)
		}
	}
}

// It may run again, and takes back what is not declared.
func TestRightsAreAsDeclared(t *testing.T) {
	k := kafka(t)
	if err := k.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	admin := client(t, k, rights.Admin, "root")
	req := kmsg.NewPtrCreateACLsRequest()
	c := kmsg.NewCreateACLsRequestCreation()
	c.ResourceType, c.ResourceName, c.ResourcePatternType = kmsg.ACLResourceTypeTopic, "fooddelivery.", kmsg.ACLResourcePatternTypePrefixed
	c.Principal, c.Host, c.Operation, c.PermissionType = "User:order", "*", kmsg.ACLOperationAll, kmsg.ACLPermissionTypeAllow
	req.Creations = append(req.Creations, c)
	if _, err := req.RequestWith(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), client(t, k, "order", "one"), "fooddelivery.payment"); err != nil {
		t.Fatalf("with the right: %v", err)
	}
	if err := k.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	order := client(t, k, "order", "one")
	if err := write(t.Context(), order, "fooddelivery.payment"); !errors.Is(err, kerr.TopicAuthorizationFailed) {
		t.Errorf("after the right was taken back: %v", err)
	}
	if err := write(t.Context(), order, "fooddelivery.order"); err != nil {
		t.Errorf("its own: %v", err)
	}
}

func TestKafkaFaults(t *testing.T) {
	k := kafka(t)
	delete(k.Passwords, "payment")
	if err := k.Ensure(t.Context()); err == nil {
		t.Error("a user without a password: no error")
	}
	k.Passwords[rights.Admin] = "wrong"
	if err := k.Ensure(t.Context()); err == nil {
		t.Error("a wrong password of the administrator: no error")
	}
}
