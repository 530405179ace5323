package profile_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/profile"
)

// components is the folder of the checkout.
func components(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../../components")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestEveryProfileLoads checks the components of all profiles against Dapr's metadata, those that can't be run too.
func TestEveryProfileLoads(t *testing.T) {
	all, err := profile.List(components(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(all) == 0 || all[0].Name != profile.Default {
		t.Fatalf("got %v, want the default profile first", all)
	}
	for _, d := range all {
		if _, err := profile.Load(components(t), d.Name); err != nil {
			t.Errorf("%s: %v", d.Name, err)
		}
	}
}

func TestOverlays(t *testing.T) {
	for spec, want := range map[string]struct {
		servers                            []string
		events, menu, order, orderWorkflow string
	}{
		"embedded":            {[]string{"broker"}, "pubsub.kafka", "state.sqlite", "state.sqlite", "state.sqlite"},
		"kafka":               {[]string{"kafka"}, "pubsub.kafka", "state.sqlite", "state.sqlite", "state.sqlite"},
		"postgres":            {[]string{"broker", "postgres"}, "pubsub.kafka", "state.postgresql", "state.postgresql", "state.postgresql"},
		"kafka,postgres":      {[]string{"kafka", "postgres"}, "pubsub.kafka", "state.postgresql", "state.postgresql", "state.postgresql"},
		"postgres,kafka":      {[]string{"kafka", "postgres"}, "pubsub.kafka", "state.postgresql", "state.postgresql", "state.postgresql"},
		"redis":               {[]string{"redis"}, "pubsub.redis", "state.redis-atomic", "state.redis-atomic", "state.redis-atomic"},
		"redis,kafka":         {[]string{"kafka", "redis"}, "pubsub.kafka", "state.redis-atomic", "state.redis-atomic", "state.redis-atomic"},
		"rabbitmq,mysql":      {[]string{"rabbitmq", "mysql"}, "pubsub.rabbitmq-confirmed", "state.mysql", "state.mysql", "state.mysql"},
		"cluster":             {[]string{"kafka", "redis", "postgres"}, "pubsub.kafka", "state.redis-atomic", "state.postgresql", "state.postgresql"},
		"cluster,cockroachdb": {[]string{"kafka", "redis", "postgres", "cockroachdb"}, "pubsub.kafka", "state.redis-atomic", "state.cockroachdb", "state.cockroachdb"},
	} {
		t.Run(spec, func(t *testing.T) {
			p, err := profile.Load(components(t), spec)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want.servers, p.Servers); diff != "" {
				t.Errorf("servers (-want +got):\n%s", diff)
			}
			for name, kind := range map[string]string{"events": want.events, "menu-store": want.menu, "order-store": want.order, "order-workflow": want.orderWorkflow} {
				if c, ok := p.Component(name); !ok || c.Type != kind {
					t.Errorf("%s is %q, want %s", name, c.Type, kind)
				}
			}
			dir := t.TempDir()
			if err := p.Write(filepath.Join(dir, "resources")); err != nil {
				t.Fatal(err)
			}
			files, err := filepath.Glob(filepath.Join(dir, "resources", "*.yaml"))
			if err != nil || len(files) != len(p.Resources) {
				t.Errorf("wrote %d files, %v, want %d", len(files), err, len(p.Resources))
			}
		})
	}
}

func TestUnknownProfile(t *testing.T) {
	_, err := profile.Load(components(t), "moon")
	if err == nil || !strings.Contains(err.Error(), `no profile "moon"`) || !strings.Contains(err.Error(), "kafka") {
		t.Errorf("got %v, want a line that lists the profiles", err)
	}
}

const good = `# Something.
apiVersion: dapr.io/v1alpha1
kind: Component
metadata:
  name: menu-store
spec:
  type: state.redis
  version: v1
  metadata:
    - name: redisHost
      envRef: REDIS_HOST
    - name: redisPassword
      envRef: REDIS_PASSWORD
scopes:
  - menu
`

// TestBrokenFiles holds that each fault is told with file, line and mend.
func TestBrokenFiles(t *testing.T) {
	for name, c := range map[string]struct {
		old, new string
		want     []string
	}{
		"type":          {"state.redis\n", "state.rediss\n", []string{"broken/a.yaml:7:", "state.rediss", "did you mean state.redis?"}},
		"setting":       {"redisHost", "redisHots", []string{"broken/a.yaml:10:", `no setting "redisHots"`, "use of"}},
		"lacking":       {"name: redisHost", "name: redisUsername", []string{"broken/a.yaml:9:", "lacks redisHost", "add it"}},
		"key":           {"metadata:\n  name", "metdata:\n  name", []string{"broken/a.yaml:4:", `"metdata" is unknown`, "correct or remove"}},
		"key in a spec": {"  version: v1", "  verison: v1", []string{"broken/a.yaml:8:", `"verison" is unknown`}},
		"version":       {"version: v1\n", "version: v9\n", []string{"broken/a.yaml:8:", `no version "v9"`, "write v1"}},
		"scope":         {"- menu", "- menus", []string{"broken/a.yaml:15:", `"menus", which is no app`}},
		"no scopes":     {"scopes:\n  - menu\n", "", []string{"broken/a.yaml:2:", "no scopes"}},
		"variable":      {"REDIS_HOST", "REDIS_HOTS", []string{"broken/a.yaml:10:", "REDIS_HOTS, which nothing sets"}},
		"secret":        {"envRef: REDIS_PASSWORD", "secretKeyRef: {name: redis, key: password}", []string{"broken/a.yaml:12:", `secret "redis"`, "use envRef"}},
		"kind":          {"kind: Component", "kind: Componen", []string{"broken/a.yaml:3:", `"Componen" is unknown`}},
		"yaml":          {"  name: menu-store", "\tname: menu-store", []string{"broken/a.yaml:5:", "correct the YAML"}},
		"twice":         {"redisPassword", "redisHost", []string{"broken/a.yaml:12:", "set twice"}},
		"documents":     {good, good + "---\n" + good, []string{"broken/a.yaml:18:", "there already"}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "components")
			for _, folder := range []string{"embedded", "subscriptions", "resiliency"} {
				if err := os.CopyFS(filepath.Join(dir, folder), os.DirFS(filepath.Join(components(t), folder))); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Mkdir(filepath.Join(dir, "broken"), 0o700); err != nil {
				t.Fatal(err)
			}
			text := strings.Replace(good, c.old, c.new, 1)
			for file, content := range map[string]string{"a.yaml": text, "profile.yaml": "description: broken\nservers: [redis]\n"} {
				if err := os.WriteFile(filepath.Join(dir, "broken", file), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			_, err := profile.Load(dir, "broken")
			if err == nil {
				t.Fatal("no fault was found")
			}
			lines := strings.Split(err.Error(), "\n")
			if !slices.ContainsFunc(lines, func(line string) bool {
				return !slices.ContainsFunc(c.want, func(part string) bool { return !strings.Contains(line, part) })
			}) {
				t.Errorf("got %q, want a line with %q", lines, c.want)
			}
		})
	}
}

func TestProfilesInACircle(t *testing.T) {
	dir := t.TempDir()
	for name, below := range map[string]string{"a": "b", "b": "a"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		text := "description: " + name + "\nextends:\n  - profile: " + below + "\n"
		if err := os.WriteFile(filepath.Join(dir, name, "profile.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := profile.Load(dir, "a"); err == nil || !strings.Contains(err.Error(), "circle") {
		t.Errorf("got %v, want a line that names the circle", err)
	}
}
