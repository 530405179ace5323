package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/kubectl"
	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// A place is where calls come from: beside a service or in a namespace of the tests.
type place struct {
	name string
	kubectl.Container
}

// places are those that were made so far.
type places struct {
	mu      sync.Mutex
	foreign bool
}

// How a prober stands beside a service: with its identity in the mesh, or around the mesh's proxy, to which user 1337
// is the proxy itself.
const (
	withMesh   = "probe"
	aroundMesh = "probe-around"
)

// Namespaces of the tests: one whose pods are in the mesh, and one whose pods are nobody's.
const (
	foreignNamespace = "dishmesh-proof-mesh"
	outsideNamespace = "dishmesh-proof-outside"
)

// probeProgram is the prober in the image of the dishmesh tool.
const (
	probeImage   = "dishmesh/dishmesh:dev"
	probeProgram = "/dishmesh"
)

// beside puts a prober into a pod of a service, as an ephemeral container: it has the pod's network, account and rules,
// and goes with the pod.
func (s *site) beside(t *T, app, kind string) place {
	t.Helper()
	s.places.mu.Lock()
	defer s.places.mu.Unlock()
	pods, err := s.Pods(t.Context(), communication.Namespace, "app="+app)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		if !p.Ready() {
			continue
		}
		at := place{"beside " + app, kubectl.Container{Namespace: communication.Namespace, Pod: p.Metadata.Name, Name: kind}}
		if kind == aroundMesh {
			at.name = "around " + app + "'s proxy"
		}
		if c, ok := p.Container(kind); ok && c.State.Running != nil {
			return at
		}
		s.debug(t, at.Container)
		return at
	}
	t.Fatalf("no pod of %s is ready", app)
	return place{}
}

// debug adds the container and waits until it runs.
func (s *site) debug(t *T, at kubectl.Container) {
	t.Helper()
	custom := map[string]any{
		"imagePullPolicy": "IfNotPresent",
		"securityContext": map[string]any{"readOnlyRootFilesystem": true, "runAsNonRoot": true, "allowPrivilegeEscalation": false,
			"capabilities": map[string]any{"drop": []string{"ALL"}}, "seccompProfile": map[string]string{"type": "RuntimeDefault"}},
	}
	if at.Name == aroundMesh {
		custom["securityContext"].(map[string]any)["runAsUser"] = 1337
	}
	raw, err := json.Marshal(custom)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.CreateTemp(t.TempDir(), "custom-*.json")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := file.Write(raw); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = s.Run(t.Context(), "debug", "-n", at.Namespace, "pod/"+at.Pod, "--image", probeImage, "--image-pull-policy", "IfNotPresent",
		"--profile", "restricted", "--custom", file.Name(), "--container", at.Name, "--quiet", "--", probeProgram, "probe", "wait")
	if err != nil {
		t.Fatal(err)
	}
	s.runs(t, at)
}

// runs waits until a container does.
func (s *site) runs(t *T, at kubectl.Container) {
	t.Helper()
	t.Eventually(time.Minute, at.Name+" runs in "+at.Pod, func() error {
		var p kubectl.Pod
		if err := s.Get(t.Context(), &p, "pod", at.Pod, "-n", at.Namespace); err != nil {
			return err
		}
		if c, ok := p.Container(at.Name); !ok || c.State.Running == nil {
			return errors.New("not yet")
		}
		return nil
	})
}

// foreign gives a place in a namespace of the tests. The account there has the name of the gateway's: a name alone must
// not open anything.
func (s *site) foreign(t *T, namespace string) place {
	t.Helper()
	s.places.mu.Lock()
	defer s.places.mu.Unlock()
	if !s.places.foreign {
		if err := s.Apply(t.Context(), foreignManifests); err != nil {
			t.Fatal(err)
		}
		s.places.foreign = true
	}
	at := place{"in " + namespace, kubectl.Container{Namespace: namespace, Pod: "prober", Name: withMesh}}
	if _, err := s.Run(t.Context(), "wait", "-n", namespace, "pod/prober", "--for", "condition=Ready", "--timeout", "90s"); err != nil {
		t.Fatal(err)
	}
	return at
}

// close takes the namespaces of the tests away.
func (p *places) close(ctx context.Context, s *site) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.foreign {
		return nil
	}
	_, err := s.Run(ctx, "delete", "namespace", foreignNamespace, outsideNamespace, "--ignore-not-found", "--wait=false")
	return err
}

const foreignManifests = `
apiVersion: v1
kind: Namespace
metadata:
  name: ` + foreignNamespace + `
  labels: {istio-injection: enabled}
---
apiVersion: v1
kind: Namespace
metadata:
  name: ` + outsideNamespace + `
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: gateway, namespace: ` + foreignNamespace + `}
---
apiVersion: v1
kind: Pod
metadata: {name: prober, namespace: ` + foreignNamespace + `, labels: {app: gateway, app.kubernetes.io/part-of: dishmesh}}
spec:
  serviceAccountName: gateway
  terminationGracePeriodSeconds: 1
  containers:
    - name: ` + withMesh + `
      image: ` + probeImage + `
      imagePullPolicy: IfNotPresent
      command: [` + probeProgram + `, probe, wait]
      resources: {requests: {cpu: 10m, memory: 16Mi}}
    - name: ` + aroundMesh + `
      image: ` + probeImage + `
      imagePullPolicy: IfNotPresent
      command: [` + probeProgram + `, probe, wait]
      securityContext: {runAsUser: 1337, runAsNonRoot: true}
      resources: {requests: {cpu: 10m, memory: 16Mi}}
---
apiVersion: v1
kind: Pod
metadata: {name: prober, namespace: ` + outsideNamespace + `, labels: {app: gateway, app.kubernetes.io/part-of: dishmesh}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: ` + withMesh + `
      image: ` + probeImage + `
      imagePullPolicy: IfNotPresent
      command: [` + probeProgram + `, probe, wait]
      resources: {requests: {cpu: 10m, memory: 16Mi}}
`

// ask makes one call from a place.
func (s *site) ask(t *T, from place, r probe.Request, flags ...string) probe.Answer {
	t.Helper()
	return s.askAll(t, from, []probe.Request{r}, flags...)[0]
}

// askAll makes calls from a place, each on a connection of its own, and gives the answers in the same order.
func (s *site) askAll(t *T, from place, requests []probe.Request, flags ...string) []probe.Answer {
	t.Helper()
	answers, err := s.tryAll(t.Context(), from, requests, flags...)
	if err != nil {
		t.Fatalf("%s: %v", from.name, err)
	}
	return answers
}

// tryAll is askAll for who polls.
func (s *site) tryAll(ctx context.Context, from place, requests []probe.Request, flags ...string) ([]probe.Answer, error) {
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, r := range requests {
		if err := enc.Encode(r); err != nil {
			return nil, err
		}
	}
	argv := append([]string{probeProgram, "probe", "each", "--fresh", "--concurrency", "16"}, flags...)
	out, err := s.Call(ctx, &in, from.Container, argv...)
	if err != nil {
		return nil, err
	}
	var answers []probe.Answer
	for dec := json.NewDecoder(strings.NewReader(out)); dec.More(); {
		var a probe.Answer
		if err := dec.Decode(&a); err != nil {
			return nil, err
		}
		answers = append(answers, a)
	}
	if len(answers) != len(requests) {
		return nil, fmt.Errorf("%d answers to %d requests: %s", len(answers), len(requests), out)
	}
	return answers, nil
}

// many makes n calls from a place and sums up.
func (s *site) many(t *T, from place, n, atOnce int, r probe.Request, flags ...string) probe.Summary {
	t.Helper()
	argv := append(callFlags(r), "--count", strconv.Itoa(n), "--concurrency", strconv.Itoa(atOnce))
	out, err := s.Call(t.Context(), nil, from.Container, append(append(argv, flags...), r.URL)...)
	if err != nil {
		t.Fatalf("%s: %v", from.name, err)
	}
	return readSummary(t, out)
}

// callFlags are the program and flags of probe call that say what a request is, but for its address.
func callFlags(r probe.Request) []string {
	argv := []string{probeProgram, "probe", "call"}
	if r.Method != "" {
		argv = append(argv, "--method", r.Method)
	}
	if r.Body != "" {
		argv = append(argv, "--body", r.Body)
	}
	for name, value := range r.Header {
		argv = append(argv, "--header", name+": "+value)
	}
	return argv
}

func readSummary(t *T, out string) probe.Summary {
	t.Helper()
	var sum probe.Summary
	if err := json.Unmarshal([]byte(out), &sum); err != nil {
		t.Fatalf("the prober's answer is no summary: %v: %s", err, out)
	}
	return sum
}

// steadily makes calls from a place until stop is called, which gives the summary.
func (s *site) steadily(t *T, from place, rate float64, r probe.Request) (stop func() probe.Summary) {
	t.Helper()
	argv := append(callFlags(r), "--until-eof", "--rate", strconv.FormatFloat(rate, 'g', -1, 64), "--concurrency", "32", "--timeout", "15s", r.URL)
	running, err := s.Start(t.Context(), from.Container, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return func() probe.Summary {
		t.Helper()
		out, err := running.End()
		if err != nil {
			t.Fatalf("%s: %v", from.name, err)
		}
		return readSummary(t, out)
	}
}

// daprToken gives the token of an app's sidecar, for calls by it.
func (s *site) daprToken(t *T, app string) string {
	t.Helper()
	return s.secret(t, communication.Namespace, app+"-dapr-token", "token")
}

// secret reads one value of a Secret.
func (s *site) secret(t *T, namespace, name, key string) string {
	t.Helper()
	value, err := s.Secret(t.Context(), namespace, name, key)
	if err != nil {
		t.Fatal(err)
	}
	return value
}

// byDapr is a call of an app as a service makes it: by the sidecar of the place.
func byDapr(token, app, method, path, body string) probe.Request {
	return probe.Request{URL: "http://127.0.0.1:3500" + path, Method: method, Body: body,
		Header: map[string]string{"Dapr-App-Id": app, "Dapr-Api-Token": token, "Content-Type": "application/json"}}
}

// direct is a call of an app by its Service.
func direct(app, method, path string) probe.Request {
	return probe.Request{URL: fmt.Sprintf("http://%s.%s.svc.cluster.local:%d%s", app, communication.Namespace, communication.AppPort, path), Method: method}
}
