package cluster

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/kubectl"
	"github.com/dishmesh/dishmesh/services/internal/probe"
	"github.com/dishmesh/dishmesh/services/internal/proof"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
)

// here is the cluster under test; nil if none was asked for.
var here *site

// site is a cluster that `dishmesh cluster up` has made, and the ways to it.
type site struct {
	kubectl.Cluster
	home    string // the checkout
	data    string
	program string   // dishmesh
	docker  []string // environment of docker, whose container the node is
	url     string   // of the ingress
	plain   string   // the same without TLS
	images  string   // where images came from
	tls     *tls.Config
	http    *http.Client  // by the ingress, for clients of the API
	caller  *probe.Caller // by the ingress, for what is counted

	places places
}

// node is the container that is the cluster's one node.
const node = "dishmesh-control-plane"

// made is what `dishmesh cluster status --json` tells of a cluster.
type made struct {
	Exists     bool   `json:"exists"`
	URL        string `json:"url"`
	CA         string `json:"ca"`
	Kubeconfig string `json:"kubeconfig"`
	Images     string `json:"images"`
	DockerHost string `json:"docker_host"`
	Problem    string `json:"problem"`
}

func openSite(ctx context.Context) (*site, error) {
	home, err := filepath.Abs(filepath.Join("..", "..", ".."))
	if err != nil {
		return nil, err
	}
	s := &site{home: home, data: *dataFlag, program: os.Getenv("DISHMESH_BIN")}
	if !filepath.IsAbs(s.data) {
		s.data = filepath.Join(home, s.data) // as make gives it
	}
	if s.program == "" {
		s.program = "bin"
	}
	if !filepath.IsAbs(s.program) {
		s.program = filepath.Join(home, s.program)
	}
	s.program = filepath.Join(s.program, "dishmesh")
	if _, err := os.Stat(s.program); err != nil {
		return nil, fmt.Errorf("%w: run `make build`, or set DISHMESH_BIN", err)
	}
	var m made
	out, runErr := exec.CommandContext(ctx, s.program, "cluster", "status", "--json", "--data", s.data).Output() // fails if something is not ready
	if err := json.Unmarshal(out, &m); err != nil {
		return nil, fmt.Errorf("dishmesh cluster status --json: %w: %w", runErr, err)
	}
	if !m.Exists {
		return nil, fmt.Errorf("there is no cluster in %s: run `make cluster`", s.data)
	}
	s.Cluster = kubectl.Cluster{Program: findKubectl(), Kubeconfig: m.Kubeconfig}
	s.images, s.docker = m.Images, os.Environ()
	if m.DockerHost != "" {
		s.docker = append(s.docker, "DOCKER_HOST="+m.DockerHost)
	}
	s.url, s.plain = m.URL, *plainFlag
	pem, err := os.ReadFile(m.CA)
	if err != nil {
		return nil, fmt.Errorf("authority of the ingress: %w", err)
	}
	s.tls = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !s.tls.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", m.CA)
	}
	if s.http, err = publicapi.Trusting(m.CA); err != nil {
		return nil, err
	}
	s.caller = outsider(probe.Settings{Timeout: 15 * time.Second, TLS: s.tls})
	if _, err := s.Run(ctx, "get", "--raw", "/readyz"); err != nil {
		return nil, fmt.Errorf("the cluster does not answer: %w", err)
	}
	return s, nil
}

// outsider makes calls from this machine, to which every name below .localhost is its own.
func outsider(s probe.Settings) *probe.Caller {
	s.Dial = publicapi.DialLoopback(new(net.Dialer).DialContext)
	return probe.NewCaller(s)
}

// findKubectl takes the kubectl that the cluster was made with, where that was built, because the one on the PATH may be
// too old for it: that of the newest offline set, or the one in the cache.
func findKubectl() string {
	found, newest := "kubectl", time.Time{}
	dir, err := os.UserCacheDir()
	if err != nil {
		return found
	}
	for _, pattern := range []string{"sets/*/bin/kubectl", "bin/kubectl"} {
		built, _ := filepath.Glob(filepath.Join(dir, "dishmesh", "cluster", pattern)) // fails on bad patterns only
		for _, path := range built {
			if info, err := os.Stat(path); err == nil && info.ModTime().After(newest) {
				found, newest = path, info.ModTime()
			}
		}
	}
	return found
}

// close takes away what the tests share.
func (s *site) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.places.close(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "cluster: something of the tests is left:", err)
	}
}

// commandWithin is how long a command may take.
const commandWithin = 8 * time.Minute

// dishmesh runs the command, which must end with one of the exit codes want, and gives its standard output.
func (s *site) dishmesh(t *T, want []int, args ...string) string {
	t.Helper()
	return s.dishmeshFed(t, commandWithin, nil, want, args...)
}

// dishmeshFed is dishmesh with a standard input, and so much time.
func (s *site) dishmeshFed(t *T, within time.Duration, in io.Reader, want []int, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	cmd := exec.CommandContext(ctx, s.program, append(args, "--data", s.data)...)
	cmd.Env = append(os.Environ(), "NO_COLOR=1")
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = in, &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("dishmesh %s: %v", strings.Join(args, " "), err)
	}
	code := cmd.ProcessState.ExitCode()
	// Code 1 is also that of a command that could not do its work, which then has no result.
	if slices.Contains(want, code) && (code == 0 || stdout.Len() > 0) {
		return stdout.String()
	}
	t.Fatalf("dishmesh %s: exit code %d, want %v with a result: %s%s", strings.Join(args, " "), code, want, clip(stdout.String()), clip(stderr.String()))
	return ""
}

func clip(s string) string {
	const most = 3000
	if s = strings.TrimSpace(s); len(s) > most {
		return s[:most/2] + "\n…\n" + s[len(s)-most/2:]
	}
	return s
}

// onNode runs a program in the node, below the cluster.
func (s *site) onNode(t *T, argv ...string) string {
	t.Helper()
	out, err := s.dockerRun(t.Context(), append([]string{"exec", node}, argv...)...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (s *site) dockerRun(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Env = s.docker
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w: %s", strings.Join(args, " "), err, clip(stderr.String()))
	}
	return string(out), nil
}

// wellWithin is how long everything may take to be ready again after what tests do.
const wellWithin = 4 * time.Minute

// well waits until every service and every store is ready.
func (s *site) well(t *T) {
	t.Helper()
	t.Eventually(wellWithin, "everything is ready", func() error { return s.unwell(t.Context()) })
}

// unwell says what is not ready, or nothing.
func (s *site) unwell(ctx context.Context) error {
	var list kubectl.List[kubectl.Deployment]
	if err := s.Get(ctx, &list, "deployments,statefulsets", "--all-namespaces"); err != nil {
		return err
	}
	ours := []string{communication.Namespace, communication.DataNamespace, communication.CityNamespace, communication.IngressNamespace}
	for _, d := range list.Items {
		if slices.Contains(ours, d.Metadata.Namespace) && !d.Ready() && (*apartFlag == "" || d.Metadata.Name != *apartFlag) {
			return fmt.Errorf("%s/%s: %d of %d replicas are ready", d.Metadata.Namespace, d.Metadata.Name, d.Status.ReadyReplicas, d.Spec.Replicas)
		}
	}
	pods, err := s.Pods(ctx, communication.Namespace, "")
	if err != nil {
		return err
	}
	for _, p := range pods {
		if !p.Ready() && (*apartFlag == "" || p.Metadata.Labels["app"] != *apartFlag) {
			return fmt.Errorf("pod %s is not ready", p.Metadata.Name)
		}
	}
	return nil
}

// state is how the cluster is, for who reads the log of a failed test.
func (s *site) state(since time.Time) string {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var b strings.Builder
	for _, args := range [][]string{
		{"get", "pods", "-A", "-o", "wide"},
		{"get", "events", "-A", "--field-selector", "type=Warning", "--sort-by", ".lastTimestamp"},
	} {
		out, err := s.Run(ctx, args...)
		fmt.Fprintf(&b, "kubectl %s:\n%s", strings.Join(args, " "), clip(out))
		if err != nil {
			fmt.Fprintln(&b, err)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "the test began at %s\n", since.UTC().Format(time.RFC3339))
	return b.String()
}

// describe is where this ran, for the proof.
func (s *site) describe(ctx context.Context) []proof.Figure {
	place := []proof.Figure{{What: "machine", Value: fmt.Sprintf("%d cores, %s, %s/%s", runtime.NumCPU(), memory(), runtime.GOOS, runtime.GOARCH)}}
	add := func(what, value string) {
		if value != "" {
			place = append(place, proof.Figure{What: what, Value: value})
		}
	}
	if nodes, err := s.Nodes(ctx); err == nil && len(nodes) > 0 {
		i := nodes[0].Status.NodeInfo
		i.KernelVersion, _, _ = strings.Cut(i.KernelVersion, "-") // what follows is the builder's own
		add("Kubernetes", fmt.Sprintf("%s, %s, %d node, kernel %s", i.KubeletVersion, i.ContainerRuntimeVersion, len(nodes), i.KernelVersion))
	}
	for _, at := range []struct{ what, namespace, deployment string }{{"Dapr", communication.DaprNamespace, "dapr-operator"}, {"Istio", communication.IstioNamespace, "istiod"}} {
		var d kubectl.Deployment
		if err := s.Get(ctx, &d, "deployment", at.deployment, "-n", at.namespace); err == nil && len(d.Spec.Template.Spec.Containers) > 0 {
			add(at.what, d.Spec.Template.Spec.Containers[0].Image)
		}
	}
	add("images", s.images)
	return place
}

func memory() string {
	raw, err := os.ReadFile("/proc/meminfo")
	var kib int64
	if _, scanErr := fmt.Sscanf(string(raw), "MemTotal: %d kB", &kib); err != nil || scanErr != nil {
		return "unknown memory"
	}
	return fmt.Sprintf("%.0f GiB", float64(kib)/(1<<20))
}
