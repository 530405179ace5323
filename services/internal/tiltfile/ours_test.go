package tiltfile_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/cli"
	"github.com/dishmesh/dishmesh/services/internal/cluster"
	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/live"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/tiltfile"
)

const root = "../../.."

// load runs our Tiltfile. Folders of code are what the go command would say of any program: one of its own.
func load(t *testing.T, host tiltfile.Host) (*tiltfile.Result, error) {
	t.Helper()
	host.Run = func(argv []string) (string, error) {
		if argv[0] != "go" {
			return "", nil
		}
		var folders []string
		for _, arg := range argv {
			if strings.HasPrefix(arg, "./services/") {
				folders = append(folders, strings.TrimPrefix(arg, "./"))
			}
		}
		return strings.Join(append(folders, "services/internal/run"), "\n"), nil
	}
	return tiltfile.Load(root, host)
}

func mustLoad(t *testing.T, host tiltfile.Host) *tiltfile.Result {
	t.Helper()
	r, err := load(t, host)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

var (
	onProcesses = tiltfile.Host{Subcommand: "up"}
	onCluster   = tiltfile.Host{Subcommand: "up", Context: "kind-" + cluster.Name}
)

func names(r *tiltfile.Result, label string) []string {
	var out []string
	for name, resource := range r.Resources {
		if slices.Contains(resource.Labels, label) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// A line for each service, whatever the platform, and the same checks on both.
func TestResources(t *testing.T) {
	services := slices.Sorted(slices.Values(platform.Apps()))
	for name, host := range map[string]tiltfile.Host{"processes": onProcesses, "cluster": onCluster} {
		t.Run(name, func(t *testing.T) {
			r := mustLoad(t, host)
			if diff := cmp.Diff(services, names(r, "services")); diff != "" {
				t.Errorf("services (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"audit", "order-delivered", "short-tests", "status"}, names(r, "checks")); diff != "" {
				t.Errorf("checks (-want +got):\n%s", diff)
			}
			for _, check := range names(r, "checks") {
				if !r.Resources[check].Manual {
					t.Errorf("%s runs without being asked to", check)
				}
			}
		})
	}
}

// In the cluster, what is edited is built, sent and restarted; everything else is only shown.
func TestServicesThatFollowEdits(t *testing.T) {
	host := onCluster
	host.Args = []string{"order", "menu"}
	r := mustLoad(t, host)
	for _, service := range platform.Apps() {
		resource, build := r.Resources[service], r.Resources[service+"-build"]
		if !slices.Contains(host.Args, service) {
			if resource.Sync != nil || build != nil {
				t.Errorf("%s follows edits, which nobody asked for", service)
			}
			continue
		}
		want := map[string]string{"bin/tilt/" + service: "/live"}
		if diff := cmp.Diff(want, resource.Sync); diff != "" {
			t.Errorf("%s: what is sent (-want +got):\n%s", service, diff)
		}
		if diff := cmp.Diff([]string{"/live/" + live.Tool, "restart"}, resource.Exec); diff != "" {
			t.Errorf("%s: what is run then (-want +got):\n%s", service, diff)
		}
		if !slices.Contains(resource.Needs, service+"-build") || !slices.Contains(build.Watches, "services/cmd/"+service) {
			t.Errorf("%s: needs %v, and what it needs watches %v", service, resource.Needs, build.Watches)
		}
	}
}

// `tilt ci` ends when everything is ready, and an order and the audit are part of everything.
func TestCI(t *testing.T) {
	for _, host := range []tiltfile.Host{onProcesses, onCluster} {
		host.Subcommand = "ci"
		r := mustLoad(t, host)
		for _, name := range []string{"order-delivered", "audit"} {
			if r.Resources[name].Manual {
				t.Errorf("context %q: %s does not run", host.Context, name)
			}
		}
		if diff := cmp.Diff([]string{"order-delivered"}, r.Resources["audit"].Needs); diff != "" {
			t.Errorf("the audit needs (-want +got):\n%s", diff)
		}
	}
}

func TestBadInput(t *testing.T) {
	for _, c := range []struct {
		name string
		host tiltfile.Host
		want string
	}{
		{"a service that does not exist", tiltfile.Host{Args: []string{"ordr"}}, "ordr is no service; there are: gateway user"},
		{"a platform that does not exist", tiltfile.Host{Flags: map[string]string{"platform": "swarm"}}, "--platform swarm: it is processes or cluster"},
		{"no cluster", tiltfile.Host{Flags: map[string]string{"platform": "cluster"}}, "run `make tilt`"},
		{"somebody else's cluster", tiltfile.Host{Context: "production", Flags: map[string]string{"platform": "cluster"}}, "run `make tilt`"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := load(t, c.host)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
	// A cluster that is not ours is not touched.
	if r := mustLoad(t, tiltfile.Host{Context: "production"}); r.Resources["platform"] == nil {
		t.Error("in a foreign context, the processes are not chosen")
	}
}

func TestFlagsReachThePlatform(t *testing.T) {
	host := onProcesses
	host.Flags = map[string]string{"profile": "kafka", "time-scale": "0", "no-city": "true"}
	got := mustLoad(t, host).Resources["platform"].Commands[1]
	want := []string{"bin/dishmesh", "up", "--port", "8080", "--city-port", "8090", "--profile", "kafka", "--time-scale", "0", "--no-city"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("serve_cmd (-want +got):\n%s", diff)
	}
}

// The cluster is that of KUBECONFIG, in whatever data folder it is.
func TestDataFolder(t *testing.T) {
	for kubeconfig, want := range map[string]string{"": ".dishmesh", "/x/.kube/config": ".dishmesh", "/data/cluster/kubeconfig": "/data"} {
		host := onCluster
		host.Env = map[string]string{"KUBECONFIG": kubeconfig}
		got := mustLoad(t, host).Resources["audit"].Commands[0]
		if want := []string{"bin/dishmesh", "audit", "--cluster", "--wait", "1m", "--data", want}; !slices.Equal(got, want) {
			t.Errorf("KUBECONFIG=%s: %q, want %q", kubeconfig, got, want)
		}
	}
}

func TestButtons(t *testing.T) {
	for name, c := range map[string]struct {
		host tiltfile.Host
		want []string
	}{
		"processes": {onProcesses, []string{"platform-order", "platform-restart"}},
		"cluster":   {onCluster, []string{"gateway-order", "istio-back", "istio-canary", "istio-fault", "kafka-broker"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := mustLoad(t, c.host)
			if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(r.Buttons))); diff != "" {
				t.Errorf("buttons (-want +got):\n%s", diff)
			}
		})
	}
	buttons := mustLoad(t, onCluster).Buttons
	for _, way := range buttons["gateway-order"].Choices["HOW"] {
		if card, ok := strings.CutPrefix(way, "card="); ok {
			if _, err := customer.Card(card); err != nil {
				t.Error(err)
			}
		}
	}
	for _, split := range buttons["istio-canary"].Choices["SPLIT"] {
		service, _, _ := strings.Cut(split, "-")
		if _, err := os.Stat(filepath.Join(root, "mesh/canary", service, "kustomization.yaml")); err != nil {
			t.Errorf("the canary %s has no pods: %v", split, err)
		}
	}
}

// Whatever a line or a button runs is there, by this name and with these flags.
func TestCommandsExist(t *testing.T) {
	for _, host := range []tiltfile.Host{onProcesses, onCluster} {
		r := mustLoad(t, host)
		var commands [][]string
		for _, resource := range r.Resources {
			commands = append(commands, resource.Commands...)
		}
		for _, button := range r.Buttons {
			commands = append(commands, button.Command)
		}
		for _, argv := range commands {
			for _, words := range simple(argv) {
				if err := exists(words); err != nil {
					t.Errorf("%q: %v", words, err)
				}
			}
		}
	}
}

// simple takes the commands out of one for the shell.
func simple(argv []string) [][]string {
	if argv[0] != "sh" {
		return [][]string{argv}
	}
	var out [][]string
	for part := range strings.SplitSeq(argv[2], "&&") {
		words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(part), "exec "))
		if words[0] == `"$@"` {
			words = argv[4:]
		}
		out = append(out, words)
	}
	return out
}

func exists(words []string) error {
	if words[0] != "bin/dishmesh" {
		if strings.HasPrefix(words[0], "tilt/") {
			_, err := exec.LookPath(filepath.Join(root, words[0]))
			return err
		}
		return nil
	}
	cmd, rest, err := cli.Root().Find(words[1:])
	if err != nil {
		return err
	}
	return cmd.ParseFlags(rest)
}

// The tool finds what was sent under the name that the build gives it, and the image that live.yaml names is built.
func TestNamesOfLive(t *testing.T) {
	for file, want := range map[string]string{
		"tilt/build.sh":  "program=bin/tilt/$service/" + live.Program,
		"tilt/live.yaml": "image: dishmesh/live:dev",
	} {
		content, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), want) {
			t.Errorf("%s does not say %q", file, want)
		}
	}
}
