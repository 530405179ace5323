package platform

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"github.com/dishmesh/dishmesh/services/internal/broker"
	"github.com/dishmesh/dishmesh/services/internal/profile"
)

// resource is what the cross-checks need of any Dapr resource. The strict decoding into Dapr's own types is tested in
// the module that has them, components/runtime.
type resource struct {
	file     string
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Type              string
		Metadata          metadata
		Pubsubname, Topic string
		DeadLetterTopic   string `yaml:"deadLetterTopic"`
		Routes            struct {
			Default string
			Rules   []struct{ Match, Path string }
		}
		Targets struct {
			Apps       map[string]any
			Components map[string]any
		}
		AccessControl struct {
			Policies []struct {
				AppID string `yaml:"appId"`
			}
		} `yaml:"accessControl"`
	}
	Scopes []string
}

// metadata is the list of a component. A subscription's is a map and refers to nothing.
type metadata []struct {
	Name, Value string
	EnvRef      string `yaml:"envRef"`
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (m *metadata) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.MappingNode {
		return nil
	}
	type list metadata
	return n.Decode((*list)(m))
}

func readResources(t *testing.T) []resource {
	t.Helper()
	home, err := FindHome()
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob(home.Components("*", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no resources found: %v", err)
	}
	var out []resource
	for _, file := range files {
		if base := filepath.Base(file); base == "profile.yaml" || base == "kustomization.yaml" {
			continue // no resources
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if first, _, _ := bytes.Cut(raw, []byte("\n")); !regexp.MustCompile(`^# \S.*\.$`).Match(first) {
			t.Errorf("%s does not begin with a line that says what it does", file)
		}
		dec := yaml.NewDecoder(bytes.NewReader(raw))
		for {
			r := resource{file: filepath.Base(filepath.Dir(file)) + "/" + filepath.Base(file)}
			err := dec.Decode(&r)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			out = append(out, r)
		}
	}
	return out
}

func TestComponentsNameWhatExists(t *testing.T) {
	resources := readResources(t)
	names := map[string]string{}
	components := map[string]resource{}
	for _, r := range resources {
		key := r.Kind + "/" + filepath.Dir(r.file) + "/" + r.Metadata.Name
		if other, ok := names[key]; ok {
			t.Errorf("%s and %s both define %s", other, r.file, key)
		}
		names[key] = r.file
		if r.Kind == "Component" {
			components[r.Metadata.Name] = r
		}
		if r.Kind != "Configuration" && len(r.Scopes) == 0 {
			t.Errorf("%s has no scopes: every app would load it", r.file)
		}
		for _, app := range r.Scopes {
			if !slices.Contains(Apps(), app) {
				t.Errorf("%s is scoped to %q, which is no app", r.file, app)
			}
		}
		for app := range r.Spec.Targets.Apps {
			if !slices.Contains(Apps(), app) {
				t.Errorf("%s has a policy for %q, which is no app", r.file, app)
			}
		}
		for _, policy := range r.Spec.AccessControl.Policies {
			if !slices.Contains(Apps(), policy.AppID) {
				t.Errorf("%s has a policy for %q, which is no app", r.file, policy.AppID)
			}
		}
	}
	for _, r := range resources {
		for component := range r.Spec.Targets.Components {
			if _, ok := components[component]; !ok {
				t.Errorf("%s has a policy for %q, which is no component", r.file, component)
			}
		}
		if r.Kind != "Subscription" {
			continue
		}
		for _, app := range r.Scopes {
			if !slices.Contains(components[r.Spec.Pubsubname].Scopes, app) {
				t.Errorf("%s: %s subscribes by %q, which is not scoped to it", r.file, app, r.Spec.Pubsubname)
			}
			if want := "subscriptions/" + app + ".yaml"; r.file != want {
				t.Errorf("a subscription of %s is in %s, want it in %s", app, r.file, want)
			}
		}
		checkRoutes(t, r)
		if r.Spec.DeadLetterTopic != "" {
			t.Errorf("%s: with a dead-letter topic Dapr gives up an event while the app is only down; the app's adapter does it", r.file)
		}
	}
	for _, app := range Apps() {
		if app == "gateway" { // keeps nothing
			continue
		}
		store, ok := components[app+"-store"]
		if !ok || !slices.Equal(store.Scopes, []string{app}) {
			t.Errorf("%s has no state store of its own", app)
		}
	}
}

var eventType = regexp.MustCompile(`"(fooddelivery\.[a-z.-]+)"`)

// checkRoutes holds that every event of a topic that an app wants comes to the one path of that topic, and that a rule
// names only types of that topic.
func checkRoutes(t *testing.T, r resource) {
	t.Helper()
	var paths []string
	if r.Spec.Routes.Default != "" {
		paths = append(paths, r.Spec.Routes.Default)
	}
	for _, rule := range r.Spec.Routes.Rules {
		paths = append(paths, rule.Path)
		for _, m := range eventType.FindAllStringSubmatch(rule.Match, -1) {
			if !strings.HasPrefix(m[1], r.Spec.Topic+".") {
				t.Errorf("%s: a rule of %s names %s, which is never on it", r.file, r.Spec.Topic, m[1])
			}
		}
	}
	if len(paths) == 0 {
		t.Errorf("%s: %s goes nowhere", r.file, r.Spec.Topic)
	}
	for _, path := range paths {
		if want := "/events/" + r.Spec.Topic; path != want {
			t.Errorf("%s: %s goes to %q, want %q", r.file, r.Spec.Topic, path, want)
		}
	}
}

// TestComponentsFindTheirEnvironment holds for every profile that each variable that a component refers to is set for
// the sidecars that load it.
func TestComponentsFindTheirEnvironment(t *testing.T) {
	home, err := FindHome()
	if err != nil {
		t.Fatal(err)
	}
	all, err := profile.List(home.Components())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range all {
		t.Run(d.Name, func(t *testing.T) {
			l := layout(t)
			chosen, err := profile.Load(home.Components(), d.Name)
			if err != nil {
				t.Fatal(err)
			}
			p := &plan{cfg: Config{Home: home, Apps: Apps()}, layout: l, profile: chosen}
			if p.tokens, err = newTokens(l, Apps()); err != nil {
				t.Fatal(err)
			}
			if _, err := p.choosePorts(openPorts(l)); err != nil {
				t.Fatal(err)
			}
			if _, err := p.servers(); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(p.caFile(), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			for _, r := range chosen.Resources {
				for _, app := range r.Scopes {
					env, err := p.sidecar(app).Env()
					if err != nil {
						t.Fatal(err)
					}
					for _, m := range r.Metadata {
						if m.EnvRef != "" && !slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, m.EnvRef+"=") }) {
							t.Errorf("%s refers to %s, which the sidecar of %s does not get", r.At(), m.EnvRef, app)
						}
					}
				}
			}
		})
	}
}

func TestTopicsOfTheCheckout(t *testing.T) {
	home, err := FindHome()
	if err != nil {
		t.Fatal(err)
	}
	subs, err := broker.ReadSubscriptions(home.Components("subscriptions"))
	if err != nil {
		t.Fatal(err)
	}
	topics, err := broker.Topics(subs)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []broker.Topic{
		{Name: "fooddelivery.order", Partitions: 6},
		{Name: "fooddelivery.delivery.location", Partitions: 6},
		{Name: "fooddelivery.order.dlq.payment", Partitions: 1},
		{Name: "fooddelivery.user.dlq.notification", Partitions: 1},
	} {
		if !slices.Contains(topics, want) {
			t.Errorf("topics lack %v", want)
		}
	}
}
