package cluster

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cluster"
	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/kubectl"
)

// byLag is what is added for it.
const byLag = "k8s/components/autoscaling-by-lag"

// scaledByLag are the services that it scales, as a selector.
const scaledByLag = "app.kubernetes.io/name in (notification,analytics)"

// lagHPA is the autoscaler that KEDA makes for analytics.
const lagHPA = "keda-hpa-analytics"

// analytics is held by whoever stops it or needs a pod of it, of the tests that run side by side.
var analytics sync.Mutex

// TestScalingByLag stops the process of analytics as a debugger would, so that it takes no more events and yet is not gone, and
// has orders placed until it is far behind.
func TestScalingByLag(t *testing.T) {
	r := shows(t, "scaling", "A consumer that falls behind on Kafka gets more replicas by KEDA, which asks Kafka, and loses them when it has caught up.", byLag)
	added := here.addKEDA(r) // while the next tests run
	r.Parallel()             // the audit waits for its own orders only
	added()
	r.Cleanup(func() {
		if err := here.scaleByCPU(); err != nil {
			r.Errorf("the autoscalers can't be set back: %v", err)
		}
	})
	start := time.Now()
	if err := here.scaleByLag(r.Context()); err != nil {
		r.Fatal(err)
	}
	autoscaler := func() (a kubectl.Autoscaler, err error) {
		return a, here.Get(r.Context(), &a, "horizontalpodautoscaler", lagHPA, "-n", communication.Namespace)
	}
	r.Eventually(90*time.Second, "KEDA has asked Kafka how far analytics is", func() error {
		a, err := autoscaler()
		if err == nil && !kubectl.Holds(a.Status.Conditions, "ScalingActive") {
			err = fmt.Errorf("it has not: %+v", a.Status.Conditions)
		}
		return err
	})
	r.Figure("until KEDA has asked Kafka for the first time", fmt.Sprintf("%.0f s", time.Since(start).Seconds()), "")

	analytics.Lock()
	defer analytics.Unlock()
	pod := here.onePod(r, communication.Namespace, "analytics")
	here.signal(r, pod, "app", "STOP")
	resumed := false
	resume := func() {
		if !resumed {
			resumed = true
			here.signal(r, pod, "app", "CONT")
		}
	}
	defer resume()
	ended(r, here.load(r, 20, 10)) // each of them some 20 events
	start = time.Now()
	var up kubectl.Autoscaler
	r.Eventually(time.Minute, "analytics is scaled up", func() (err error) {
		if up, err = autoscaler(); err != nil {
			return err
		}
		if up.Status.DesiredReplicas < 2 {
			return fmt.Errorf("%d replicas are wanted, %s", up.Status.DesiredReplicas, up.Measured())
		}
		return nil
	})
	r.Figure("replicas of analytics, wanted so long after the orders had ended", fmt.Sprintf("1 → %d after %.0f s", up.Status.DesiredReplicas, time.Since(start).Seconds()),
		"measured a replica: "+up.Measured()+", one more for each 200 events")
	resume()
	down := time.Now()
	r.Eventually(wellWithin, "all replicas are there", func() error { return here.unwell(r.Context()) })
	r.Eventually(4*time.Minute, "analytics has caught up and is scaled down", func() error {
		a, err := autoscaler()
		if err == nil && (a.Status.DesiredReplicas != 1 || a.Status.CurrentReplicas != 1) {
			err = fmt.Errorf("%d replicas, %s", a.Status.CurrentReplicas, a.Measured())
		}
		return err
	})
	r.Figure("caught up and back at one", fmt.Sprintf("%.0f s", time.Since(down).Seconds()), "5 s of patience")
	here.auditGreen(r)
}

// addKEDA begins to bring KEDA into the cluster for as long as the test lasts, if it is not there: at rest it takes a tenth of
// what the whole cluster does, which the other tests can do without. The test waits for it when it needs it.
func (s *site) addKEDA(t *T) (wait func()) {
	t.Helper()
	if _, err := s.Run(t.Context(), "get", "namespace", "keda"); err == nil {
		return func() {}
	}
	keda, err := cluster.FindAddition("keda")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
		defer cancel()
		if _, err := s.Run(ctx, "delete", "--ignore-not-found", "-f", cluster.NewLayout(s.data).Manifests(keda)); err != nil {
			t.Errorf("KEDA can't be taken away: %v", err)
		}
	})
	var added sync.WaitGroup
	added.Go(func() {
		start := time.Now()
		s.dishmeshFed(t, 30*time.Minute, nil, []int{0}, "cluster", "add", keda.Name) // its images may have to be built
		t.Figure("KEDA brought into the cluster", fmt.Sprintf("%.0f s", time.Since(start).Seconds()), "`dishmesh cluster add keda`")
	})
	return added.Wait
}

// scaleByLag has KEDA scale what it can, in the place of the autoscalers that go by processor time.
func (s *site) scaleByLag(ctx context.Context) error {
	_, gone := s.Run(ctx, "delete", "horizontalpodautoscaler", "-n", communication.Namespace, "-l", scaledByLag)
	_, err := s.Run(ctx, "apply", "--server-side", "--field-manager", "proof", "-k", filepath.Join(s.home, byLag))
	// Going down waits for two minutes, so that a short lull costs nothing. Here some seconds have to do.
	hurry := s.Patch(ctx, communication.Namespace, "scaledobject/analytics",
		`{"spec":{"advanced":{"horizontalPodAutoscalerConfig":{"behavior":{"scaleDown":{"stabilizationWindowSeconds":5}}}}}}`)
	return errors.Join(gone, err, hurry)
}

// scaleByCPU takes that back.
func (s *site) scaleByCPU() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err := s.Run(ctx, "delete", "--ignore-not-found", "-k", filepath.Join(s.home, byLag)) // KEDA's autoscalers go with it
	_, back := s.Run(ctx, "apply", "--server-side", "--force-conflicts", "--field-manager", "proof", "-k", filepath.Join(s.home, onKafka), "-l", scaledByLag)
	return errors.Join(err, back)
}
