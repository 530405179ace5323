package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// The two forms of the overlay: events by Kafka, and by Redis.
const (
	onKafka = "k8s/overlays/kind"
	onRedis = "k8s/overlays/kind-redis"
)

// TestBrokerSwapped changes the broker under the running platform: another overlay is applied, and the services are
// rolled out. Nothing of the services is built anew, and no line of them names a broker.
func TestBrokerSwapped(t *testing.T) {
	r := shows(t, "broker", "Kafka is swapped for Redis, and back, by component YAML and a rollout: every order ends on either, every account balances.",
		"k8s/components/broker-redis", onRedis)
	if got := here.broker(r); got != "pubsub.kafka" {
		r.Fatalf("the broker is %s before the test, want Kafka", got)
	}
	here.auditGreen(r) // nothing is on its way, so nothing stays behind on the broker that is left
	r.Cleanup(func() {
		if r.Failed() {
			here.swap(r, onKafka)
		}
	})
	for _, c := range []struct{ overlay, kind, name string }{{onRedis, "pubsub.redis", "Redis"}, {onKafka, "pubsub.kafka", "Kafka"}} {
		start := time.Now()
		here.swap(r, c.overlay)
		here.well(r)
		// A pod that still ends may carry a saga's last event to the broker that nobody listens to any more.
		r.Eventually(wellWithin, "the pods of the broker before are gone", func() error {
			ending, err := here.Ending(r.Context(), communication.Namespace)
			if err == nil && len(ending) > 0 {
				err = fmt.Errorf("%d are not", len(ending))
			}
			return err
		})
		if got := here.broker(r); got != c.kind {
			r.Fatalf("after the rollout the broker is %s, want %s", got, c.kind)
		}
		r.Figure("to "+c.name, fmt.Sprintf("%.0f s", time.Since(start).Seconds()), "")
		ended(r, here.load(r, 25, 12, "--outcomes", "mixed", "--seed", "7"))
		here.auditGreen(r)
	}
}

// swap applies an overlay and rolls the services out. It also takes a swap back, so it does not end with the test.
func (s *site) swap(t *T, overlay string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	defer cancel()
	_, err := s.Run(ctx, "apply", "--server-side", "--force-conflicts", "--field-manager", "proof", "-k", filepath.Join(s.home, overlay))
	if err == nil && overlay == onKafka {
		for _, namespace := range []string{communication.Namespace, communication.DataNamespace} {
			_, e := s.Run(ctx, "delete", "networkpolicy", "broker-redis", "-n", namespace, "--ignore-not-found")
			err = errors.Join(err, e)
		}
	}
	if err == nil {
		err = s.RolledOut(ctx, communication.DataNamespace, "statefulset/redis", rolloutWithin)
	}
	if err != nil {
		t.Errorf("apply %s: %v", overlay, err)
		return
	}
	if err := s.rollOut(ctx, communication.Services()); err != nil {
		t.Errorf("roll out on %s: %v", overlay, err)
	}
}

// rollOut replaces the pods of services, all at once.
func (s *site) rollOut(ctx context.Context, apps []string) error {
	var all sync.WaitGroup
	errs := make([]error, len(apps))
	for i, app := range apps {
		all.Go(func() { errs[i] = s.Restart(ctx, communication.Namespace, "deployment/"+app, 6*time.Minute) })
	}
	all.Wait()
	return errors.Join(errs...)
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
