package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/binomial"
	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/kubectl"
	"github.com/dishmesh/dishmesh/services/internal/probe"
)

const (
	// badPod is among the pods of a service, is ready, and its app does not listen: its proxy answers all calls with 503.
	badPod = "proof-bad"
	// ejectedAfter is how many calls running a pod may fail (consecutiveGatewayErrors).
	ejectedAfter = 5
	// tryRate is how many calls a second are made while the pod is tried again. Envoy gathers what it learns of its endpoints
	// for up to a second (update_merge_window of a cluster): so long after it has taken the pod back it may go on calling it.
	tryRate, tryFirst = 40, 20
	// triedAgainWithin is more than a first ejection lasts, with the interval at which Envoy looks (15 s and 5 s). The second
	// lasts 30 s.
	triedAgainWithin = 40 * time.Second
)

// badManifest has the labels by which a service finds its pods, and what the namespace asks of every pod. The name of the
// port is the one that the Service leads to.
const badManifest = `
apiVersion: v1
kind: Pod
metadata:
  name: ` + badPod + `
  namespace: ` + communication.Namespace + `
  labels: {app: APP, version: v1, app.kubernetes.io/part-of: dishmesh}
spec:
  serviceAccountName: APP
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {runAsNonRoot: true, runAsUser: 65532, runAsGroup: 65532, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: app
      image: ` + probeImage + `
      imagePullPolicy: IfNotPresent
      command: [` + probeProgram + `, probe, wait]
      ports: [{name: http-app, containerPort: 8080}]
      resources: {requests: {cpu: 10m, memory: 16Mi}}
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`

// TestOutlierEjection puts a pod that fails every call among those of notification, and calls it through the gateway's
// Envoy: first without the rule that leaves such a pod alone, which shows its share of the calls, then with it.
func TestOutlierEjection(t *testing.T) {
	t.Parallel()               // it waits for Envoy's own clock,
	const app = "notification" // and calls one that no order needs
	r := shows(t, "faults", "A pod that fails every call and yet is ready gets few of them and is left alone, is tried again later, and it is the mesh's rule that does this.",
		"mesh/destinations/notification.yaml")
	from := here.beside(r, communication.Gateway, withMesh)
	round := func(n int, flags ...string) probe.Summary {
		t.Helper()
		sum := here.many(r, from, n, 1, direct(app, http.MethodGet, "/v1/notifications"), flags...)
		if good, bad := sum.Statuses["401"], sum.Statuses["503"]; good+bad != n { // 401: notification itself, see reached
			r.Fatalf("%d calls: %v, %v, want answers of notification and of the bad pod's proxy only", n, sum.Statuses, sum.Failures)
		}
		return sum
	}
	failed := func(s probe.Summary) int { return s.Statuses["503"] }

	here.addBadPod(r, app)
	t.Cleanup(func() { here.faultless(r, app) })
	if err := here.PatchJSON(r.Context(), communication.Namespace, "destinationrule/"+app, `[{"op":"remove","path":"/spec/trafficPolicy/outlierDetection"}]`); err != nil {
		r.Fatal(err)
	}
	r.Eventually(settled, "without the rule the bad pod has its share of the calls", func() error {
		pods := here.ready(r, app)
		bound := binomial.Around(canaryCalls, 1/float64(pods), sureness)
		n := failed(round(canaryCalls))
		if !bound.Holds(n) {
			return fmt.Errorf("%d of %d calls failed with %d pods, want %s", n, canaryCalls, pods, bound)
		}
		r.Figure(fmt.Sprintf("without the rule, calls of %d that fail with 1 bad pod of %d", canaryCalls, pods), fmt.Sprint(n), bound.String())
		return nil
	})

	began := time.Now()
	here.traffic(r, "mesh/destinations/"+app+".yaml")
	r.Eventually(settled, "with the rule no call fails any more", func() error {
		if n := failed(round(50)); n > 0 {
			return fmt.Errorf("%d of 50 fail", n)
		}
		return nil
	})
	r.Figure("from applying the rule until no call fails", fmt.Sprintf("%.1f s", time.Since(began).Seconds()), "")
	here.badPodIsReady(r)

	// The ejection ends, and the pod is found to be as bad as before.
	again := 0
	r.Eventually(triedAgainWithin, "the bad pod is tried again", func() error {
		if again = failed(round(tryFirst)); again == 0 {
			return errors.New("no call fails")
		}
		return nil
	})
	rate := []string{"--rate", fmt.Sprint(tryRate)}
	again += failed(round(2*tryRate, rate...))
	r.Figure("calls that fail when it is tried again", fmt.Sprintf("%d of %d", again, tryFirst+2*tryRate), fmt.Sprintf("%d to %d", ejectedAfter, tryFirst+tryRate))
	if again < ejectedAfter || again > tryFirst+tryRate {
		r.Errorf("%d calls failed, want that the pod is left alone after %d, or after a second", again, ejectedAfter)
	}
	after := failed(round(4*tryRate, rate...))
	r.Figure("calls that fail in the 4 s after that", fmt.Sprint(after), "0")
	if after > 0 {
		r.Errorf("%d calls failed after the pod was to be left alone again", after)
	}
	here.badPodIsReady(r)

	here.deleteBadPod(r)
	if n := failed(round(100)); n > 0 {
		r.Errorf("without the bad pod %d of 100 calls fail", n)
	}
}

// unready has the bad pod be what it looks like: nobody answers the probe.
var unready = strings.NewReplacer("      resources:", "      readinessProbe: {tcpSocket: {port: http-app}, periodSeconds: 1}\n      resources:")

// TestUnreadyPodsAreUnknown adds a pod that never gets ready and asks the gateway's Envoy which pods it knows: first with
// the share of good pods taken out of the rule, then with the rule. Of two that it knew, Envoy could leave alone the only
// good one, as it did in rollouts on a busy machine.
func TestUnreadyPodsAreUnknown(t *testing.T) {
	const app = "notification"
	r := shows(t, "faults", "While a pod starts, Envoy is not told of it, so that it can't leave alone the only one that is ready.", "mesh/destinations/notification.yaml")
	here.applied(r, unready.Replace(strings.ReplaceAll(badManifest, "APP", app)))
	var ip string
	r.Eventually(time.Minute, "the pod has an address", func() (err error) {
		ip, err = here.Run(r.Context(), "get", "pod", "-n", communication.Namespace, badPod, "-o", "jsonpath={.status.podIP}")
		if err == nil && ip == "" {
			err = errors.New("it has none yet")
		}
		return err
	})
	known := func(want bool) func() error {
		return func() error {
			clusters, err := here.Run(r.Context(), "exec", "-n", communication.Namespace, "deploy/"+communication.Gateway, "-c", "istio-proxy", "--",
				"pilot-agent", "request", "GET", "clusters")
			if is := strings.Contains(clusters, ip+":8080::health_flags::/failed_eds_health"); err == nil && is != want {
				err = fmt.Errorf("it knows %s: %t, want %t", ip, is, want)
			}
			return err
		}
	}
	t.Cleanup(func() { here.faultless(r, app) })
	if err := here.PatchJSON(r.Context(), communication.Namespace, "destinationrule/"+app, `[{"op":"remove","path":"/spec/trafficPolicy/outlierDetection/minHealthPercent"}]`); err != nil {
		r.Fatal(err)
	}
	r.Eventually(settled, "without the share Envoy knows the pod that is not ready", known(true))
	here.traffic(r, "mesh/destinations/"+app+".yaml")
	r.Eventually(settled, "with it Envoy does not", known(false))
	r.Saw("without minHealthPercent the gateway's Envoy had the pod as failed_eds_health, with it not at all")
}

// addBadPod adds the bad pod to those of an app, and takes it away again at the end of the test.
func (s *site) addBadPod(t *T, app string) {
	t.Helper()
	t.Cleanup(func() { s.deleteBadPod(t) })
	if err := s.Apply(t.Context(), strings.ReplaceAll(badManifest, "APP", app)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Run(t.Context(), "wait", "-n", communication.Namespace, "pod/"+badPod, "--for", "condition=Ready", "--timeout", "90s"); err != nil {
		t.Fatal(err)
	}
}

func (s *site) deleteBadPod(t *T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := s.Run(ctx, "delete", "-n", communication.Namespace, "pod/"+badPod, "--ignore-not-found", "--wait"); err != nil {
		t.Errorf("the bad pod can't be taken back: %v", err)
	}
}

// badPodIsReady holds that Kubernetes has not taken the pod out: then it would not be the mesh that did.
func (s *site) badPodIsReady(t *T) {
	t.Helper()
	var p kubectl.Pod
	if err := s.Get(t.Context(), &p, "pod", badPod, "-n", communication.Namespace); err != nil {
		t.Fatal(err)
	}
	if !p.Ready() || p.Restarts() > 0 {
		t.Errorf("the bad pod is not ready any more, so nothing is shown: %+v", p.Status.Conditions)
	}
}

// ready counts the pods of an app's version v1 that take calls.
func (s *site) ready(t *T, app string) (n int) {
	t.Helper()
	pods, err := s.Pods(t.Context(), communication.Namespace, "app="+app+",version=v1")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if p.Ready() {
			n++
		}
	}
	return n
}
