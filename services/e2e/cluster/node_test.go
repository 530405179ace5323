package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/kubectl"
	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// starts counts, by pod, the starts of all containers of the services.
func (s *site) starts(t *T) map[string]int {
	t.Helper()
	pods, err := s.Pods(t.Context(), communication.Namespace, "")
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, p := range pods {
		counts[p.Metadata.Name] = p.Restarts()
	}
	return counts
}

// kubeletAndContainerdRestarted restarts what runs the containers, below them.
func kubeletAndContainerdRestarted(t *testing.T) {
	r := shows(t, "kills", "containerd and the kubelet are restarted on the node: no container ends.", "kind/cluster.yaml")
	before := here.starts(r)
	for _, unit := range []string{"containerd", "kubelet"} {
		here.onNode(r, "systemctl", "restart", unit)
		start := time.Now()
		r.Eventually(wellWithin, "the node is ready after "+unit, func() error {
			if out, err := here.dockerRun(r.Context(), "exec", node, "systemctl", "is-active", unit); err != nil {
				return fmt.Errorf("%s is %s", unit, strings.TrimSpace(out))
			}
			nodes, err := here.Nodes(r.Context())
			if err != nil {
				return err
			}
			for _, n := range nodes {
				if !kubectl.Holds(n.Status.Conditions, "Ready") {
					return fmt.Errorf("node %s is not ready", n.Metadata.Name)
				}
			}
			return here.unwell(r.Context())
		})
		r.Figure("all is ready after a restart of "+unit, fmt.Sprintf("%.0f s", time.Since(start).Seconds()), "")
	}
	for pod, n := range here.starts(r) {
		if was, ok := before[pod]; !ok || n != was {
			r.Errorf("pod %s has %d starts, %d before (there before: %t): containers should not notice", pod, n, was, ok)
		}
	}
}

// uncordon lets the nodes take pods again.
func (s *site) uncordon(t *T, nodes []kubectl.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, n := range nodes {
		if _, err := s.Run(ctx, "uncordon", n.Metadata.Name); err != nil {
			t.Errorf("uncordon: %v", err)
		}
	}
}

// TestDrain drains a node of what it may. The cluster has one node, so what is evicted has to wait until the node takes
// pods again: a drain must therefore stop before it takes the last replica of a service that has two.
func TestDrain(t *testing.T) {
	r := shows(t, "kills", "kubectl drain takes one replica at a time and stops before the last; everything is there again after uncordon.", "k8s/base/pricing/pdb.yaml")
	nodes, err := here.Nodes(r.Context())
	if err != nil {
		r.Fatal(err)
	}
	// Two replicas, which the autoscaler would not keep; it takes the second away as soon as it may.
	var was kubectl.Autoscaler
	if err := here.Get(r.Context(), &was, "horizontalpodautoscaler", "pricing", "-n", communication.Namespace); err != nil {
		r.Fatal(err)
	}
	least := func(ctx context.Context, n, patience int) error {
		return here.Patch(ctx, communication.Namespace, "horizontalpodautoscaler/pricing",
			fmt.Sprintf(`{"spec":{"minReplicas":%d,"behavior":{"scaleDown":{"stabilizationWindowSeconds":%d}}}}`, n, patience))
	}
	r.Cleanup(func() {
		here.uncordon(r, nodes)
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := least(ctx, was.Spec.MinReplicas, was.Spec.Behavior.ScaleDown.StabilizationWindowSeconds); err != nil {
			r.Errorf("the autoscaler can't be set back: %v", err)
		}
	})
	if err := least(r.Context(), 2, 0); err != nil {
		r.Fatal(err)
	}
	// It looks every 15 s; what it will want is told to the Deployment at once.
	if _, err := here.Run(r.Context(), "scale", "deployment/pricing", "-n", communication.Namespace, "--replicas", "2"); err != nil {
		r.Fatal(err)
	}
	ready := func(want int) func() error {
		return func() error {
			pods, err := here.Pods(r.Context(), communication.Namespace, "app=pricing")
			if err != nil {
				return err
			}
			n := 0
			for _, p := range pods {
				if p.Ready() {
					n++
				}
			}
			if n != want {
				return fmt.Errorf("%d replicas are ready", n)
			}
			return nil
		}
	}
	r.Eventually(wellWithin, "pricing has two replicas", ready(2))
	stop := here.steadily(r, here.beside(r, communication.Gateway, withMesh), 10, quoting(here.daprToken(r, communication.Gateway)))

	drain := func(within string, selector string) error {
		args := []string{"drain", "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--pod-selector", selector, "--timeout", within}
		for _, n := range nodes {
			args = append(args, n.Metadata.Name)
		}
		_, err := here.Run(r.Context(), args...)
		return err
	}
	err = drain("20s", "version=v1,app=pricing")
	if err == nil {
		r.Errorf("the drain took both replicas of pricing")
	}
	if err := ready(1)(); err != nil {
		r.Errorf("while the drain waits: %v, want one replica", err)
	}
	r.Saw("a drain of the two replicas of pricing took one and waited in vain for the other's budget")
	here.uncordon(r, nodes)
	r.Eventually(wellWithin, "pricing has two replicas again", ready(2))
	sum := stop()
	quotes := sum.Statuses[fmt.Sprint(http.StatusBadRequest)] + sum.Statuses[fmt.Sprint(http.StatusUnauthorized)] + sum.Statuses[fmt.Sprint(http.StatusUnprocessableEntity)]
	r.Figure("calls of pricing meanwhile without its answer", fmt.Sprintf("%d of %d", sum.Calls-quotes, sum.Calls), "0")
	if quotes != sum.Calls {
		r.Errorf("calls of pricing: %v %v; want an answer of its own to each", sum.Statuses, sum.Failures)
	}

	// Then everything, with orders under way. Nothing is left to take requests until the node takes pods again.
	if err := least(r.Context(), 1, 0); err != nil {
		r.Fatal(err)
	}
	orders := here.background(r, 20, 6, "--patience", "5m", "--timeout", "8m")
	r.Eventually(time.Minute, "orders are under way", func() error {
		a := here.caller.Do(r.Context(), probe.Request{URL: here.url + "/v1/restaurants"})
		if a.Status != http.StatusOK {
			return errors.New(a.String())
		}
		return nil
	})
	if err := drain("3m", "version=v1,app in ("+strings.Join(communication.Services(), ",")+")"); err != nil {
		r.Errorf("the drain of all services: %v", err)
	}
	here.uncordon(r, nodes)
	start := time.Now()
	here.well(r)
	r.Figure("all services are there again, after a drain of everything and uncordon", fmt.Sprintf("%.0f s", time.Since(start).Seconds()), "")
	ended(r, orders())
	here.auditGreen(r)
}
