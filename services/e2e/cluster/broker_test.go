package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// onKafka is the overlay that the cluster has been made of: events by Kafka.
const onKafka = "k8s/overlays/kind"

// TestBrokerSwapped changes the broker under the running platform. Nothing of the services is built anew, and no line of them
// names a broker.
func TestBrokerSwapped(t *testing.T) {
	r := shows(t, "broker", "Kafka is swapped for Redis, and back, by component YAML and a rollout: every order ends on either, every account balances.",
		"k8s/broker.sh", "k8s/components/broker-redis", "k8s/overlays/kind-redis")
	if got := here.broker(r); got != "pubsub.kafka" {
		r.Fatalf("the broker is %s before the test, want Kafka", got)
	}
	here.auditGreen(r) // nothing is on its way, so nothing stays behind on the broker that is left
	r.Cleanup(func() {
		if r.Failed() {
			here.swap(r, "kafka")
		}
	})
	for _, c := range []struct{ name, kind string }{{"redis", "pubsub.redis"}, {"kafka", "pubsub.kafka"}} {
		start := time.Now()
		here.swap(r, c.name)
		here.well(r)
		if got := here.broker(r); got != c.kind {
			r.Fatalf("after the rollout the broker is %s, want %s", got, c.kind)
		}
		r.Figure("to "+c.name+", until the last pod of the broker before is gone", fmt.Sprintf("%.0f s", time.Since(start).Seconds()), "")
		if c.name == "kafka" {
			here.nobodyRefused(r)
		}
		ended(r, here.load(r, 25, 12, "--outcomes", "mixed", "--seed", "7"))
		here.auditGreen(r)
	}
}

// swap has the services take another broker. It also takes a swap back, so it does not end with the test.
func (s *site) swap(t *T, broker string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(s.home, "k8s", "broker.sh"), broker)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+s.Kubeconfig)
	if dir, _ := filepath.Split(s.Program); dir != "" {
		cmd.Env = append(cmd.Env, "PATH="+dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("k8s/broker.sh %s: %v: %s", broker, err, clip(string(out)))
	}
}

// nobodyRefused looks into Redis, which has started anew without the users of a broker, whether somebody has asked in vain
// since: a sidecar that lost its rights while it still reads does so without a pause.
func (s *site) nobodyRefused(t *T) {
	t.Helper()
	refusals, err := s.Run(t.Context(), "exec", "-n", communication.DataNamespace, "statefulset/redis", "-c", "redis", "--",
		"redis-cli", "--no-auth-warning", "--user", "admin", "--pass", s.secret(t, communication.DataNamespace, "redis-users", "admin"), "ACL", "LOG")
	if err != nil {
		t.Fatal(err)
	}
	if refusals = strings.TrimSpace(refusals); refusals != "" {
		t.Errorf("Redis refused what the broker's users asked: %s", clip(refusals))
		return
	}
	t.Saw("Redis took its broker's users back when nobody needed them: it refused nobody")
}

// broker is the type of the component that carries the events, as the sidecar of the order service has loaded it.
func (s *site) broker(t *T) string {
	t.Helper()
	a := s.ask(t, s.beside(t, "order", withMesh), probe.Request{URL: "http://127.0.0.1:3500/v1.0/metadata", Header: map[string]string{"Dapr-Api-Token": s.daprToken(t, "order")}}, "--body-head", "65536")
	var meta struct {
		Components []struct{ Name, Type string } `json:"components"`
	}
	if err := json.Unmarshal([]byte(a.Body), &meta); err != nil {
		t.Fatalf("what the sidecar has loaded: %v: %s", err, a)
	}
	for _, c := range meta.Components {
		if c.Name == "events" {
			return c.Type
		}
	}
	return "none"
}
