package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNeeds(t *testing.T) {
	good := answers{"docker version": "28.2.2"}
	for _, c := range []struct {
		name    string
		machine fakeMachine
		change  func(*Cluster)
		want    []string
	}{
		{name: "all there"},
		{"too little memory", fakeMachine{memory: 3 << 30}, nil, []string{"too little memory: 3.0 GB is available and the cluster takes 5.0 GB"}},
		{"too little disk", fakeMachine{disk: 2 << 30}, nil, []string{"too little disk: 2.0 GB is free"}},
		{"port taken", fakeMachine{taken: []int{8443}}, nil, []string{"port 8443 is taken: stop the program that has it, or choose another with --https-port"}},
		{"the other port taken", fakeMachine{taken: []int{8080}}, nil, []string{"choose another with --http-port"}},
		{"no docker", fakeMachine{missing: []string{"docker"}}, nil, []string{"no docker: install Docker Engine"}},
		{"several at once", fakeMachine{memory: 1 << 30, taken: []int{8080, 8443}}, nil, []string{"too little memory", "port 8443 is taken"}},
		{"part of a checkout", fakeMachine{}, func(c *Cluster) { os.RemoveAll(filepath.Join(c.cfg.Home, "mesh")) }, []string{"mesh is missing in", "git status"}},
		{"a cluster that is there holds its ports and memory", fakeMachine{memory: 1 << 30, taken: []int{8080, 8443}},
			func(c *Cluster) { c.state = state{Created: time.Now(), HTTPSPort: 8443, HTTPPort: 8080} }, nil},
		{"and keeps its ports", fakeMachine{}, func(c *Cluster) { c.state = state{Created: time.Now(), HTTPSPort: 9443, HTTPPort: 8080} },
			[]string{"the cluster has the ports 9443 and 8080: to change them run `dishmesh cluster down` first"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, _ := newFake(t, c.machine, good)
			if c.change != nil {
				c.change(cl)
			}
			_, err := cl.stepNeeds(t.Context())
			if len(c.want) == 0 {
				checkError(t, err, "")
			}
			for _, want := range c.want {
				checkError(t, err, want)
			}
		})
	}
}

// What was free at first, the build without a registry may have taken.
func TestDiskAfterTheBuild(t *testing.T) {
	for disk, want := range map[uint64]string{needDisk - 1: "too little disk", needDisk: "the offline set is not whole"} {
		build := "bash " // and the checkout's own path
		cl, run := newFake(t, fakeMachine{disk: disk}, nil)
		build += filepath.Join(cl.cfg.Home, offlineBuild)
		run.answers = answers{build: "offline: building\n/no/set\n", build + " --where": "!not made yet"}
		cl.source = SourceOffline
		_, err := cl.stepOffline(t.Context())
		checkError(t, err, want)
	}
}

func TestDocker(t *testing.T) {
	const dead = "!Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
	for _, c := range []struct {
		name    string
		machine fakeMachine
		answers answers
		host    string
		want    string
	}{
		{name: "a daemon answers", answers: answers{"docker version": "28.2.2\n"}},
		{name: "an old daemon", answers: answers{"docker version": "19.03.8\n"}, want: "the docker daemon is 19.3.8 and 20.10.0 or later is needed"},
		{name: "without rights", answers: answers{"docker version": "!permission denied while trying to connect to the Docker daemon socket"},
			want: "docker refuses this user: run with sudo, or join the group docker"},
		{name: "an address that is dead", answers: answers{"docker version": dead}, host: "tcp://10.0.0.9:2376", want: "no docker daemon answers at DOCKER_HOST=tcp://10.0.0.9:2376"},
		{name: "no daemon, no root", machine: fakeMachine{user: true}, answers: answers{"docker version": dead}, want: "sudo systemctl start docker"},
		{name: "no daemon on a Mac", machine: fakeMachine{system: "darwin"}, answers: answers{"docker version": dead}, want: "start Docker Desktop"},
		{name: "no daemon, nothing to start one with", machine: fakeMachine{missing: []string{"dockerd", "iptables"}}, answers: answers{"docker version": dead},
			want: "a private one needs what is not installed (dockerd, iptables): install Docker Engine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, _ := newFake(t, c.machine, c.answers)
			t.Setenv("DOCKER_HOST", c.host)
			_, err := cl.stepDocker(t.Context())
			checkError(t, err, c.want)
		})
	}
}

func TestPrivateDaemonNeedsAShortPath(t *testing.T) {
	cl, _ := newFake(t, fakeMachine{}, nil)
	d := cl.daemon()
	d.dir = "/" + strings.Repeat("x", maxSocketFolder)
	checkError(t, d.possible(), "too long for the sockets of a private daemon")
}

func TestDaemonConfig(t *testing.T) {
	for _, capped := range []bool{false, true} {
		cl, _ := newFake(t, fakeMachine{capped: capped}, nil)
		_, wrapped := cl.daemon().config()["default-runtime"]
		if wrapped != capped {
			t.Errorf("capped %t: the runtime is wrapped: %t", capped, wrapped)
		}
	}
}

func TestSource(t *testing.T) {
	had := answers{"docker manifest inspect": "{}", "docker image inspect": "!no such image"}
	none := answers{"docker manifest inspect": "!no such host", "docker image inspect": "!no such image"}
	for _, c := range []struct {
		name    string
		asked   Source
		state   state
		answers answers
		want    Source
		err     string
	}{
		{"a registry has it", SourceAuto, state{}, had, SourceRegistry, ""},
		{"it is here already", SourceAuto, state{}, answers{"docker image inspect": "sha256:1"}, SourceRegistry, ""},
		{"nobody has it", SourceAuto, state{}, none, SourceOffline, ""},
		{"forced", SourceOffline, state{}, had, SourceOffline, ""},
		{"forced the other way", SourceRegistry, state{}, none, SourceRegistry, ""},
		{"as the cluster was made", SourceAuto, state{Created: time.Now(), Images: SourceOffline}, had, SourceOffline, ""},
		{"a cluster does not change", SourceRegistry, state{Created: time.Now(), Images: SourceOffline}, had, "", "the cluster was made with --images=offline"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, _ := newFake(t, fakeMachine{}, c.answers)
			cl.cfg.Images, cl.state = c.asked, c.state
			_, err := cl.stepSource(t.Context())
			checkError(t, err, c.err)
			if err == nil && cl.source != c.want {
				t.Errorf("source %s, want %s", cl.source, c.want)
			}
		})
	}
}

func TestTools(t *testing.T) {
	kubectl := func(v string) string { return `{"clientVersion":{"gitVersion":"` + v + `"}}` }
	for _, c := range []struct {
		name    string
		answers answers
		did     string
		err     string
	}{
		{"all there", answers{"kind version": "kind v0.33.0 go1.26 linux/amd64", "kubectl version": kubectl("v1.35.1"), "helm version": "v3.22.0+g1"}, "", ""},
		{"an old kubectl", answers{"kind version": "kind v0.33.0", "kubectl version": kubectl("v1.32.4-dispatcher"), "helm version": "v3.22.0",
			"go build": "!go: module lookup disabled"}, "", "kubectl is 1.32.4, and 1.35.0 or later, before 1.38.0, is needed, and building it failed"},
		{"an old kind", answers{"kind version": "kind v0.20.0"}, "", "kind is 0.20.0, and 0.33.0 or later"},
		{"no kind and nothing to build it from", answers{}, "", "there is no kind, and building it failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, _ := newFake(t, fakeMachine{}, c.answers)
			cl.source = SourceRegistry
			did, err := cl.stepTools(t.Context())
			checkError(t, err, c.err)
			if err == nil && did != c.did {
				t.Errorf("did %q, want %q", did, c.did)
			}
		})
	}
}

func TestNode(t *testing.T) {
	running := answers{"kind get clusters": "dishmesh\n", "docker container inspect": "running\n", "kind export kubeconfig": "", "kubectl get --raw": "ok",
		"docker exec": ""}
	with := func(change answers) answers {
		a := answers{}
		for _, from := range []answers{running, change} {
			for k, v := range from {
				a[k] = v
			}
		}
		return a
	}
	config := `{kind: Cluster, nodes: [{role: control-plane, extraPortMappings: [{containerPort: 30443}, {containerPort: 30080}]}]}`
	for _, c := range []struct {
		name     string
		complete bool
		answers  answers
		did, err string
		ran      string
	}{
		{"none yet", false, with(answers{"kind get clusters": "\n", "kind create cluster": ""}), "created, Kubernetes " + KubernetesVersion, "", "kind create cluster"},
		{"there", true, running, "", "", ""},
		{"stopped, as after a reboot", true, with(answers{"docker container inspect": "exited\n", "docker start": ""}), "the stopped node was started", "", "docker start"},
		{"half made", false, with(answers{"docker container inspect": "!no such container", "kind delete cluster": "", "kind create cluster": ""}),
			"created, Kubernetes " + KubernetesVersion, "", "kind delete cluster"},
		{"whole once, and broken now", true, with(answers{"docker container inspect": "dead\n"}), "", "the cluster does not answer (its node is dead)", ""},
		{"creation fails", false, with(answers{"kind get clusters": "\n", "kind create cluster": "!failed to create cluster: no space"}), "", "no space", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl, run := newFake(t, fakeMachine{}, c.answers)
			write(t, filepath.Join(cl.cfg.Home, clusterFile), []byte(config))
			if c.complete {
				cl.state.Complete = time.Now()
			}
			did, err := cl.stepNode(t.Context())
			checkError(t, err, c.err)
			if did != c.did {
				t.Errorf("did %q, want %q", did, c.did)
			}
			if c.ran != "" && !slices.ContainsFunc(run.ran, func(line string) bool { return strings.HasPrefix(line, c.ran) }) {
				t.Errorf("%q was not run: %q", c.ran, run.ran)
			}
		})
	}
}

// A step that fails before the cluster stands takes back what this run made; one after that leaves it.
func TestWalkTakesBack(t *testing.T) {
	for _, c := range []struct {
		name    string
		undo    bool
		deleted bool
		want    string
	}{{"before it stands", true, true, "node: broken"}, {"after", false, false, "what is there was kept"}} {
		t.Run(c.name, func(t *testing.T) {
			cl, run := newFake(t, fakeMachine{}, answers{"kind delete cluster": ""})
			err := cl.walk(t.Context(), []step{{name: "node", undo: c.undo, do: func(cl *Cluster, _ context.Context) (string, error) {
				cl.startedNode = true
				return "", errors.New("broken")
			}}})
			checkError(t, err, c.want)
			if deleted := len(run.ran) > 0; deleted != c.deleted {
				t.Errorf("deleted: %t, want %t", deleted, c.deleted)
			}
		})
	}
}

func TestOnlyOneAtATime(t *testing.T) {
	cl, _ := newFake(t, fakeMachine{}, nil)
	_, err := Open(cl.cfg, new(quiet))
	checkError(t, err, "is at work on this cluster")
}

func TestKindConfig(t *testing.T) {
	file, err := os.ReadFile("../../../" + clusterFile)
	if err != nil {
		t.Fatal(err)
	}
	got, err := kindConfig(file, 1443, 1080)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"hostPort: 1443", "hostPort: 1080", "listenAddress: 127.0.0.1", "failCgroupV1: false"} {
		if !strings.Contains(string(got), want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	_, err = kindConfig([]byte("kind: Cluster"), 1, 2)
	checkError(t, err, "extraPortMappings lacks the container ports")
	_, err = kindConfig([]byte("kind: [Cluster"), 1, 2)
	checkError(t, err, "yaml")
}

func TestParseSource(t *testing.T) {
	if got, err := ParseSource("offline"); got != SourceOffline || err != nil {
		t.Errorf("got %s, %v", got, err)
	}
	_, err := ParseSource("docker")
	checkError(t, err, `--images "docker" is none of auto, registry, offline`)
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]version{"kind v0.33.0 go1.26.4 linux/amd64": {0, 33, 0}, "v3.22": {3, 22, 0}, "20.10.24+dfsg1": {20, 10, 24}} {
		got, err := parseVersion(text)
		if err != nil || got != want {
			t.Errorf("%q: got %v, %v", text, got, err)
		}
	}
	_, err := parseVersion("unknown")
	checkError(t, err, "no version")
	if diff := cmp.Diff([]bool{true, true, true, false}, []bool{version{1, 2, 3}.less(version{2, 0, 0}), version{1, 2, 3}.less(version{1, 3, 0}),
		version{1, 2, 3}.less(version{1, 2, 4}), version{1, 2, 3}.less(version{1, 2, 3})}); diff != "" {
		t.Error(diff)
	}
}
