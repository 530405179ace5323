package kubectl_test

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/kubectl"
)

// standIn gives a client whose kubectl is a shell script. The script finds the arguments after those that every
// command has in $@.
func standIn(t *testing.T, script string) kubectl.Cluster {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubectl")
	text := "#!/bin/sh\n[ \"$1 $2 $3 $4\" = '--kubeconfig config --context kind-x' ] || { echo wrong flags: $@ >&2; exit 9; }\nshift 4\n" + script
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return kubectl.Cluster{Program: path, Kubeconfig: "config", Context: "kind-x"}
}

func TestRun(t *testing.T) {
	c := standIn(t, `case $1 in
apply) cat; echo " | $@";;
get) echo 'Error from server (NotFound): pods "a" not found' >&2; exit 1;;
*) echo "$@";;
esac`)
	if got, err := c.Run(t.Context(), "version", "-o", "json"); err != nil || got != "version -o json\n" {
		t.Errorf("run: %q, %v", got, err)
	}
	if got, err := c.Feed(t.Context(), strings.NewReader("kind: X"), "apply", "-f", "-"); err != nil || got != "kind: X | apply -f -\n" {
		t.Errorf("feed: %q, %v", got, err)
	}
	err := c.Get(t.Context(), nil, "pod", "a")
	want := `kubectl get pod a -o json: Error from server (NotFound): pods "a" not found`
	if err == nil || err.Error() != want || !kubectl.NotFound(err) {
		t.Errorf("got %v, want %s", err, want)
	}
	if kubectl.NotFound(errors.New("pod not found")) {
		t.Error("an error of somebody else counts")
	}
}

func TestPods(t *testing.T) {
	c := standIn(t, `[ "$*" = "get pods -n dishmesh -l app=order -o json" ] || { echo "$@" >&2; exit 1; }
cat <<END
{"items": [
  {"metadata": {"name": "a"}, "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
    "containerStatuses": [{"name": "app", "restartCount": 2, "containerID": "containerd://abc"}], "initContainerStatuses": [{"name": "istio-proxy", "restartCount": 1}]}},
  {"metadata": {"name": "b", "deletionTimestamp": "2026-11-22T12:00:00Z"}, "status": {"phase": "Running"}},
  {"metadata": {"name": "c"}, "status": {"phase": "Succeeded"}},
  {"metadata": {"name": "d"}, "status": {"phase": "Pending"}}]}
END`)
	pods, err := c.Pods(t.Context(), "dishmesh", "app=order")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range pods {
		got = append(got, p.Metadata.Name)
	}
	if diff := cmp.Diff([]string{"a", "d"}, got); diff != "" {
		t.Fatalf("pods (-want +got):\n%s", diff)
	}
	a := pods[0]
	app, ok := a.Container("app")
	if !a.Ready() || pods[1].Ready() || a.Restarts() != 3 || !ok || app.RuntimeID() != "abc" {
		t.Errorf("got %+v", a)
	}
}

func TestStartEndsWithItsInput(t *testing.T) {
	c := standIn(t, `echo "$@"; cat; exit 3`)
	r, err := c.Start(t.Context(), kubectl.Container{Namespace: "dishmesh", Pod: "a", Name: "probe"}, "/dishmesh", "probe")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		out, err := r.End()
		if err == nil || out != "exec -n dishmesh a -c probe -i -- /dishmesh probe\n" {
			t.Errorf("%q, %v", out, err)
		}
	}
}

func TestObjects(t *testing.T) {
	var n kubectl.Node
	n.Status.Conditions = []kubectl.Condition{{Type: "Ready", Status: "True"}}
	if !n.Takes() {
		t.Error("a node that is ready takes pods")
	}
	n.Spec.Unschedulable = true
	if n.Takes() {
		t.Error("a cordoned node takes no pods")
	}
	var d kubectl.Deployment
	d.Spec.Replicas, d.Status.Replicas, d.Status.ReadyReplicas, d.Status.UpdatedReplicas = 2, 3, 2, 2
	if d.Ready() {
		t.Error("an old replica is still there")
	}
	d.Status.Replicas = 2
	if !d.Ready() {
		t.Error("all is there")
	}
	var a kubectl.Autoscaler
	if got := a.Measured(); got != "nothing yet" {
		t.Errorf("what nobody has measured is %q", got)
	}
	raw := `{"status": {"currentMetrics": [{"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "app", "current": {"averageValue": "412m"}}}]}}`
	if err := json.Unmarshal([]byte(raw), &a); err != nil || a.Measured() != "cpu 412m" {
		t.Errorf("got %q, %v", a.Measured(), err)
	}
}
