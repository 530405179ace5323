package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/kubectl"
	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// measured are the ways of one call, from a pod of the tests to an echo server.
var measured = []struct {
	what, namespace, app, url string
	why                       string
}{
	{"direct", "dishmesh-proof-plain", "caller", "http://echo.dishmesh-proof-plain:8080/", "kube-proxy and the echo server"},
	{"Dapr, by an HTTPEndpoint", "dishmesh-proof-plain", "dapr-caller", "http://127.0.0.1:3500/v1.0/invoke/echo-endpoint/method/", "the caller's daprd: a hop on loopback, its policies, and a call of its own"},
	{"Dapr, sidecar to sidecar", "dishmesh-proof-plain", "dapr-caller", "http://127.0.0.1:3500/v1.0/invoke/dapr-echo/method/", "both daprds, with gRPC between them"},
	{"Envoy", "dishmesh-proof-meshed", "caller", "http://echo.dishmesh-proof-meshed:8080/", "both Envoys, with mutual TLS between them, routes and policies"},
	{"Dapr, by an HTTPEndpoint, and Envoy", "dishmesh-proof-meshed", "dapr-caller", "http://127.0.0.1:3500/v1.0/invoke/echo-endpoint/method/", "the caller's daprd and both Envoys: the way of every call between our services"},
}

// TestLatency measures what each layer adds to one call, one after the other on connections that are kept.
func TestLatency(t *testing.T) {
	r := shows(t, "cost", "What Dapr's sidecar and Istio's add to one call.")
	r.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := here.Run(ctx, "delete", "namespace", "dishmesh-proof-plain", "dishmesh-proof-meshed", "--ignore-not-found", "--wait=false"); err != nil {
			r.Errorf("the namespaces of the measurement are left: %v", err)
		}
	})
	if err := here.Apply(r.Context(), echoNamespace("dishmesh-proof-plain", "disabled")+echoNamespace("dishmesh-proof-meshed", "enabled")+openPolicy); err != nil {
		r.Fatal(err)
	}
	for _, namespace := range []string{"dishmesh-proof-plain", "dishmesh-proof-meshed"} {
		for _, app := range []string{"echo", "dapr-echo", "caller", "dapr-caller"} {
			if err := here.RolledOut(r.Context(), namespace, "deployment/"+app, rolloutWithin); err != nil {
				r.Fatal(err)
			}
		}
	}
	const calls = 2000
	var direct probe.Latency
	for i, m := range measured {
		from := place{m.what, kubectl.Container{Namespace: m.namespace, Pod: "deployment/" + m.app, Name: withMesh}}
		r.Eventually(2*time.Minute, m.what+": there is a way", func() error {
			answers, err := here.tryAll(r.Context(), from, []probe.Request{{URL: m.url}})
			if err == nil && answers[0].Status != 200 {
				err = fmt.Errorf("%s", answers[0])
			}
			return err
		})
		here.many(r, from, 200, 1, probe.Request{URL: m.url}) // warm
		sum := here.many(r, from, calls, 1, probe.Request{URL: m.url})
		if sum.Bad > 0 {
			r.Errorf("%s: %d of %d calls failed: %v %v", m.what, sum.Bad, sum.Calls, sum.Statuses, sum.Failures)
		}
		if i == 0 {
			direct = sum.Latency
		}
		r.Figure(m.what, fmt.Sprintf("p50 %.2f ms, p90 %.2f ms, p99 %.2f ms", sum.Latency.P50, sum.Latency.P90, sum.Latency.P99),
			fmt.Sprintf("p50 %+.2f ms: %s", sum.Latency.P50-direct.P50, m.why))
	}
}

// echoNamespace is a namespace with an echo server and a caller, each without and with Dapr's sidecar.
func echoNamespace(name, injection string) string {
	// By Deployments: Dapr gives a sidecar only to pods that a controller makes.
	deployment := func(app, annotations, args string) string {
		return fmt.Sprintf(`
apiVersion: apps/v1
kind: Deployment
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  replicas: 1
  selector: {matchLabels: {app: %[1]s}}
  template:
    metadata:
      labels: {app: %[1]s}
      annotations: {traffic.sidecar.istio.io/excludeOutboundPorts: "443,50005,50006"%[3]s}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: %[4]s
          image: %[5]s
          imagePullPolicy: IfNotPresent
          command: [%[6]s, probe, %[7]s]
---`, app, name, annotations, withMesh, probeImage, probeProgram, args)
	}
	dapr := func(id string, port string) string {
		return `, dapr.io/enabled: "true", dapr.io/app-id: ` + id + `, dapr.io/app-port: "` + port + `", dapr.io/sidecar-seccomp-profile-type: RuntimeDefault`
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata:
  name: %s
  labels: {istio-injection: %s, dapr-injection: enabled}
---
apiVersion: v1
kind: Service
metadata: {name: echo, namespace: %[1]s}
spec: {selector: {app: echo}, ports: [{name: http, port: 8080}]}
---
apiVersion: dapr.io/v1alpha1
kind: HTTPEndpoint
metadata: {name: echo-endpoint, namespace: %[1]s}
spec: {baseUrl: "http://echo.%[1]s.svc.cluster.local:8080"}
---`, name, injection) +
		deployment("echo", "", "serve") + deployment("dapr-echo", dapr("dapr-echo", "8080"), "serve") +
		deployment("caller", "", "wait") + deployment("dapr-caller", dapr("dapr-caller", "8081"), `serve, --addr, ":8081"`)
}

// openPolicy lets everybody in the measured namespace ask anything: the mesh allows nothing by default.
const openPolicy = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: open, namespace: dishmesh-proof-meshed}
spec: {rules: [{}]}
`
