package cluster

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/kubectl"
)

// onePod gives the first pod of an app that is ready, and waits for one: a pod that lost a sidecar is found unready only some
// probes later, when the sidecar may be there again.
func (s *site) onePod(t *T, namespace, app string) (one kubectl.Pod) {
	t.Helper()
	t.Eventually(wellWithin, "a pod of "+app+" is ready", func() error {
		pods, err := s.Pods(t.Context(), namespace, "app="+app)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(pods, kubectl.Pod.Ready)
		if i < 0 {
			return fmt.Errorf("none of %d is", len(pods))
		}
		one = pods[i]
		return nil
	})
	return one
}

// inTheEnd is how long an order may take while its services are killed: its saga's steps wait for a breaker that is open for
// 30 s (components/README.md), and then for their own next try. That it ends, and ends right, is what the tests want.
var inTheEnd = []string{"--patience", "5m", "--timeout", "5m"}

// TestKilled kills what can be killed, part by part, while orders are placed all the time, and wants all of them to end well.
func TestKilled(t *testing.T) {
	r := shows(t, "kills", "Whatever dies without notice while orders come in: every order ends, every account balances, nothing that was acknowledged is lost.")
	// As many as two processors have to spare while ten pods start anew: what comes in faster only waits, and then gives up.
	enough := here.crowd(r, 0.5, inTheEnd...)
	t.Run("Pods", podsKilled)
	t.Run("Sidecars", sidecarsKilled)
	t.Run("Servers", serversKilled)
	t.Run("KubeletAndContainerd", kubeletAndContainerdRestarted)
	ended(r, enough())
	here.auditGreen(r)
}

// harm does something to apps, those of a group at once, group after group. It waits for all to be well again before the next.
func harm(t *T, groups [][]string, do func(app string)) {
	t.Helper()
	for _, group := range groups {
		var all sync.WaitGroup
		for _, app := range group {
			all.Go(func() { do(app) })
		}
		all.Wait()
		start := time.Now()
		t.Eventually(wellWithin, strings.Join(group, ", ")+" are well again", func() error { return here.unwell(t.Context()) })
		t.Figure(strings.Join(group, ", ")+": well again after", fmt.Sprintf("%.0f s", time.Since(start).Seconds()), "")
	}
}

// podsKilled removes a pod of every service without any notice, half of the services at once.
func podsKilled(t *testing.T) {
	r := shows(t, "kills", "A pod of every service dies without notice, five services at once: all are well again.")
	harm(r, slices.Collect(slices.Chunk(communication.Services(), together)), func(app string) {
		pods, err := here.Pods(r.Context(), communication.Namespace, "app="+app)
		if err != nil || len(pods) == 0 {
			r.Errorf("pods of %s: %d, %v", app, len(pods), err)
			return
		}
		pod := pods[0].Metadata.Name
		// The kubelet gives it no time; the API server forgets it at once.
		if _, err := here.Run(r.Context(), "delete", "pod", "-n", communication.Namespace, pod, "--grace-period=0", "--force"); err != nil {
			r.Error(err)
		}
		r.Eventually(time.Minute, pod+" is replaced", func() error {
			now, err := here.Pods(r.Context(), communication.Namespace, "app="+app)
			if err == nil && (len(now) < len(pods) || slices.ContainsFunc(now, func(p kubectl.Pod) bool { return p.Metadata.Name == pod })) {
				err = fmt.Errorf("not yet")
			}
			return err
		})
	})
}

// signal sends a signal to the process of a container, from the node.
func (s *site) signal(t *T, pod kubectl.Pod, container, name string) {
	t.Helper()
	c, ok := pod.Container(container)
	if !ok || c.RuntimeID() == "" {
		t.Fatalf("%s has no container %s", pod.Metadata.Name, container)
	}
	s.onNode(t, "sh", "-c", "ctr --namespace k8s.io tasks list | awk '$1 == \""+c.RuntimeID()+"\" {print $2}' | xargs kill -"+name)
}

// sigkill kills the process of a container from the node, as the kernel does when memory runs out.
func (s *site) sigkill(t *T, pod kubectl.Pod, container string) {
	t.Helper()
	c, _ := pod.Container(container)
	s.signal(t, pod, container, "KILL")
	t.Eventually(2*time.Minute, container+" is started anew", func() error {
		var now kubectl.Pod
		if err := s.Get(t.Context(), &now, "pod", pod.Metadata.Name, "-n", pod.Metadata.Namespace); err != nil {
			return err
		}
		if again, ok := now.Container(container); !ok || again.RestartCount <= c.RestartCount || again.State.Running == nil {
			return fmt.Errorf("it has not been")
		}
		return nil
	})
}

// sidecarsKilled kills, in the pods of the services that a saga goes through, each of the three processes by SIGKILL.
func sidecarsKilled(t *testing.T) {
	r := shows(t, "kills", "Dapr's sidecar, Istio's and the service itself die by SIGKILL, one after the other, in three services at once: all are started anew.")
	containers := []string{"daprd", "istio-proxy", "app"}
	harm(r, [][]string{{"order", "payment", "delivery"}}, func(app string) {
		for _, container := range containers {
			here.sigkill(r, here.onePod(r, communication.Namespace, app), container)
			r.Eventually(wellWithin, app+" is well again", func() error { return here.unwell(r.Context()) })
		}
	})
	if !r.Failed() {
		r.Saw("killed in each: %s", strings.Join(containers, ", "))
	}
}

// serversKilled kills each of the servers that hold what must not be lost. They come back on their own disks.
func serversKilled(t *testing.T) {
	r := shows(t, "kills", "Redis, PostgreSQL and Kafka die by SIGKILL, one by one: they come back with what they had acknowledged.",
		"k8s/data/redis", "k8s/data/postgres", "k8s/data/kafka")
	harm(r, [][]string{{"redis"}, {"postgres"}, {"kafka"}}, func(app string) {
		here.sigkill(r, here.onePod(r, communication.DataNamespace, app), app)
		r.Eventually(wellWithin, app+" is ready again", func() error {
			pods, err := here.Pods(r.Context(), communication.DataNamespace, "app="+app)
			if err == nil && (len(pods) != 1 || !pods[0].Ready()) {
				err = fmt.Errorf("it is not")
			}
			return err
		})
	})
}

// vanishes is a client of PostgreSQL that stands still in a transaction. It passes for "rights", which no policy keeps out.
const vanishes = `
apiVersion: v1
kind: Pod
metadata: {name: proof-vanishes, namespace: ` + communication.DataNamespace + `, labels: {app: rights}}
spec:
  automountServiceAccountToken: false
  restartPolicy: Never
  securityContext: {runAsUser: 999, runAsGroup: 999, runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
  containers:
    - name: psql
      image: %s
      imagePullPolicy: IfNotPresent
      command: [sh, -c, '(echo "begin; select pg_advisory_xact_lock(4711);"; sleep 600) | psql -h postgres -U admin -d postgres']
      env: [{name: PGPASSWORD, valueFrom: {secretKeyRef: {name: postgres-users, key: admin}}}]
      resources: {requests: {cpu: 10m, memory: 16Mi}, limits: {memory: 64Mi}}
      securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
`

// TestVanishedClient removes a pod by force while it has a transaction open. PostgreSQL hears of no end: the network is gone
// before the process is.
func TestVanishedClient(t *testing.T) {
	r := shows(t, "kills", "A client of PostgreSQL vanishes in the middle of a transaction, without a sign: what it had locked can be written again soon.",
		"k8s/data/postgres")
	server := here.onePod(r, communication.DataNamespace, "postgres")
	image, err := here.Run(r.Context(), "get", "pod", "-n", communication.DataNamespace, server.Metadata.Name, "-o", "jsonpath={.spec.containers[0].image}")
	if err != nil {
		r.Fatal(err)
	}
	here.applied(r, fmt.Sprintf(vanishes, image))
	password := "PGPASSWORD=" + here.secret(r, communication.DataNamespace, "postgres-users", "admin")
	locked := func(want string) error {
		var out strings.Builder
		err := here.Exec(r.Context(), &out, communication.DataNamespace, server.Metadata.Name,
			"env", password, "psql", "-h", "127.0.0.1", "-U", "admin", "-d", "postgres", "-At", "-c",
			"select count(*) from pg_locks where locktype = 'advisory' and objid = 4711 and granted")
		if got := strings.TrimSpace(out.String()); err == nil && got != want {
			err = fmt.Errorf("%s such locks are held, want %s", got, want)
		}
		return err
	}
	r.Eventually(time.Minute, "its transaction has the lock", func() error { return locked("1") })
	if _, err := here.Run(r.Context(), "delete", "pod", "-n", communication.DataNamespace, "proof-vanishes", "--grace-period=0", "--force"); err != nil {
		r.Fatal(err)
	}
	gone := time.Now()
	r.Eventually(30*time.Second, "the lock is free", func() error { return locked("0") })
	r.Figure("its lock is free after", fmt.Sprintf("%.0f s", time.Since(gone).Seconds()), "30 s")
}
