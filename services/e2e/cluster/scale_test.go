package cluster

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/kubectl"
)

// TestAutoscaling has people log in until the user service, which hashes passwords slowly on purpose, needs help.
func TestAutoscaling(t *testing.T) {
	t.Parallel() // the autoscaler looks every 15 s
	r := shows(t, "scaling", "Under load a service gets more replicas by what metrics-server measures, and loses them afterwards.", "k8s/base/common/autoscaling.yaml")
	if _, err := here.Run(r.Context(), "get", "--raw", "/apis/metrics.k8s.io/v1beta1/namespaces/"+communication.Namespace+"/pods"); err != nil {
		r.Skipf("there is no metrics-server here: %v", err)
	}
	autoscaler := func() (a kubectl.Autoscaler, err error) {
		return a, here.Get(r.Context(), &a, "horizontalpodautoscaler", "user", "-n", communication.Namespace)
	}
	was, err := autoscaler()
	if err != nil {
		r.Fatal(err)
	}
	if was.Status.CurrentReplicas != was.Spec.MinReplicas {
		r.Fatalf("user has %d replicas before the load, want %d", was.Status.CurrentReplicas, was.Spec.MinReplicas)
	}
	// Going down waits for two minutes, so that a short lull costs nothing. Here some seconds have to do.
	patience := func(ctx context.Context, seconds int) error {
		return here.Patch(ctx, communication.Namespace, "horizontalpodautoscaler/user", fmt.Sprintf(`{"spec":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":%d}}}}`, seconds))
	}
	r.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := patience(ctx, was.Spec.Behavior.ScaleDown.StabilizationWindowSeconds); err != nil {
			r.Errorf("the autoscaler can't be set back: %v", err)
		}
	})
	if err := patience(r.Context(), 5); err != nil {
		r.Fatal(err)
	}
	start := time.Now()
	stop := here.steadily(r, here.beside(r, communication.Gateway, withMesh), 12,
		byDapr(here.daprToken(r, communication.Gateway), "user", http.MethodPost, "/v1/tokens", `{"email":"operator@dishmesh.local","password":"not the password"}`))
	var up kubectl.Autoscaler
	r.Eventually(4*time.Minute, "user is scaled up", func() (err error) {
		if up, err = autoscaler(); err != nil {
			return err
		}
		if up.Status.CurrentReplicas <= was.Spec.MinReplicas {
			return fmt.Errorf("%d replicas, %s", up.Status.CurrentReplicas, up.Measured())
		}
		return nil
	})
	r.Figure("replicas, after so long under load", fmt.Sprintf("%d → %d after %.0f s", was.Spec.MinReplicas, up.Status.CurrentReplicas, time.Since(start).Seconds()), "measured "+up.Measured())
	r.Eventually(wellWithin, "the new replicas take calls", func() error { return here.unwell(r.Context()) })
	sum := stop()
	r.Figure("logins meanwhile, p50 / p99", fmt.Sprintf("%d, %.0f / %.0f ms", sum.Calls, sum.Latency.P50, sum.Latency.P99), "")
	if sum.Statuses[fmt.Sprint(http.StatusUnauthorized)] == 0 {
		r.Errorf("logins with a wrong password: %v %v, want 401", sum.Statuses, sum.Failures)
	}
	down := time.Now()
	r.Eventually(5*time.Minute, "user is scaled down", func() error {
		a, err := autoscaler()
		if err != nil {
			return err
		}
		if a.Status.CurrentReplicas != was.Spec.MinReplicas {
			return fmt.Errorf("%d replicas, %s", a.Status.CurrentReplicas, a.Measured())
		}
		return nil
	})
	r.Figure("back at the least, after the load", fmt.Sprintf("%.0f s", time.Since(down).Seconds()), "5 s of patience")
	if a := here.caller.Do(r.Context(), here.raw("", http.MethodGet, "/v1/restaurants", nil)); a.Status != http.StatusOK {
		r.Errorf("afterwards: %s, want 200", a)
	}
}
