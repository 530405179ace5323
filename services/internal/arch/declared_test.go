package arch

import (
	"bytes"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/gorilla/mux"
	"gopkg.in/yaml.v3"

	"github.com/dishmesh/dishmesh/services/analytics"
	"github.com/dishmesh/dishmesh/services/delivery"
	"github.com/dishmesh/dishmesh/services/gateway"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract/catalogue"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/menu"
	"github.com/dishmesh/dishmesh/services/notification"
	"github.com/dishmesh/dishmesh/services/order"
	"github.com/dishmesh/dishmesh/services/payment"
	"github.com/dishmesh/dishmesh/services/pricing"
	"github.com/dishmesh/dishmesh/services/restaurant"
	"github.com/dishmesh/dishmesh/services/user"
)

// document is a Dapr resource as far as these rules look at it.
type document struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Spec       struct {
		PubSubName string `yaml:"pubsubname"`
		Topic      string
		Routes     struct {
			Rules   []struct{ Match, Path string }
			Default string
		}
		Metadata yaml.Node // a map in a subscription, a list in a component
	}
	Scopes []string
	file   string // from the top of the checkout
}

func parseDocuments(file string, text []byte) ([]document, error) {
	var all []document
	for dec := yaml.NewDecoder(bytes.NewReader(text)); ; {
		d := document{file: file}
		err := dec.Decode(&d)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all = append(all, d)
	}
}

// resources reads every YAML file of components/.
func resources(t *testing.T) []document {
	t.Helper()
	var all []document
	top := root(t)
	err := filepath.WalkDir(filepath.Join(top, "components"), func(name string, d fs.DirEntry, err error) error {
		// What the cluster takes of a folder is no resource.
		if err != nil || d.IsDir() || filepath.Ext(name) != ".yaml" || d.Name() == "kustomization.yaml" {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		file, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		documents, err := parseDocuments(filepath.ToSlash(file), text)
		all = append(all, documents...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// code is what the Go files say about events.
type code struct {
	topics map[string]string          // topic to the service that owns it
	events map[string][]string        // service to the types of its events, without the common prefix
	kinds  map[string][]string        // topic to the types of its events, by the contracts, in the order of their names
	known  map[string]map[string]bool // service to the types of others' events that its code names
	routes map[string][]string        // service to the topics that it serves deliveries of
	// declared are the types that the table of a service's subscriptions names, by service and topic; live ones name none.
	declared map[string]map[string][]string
}

var eventType = regexp.MustCompile(`^[a-z]+\.[a-z]+(-[a-z]+)*$`)

// constants gives the string constants of the Go files in dir, tests left out.
func constants(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, f := range goFiles(t, dir) {
		for _, decl := range f.Decls {
			gen, ok := decl.(*ast.GenDecl)
			if !ok || gen.Tok != token.CONST {
				continue
			}
			for _, spec := range gen.Specs {
				v := spec.(*ast.ValueSpec)
				for i, value := range v.Values {
					if lit, ok := value.(*ast.BasicLit); ok && lit.Kind == token.STRING {
						s, err := strconv.Unquote(lit.Value)
						if err != nil {
							t.Fatal(err)
						}
						found[v.Names[i].Name] = s
					}
				}
			}
		}
	}
	return found
}

func goFiles(t *testing.T, dir string) []*ast.File {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return files
}

// readCode finds the topics and event types of every service, who names whose, and who serves what.
func readCode(t *testing.T) code {
	t.Helper()
	c := code{topics: map[string]string{}, events: map[string][]string{}, kinds: kinds(), known: map[string]map[string]bool{}, routes: map[string][]string{}, declared: map[string]map[string][]string{}}
	byName := map[string]map[string]string{} // package name to its constants that are event types
	for _, service := range services {
		c.topics[cloudevent.Topic(service)] = service
		api := service + "api"
		byName[api] = map[string]string{}
		for name, value := range constants(t, filepath.Join(root(t), "services", service, api)) {
			switch {
			case !eventType.MatchString(value) || !strings.HasPrefix(value, service+"."):
			case strings.HasSuffix(name, "Entity"):
				c.topics[cloudevent.Topic(value)] = service
			default:
				byName[api][name] = value
				c.events[service] = append(c.events[service], value)
			}
		}
		slices.Sort(c.events[service])
	}
	for _, service := range services {
		c.known[service] = map[string]bool{}
		for _, f := range goFiles(t, filepath.Join(root(t), "services", service)) {
			ast.Inspect(f, func(n ast.Node) bool {
				if sel, ok := n.(*ast.SelectorExpr); ok {
					if x, ok := sel.X.(*ast.Ident); ok && x.Name != service+"api" {
						if event, ok := byName[x.Name][sel.Sel.Name]; ok {
							c.known[service][event] = true
						}
					}
				}
				return true
			})
		}
		c.routes[service], c.declared[service] = deliveries(t, service)
	}
	return c
}

// kinds gives the event types of every topic, without the common prefix, in the order of their names.
func kinds() map[string][]string {
	all := map[string][]string{}
	for _, e := range catalogue.All.Events() {
		all[e.Topic()] = append(all[e.Topic()], e.Name)
	}
	for _, types := range all {
		slices.Sort(types)
	}
	return all
}

// deliveries builds a service and reads off its router which topics it takes in, and off its subscriptions which types
// of them.
func deliveries(t *testing.T, service string) ([]string, map[string][]string) {
	t.Helper()
	d, _ := runtest.New(t, service)
	d.Proxy = func() (string, http.RoundTripper) { return "http://sidecar.invalid", http.DefaultTransport }
	built, err := build(d)
	if err != nil {
		t.Fatalf("%s: %v", service, err)
	}
	r := mux.NewRouter()
	built.Routes(r)
	var topics []string
	err = r.Walk(func(route *mux.Route, _ *mux.Router, _ []*mux.Route) error {
		if p, err := route.GetPathTemplate(); err == nil && strings.HasPrefix(p, topic.Path("")) {
			topics = append(topics, strings.TrimPrefix(p, topic.Path("")))
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s: %v", service, err)
	}
	slices.Sort(topics)
	declared := map[string][]string{}
	for _, sub := range d.Topics.Subscriptions() {
		if !sub.Live {
			declared[sub.Topic] = slices.Sorted(slices.Values(sub.Types))
		}
	}
	return topics, declared
}

func build(d *run.Deps) (run.Service, error) {
	switch d.Name {
	case "analytics":
		return with(d, analytics.New)
	case "delivery":
		return with(d, delivery.New)
	case "gateway":
		return with(d, gateway.New)
	case "menu":
		return with(d, menu.New)
	case "notification":
		return with(d, notification.New)
	case "order":
		return with(d, order.New)
	case "payment":
		return with(d, payment.New)
	case "pricing":
		return with(d, pricing.New)
	case "restaurant":
		return with(d, restaurant.New)
	case "user":
		return with(d, user.New)
	}
	return nil, errors.New("this test does not know how to build it: add a line")
}

// with builds a service as it is set by default.
func with[C any](d *run.Deps, build func(*run.Deps, C) (run.Service, error)) (run.Service, error) {
	var cfg C
	err := run.Load(&cfg, func(name string) (string, bool) {
		return "unused", strings.HasSuffix(name, "_KEY") // required, and of no use here
	})
	if err != nil {
		return nil, err
	}
	return build(d, cfg)
}

// match is the one form of a rule: it names what the app does not want. So what has no type, and a type that nobody
// knows, is let through and dead-lettered by the app, and not dropped by the sidecar.
var match = regexp.MustCompile(`^!has\(event\.type\) \|\| !\(event\.type in \[ ?("[^"]*"(?:, ?"[^"]*")*) ?\]\)$`)

const form = `!has(event.type) || !(event.type in ["…"])`
