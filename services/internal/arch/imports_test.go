package arch

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// pkg is what go list tells of a package.
type pkg struct {
	ImportPath   string
	Name         string
	Dir          string
	GoFiles      []string
	Imports      []string
	TestImports  []string
	XTestImports []string
}

// rel is the package's path below services/, "" for a package of another module.
func rel(importPath string) string {
	after, ok := strings.CutPrefix(importPath, module+"/services/")
	if !ok {
		return ""
	}
	return after
}

// owner is the first part of a path below services/: a service, city, cmd or internal.
func owner(rel string) string {
	first, _, _ := strings.Cut(rel, "/")
	return first
}

// isAPI tells whether a path below services/ is the importable contract of a service, or a later version of its events
// below it.
func isAPI(rel string) bool {
	o := owner(rel)
	return isService(o) && strings.HasPrefix(rel+"/", o+"/"+o+"api/")
}

func isInternal(rel string) bool { return owner(rel) == "internal" }

// listPackages asks the go command for every package of the module and everything that they are built from.
func listPackages(t *testing.T) map[string]pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,Name,Dir,GoFiles,Imports,TestImports,XTestImports", "./services/...")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	packages := map[string]pkg{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages[p.ImportPath] = p
	}
}

// importRules hold who may import whom, among the packages of this module.
func importRules(packages map[string]pkg) []string {
	var violations []string
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		p := packages[name]
		from := rel(name)
		if from == "" {
			continue
		}
		for i, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			to, test := rel(imported), i >= len(p.Imports)
			if to == "" || test && owner(to) == "city" { // tests may meet the outside world
				continue
			}
			if why := forbidden(from, to); why != "" {
				violations = append(violations, fmt.Sprintf("services/%s imports services/%s: %s", from, to, why))
			}
		}
	}
	for _, service := range services {
		for via := range reach(packages, module+"/services/"+service) {
			from := rel(via)
			if !isInternal(from) {
				continue
			}
			for _, imported := range packages[via].Imports {
				if to := rel(imported); to != "" && !isInternal(to) {
					violations = append(violations, fmt.Sprintf("services/%s, which %s is built on, imports services/%s: a shared part knows no service", from, service, to))
				}
			}
		}
	}
	return violations
}

// forbidden says why a package must not import another, or "".
func forbidden(from, to string) string {
	switch o := owner(from); {
	case isAPI(from) && !isInternal(to) && !isAPI(to) && owner(to) != o:
		return "a contract is built on shared parts and other contracts only"
	case isAPI(from) && owner(to) == o && !isAPI(to):
		return "a contract does not know its service"
	case isService(o) && !isAPI(from) && owner(to) != o && !isInternal(to) && !isAPI(to):
		return "a service imports another's …api and nothing else of it"
	case o == "city" && owner(to) != o && !isInternal(to) && !isAPI(to):
		return "the outside world has no back door"
	case o == "city" && slices.Contains([]string{"internal/sidecar", "internal/run", "internal/outbox", "internal/eventstore", "internal/topic"}, to):
		return "the outside world has no sidecar"
	}
	return ""
}

// reach is the set of packages that one is built from, itself included.
func reach(packages map[string]pkg, from string) map[string]bool {
	seen := map[string]bool{}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		if p := queue[0]; !seen[p] {
			seen[p] = true
			queue = append(queue, packages[p].Imports...)
		}
	}
	return seen
}

// clients are libraries that talk to a broker or a database. A service leaves that to its sidecar.
var clients = []string{
	"github.com/twmb/franz-go", "github.com/IBM/sarama", "github.com/Shopify/sarama", "github.com/segmentio/kafka-go",
	"github.com/confluentinc/", "github.com/rabbitmq/", "github.com/streadway/amqp", "github.com/nats-io/",
	"github.com/apache/pulsar-client-go", "github.com/eclipse/paho", "cloud.google.com/go/pubsub",
	"github.com/redis/", "github.com/go-redis/", "github.com/gomodule/redigo", "github.com/valkey-io/",
	"github.com/jackc/pgx", "github.com/lib/pq", "github.com/go-sql-driver/", "github.com/microsoft/go-mssqldb",
	"modernc.org/sqlite", "github.com/mattn/go-sqlite3", "go.mongodb.org/", "github.com/gocql/", "go.etcd.io/",
	"github.com/aws/", "github.com/Azure/", "github.com/dapr/components-contrib",
}

// exceptions are the packages that may use a client, and which: Dapr has no building block for what they do.
var exceptions = map[string][]string{
	"gateway":           {"github.com/redis/", "github.com/go-redis/redis_rate"}, // the rate limit that all replicas share
	"delivery/geoindex": {"github.com/redis/"},                                   // the couriers' positions
}

func hasAny(s string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(s, p) })
}

// clientRules hold that no service is built on a client of a broker or a database, directly or by way of others.
func clientRules(packages map[string]pkg) []string {
	var violations []string
	for _, service := range services {
		seen := map[string]bool{}
		queue := []string{module + "/services/" + service, module + "/services/cmd/" + service}
		for ; len(queue) > 0; queue = queue[1:] {
			name := queue[0]
			if seen[name] {
				continue
			}
			seen[name] = true
			for _, imported := range packages[name].Imports {
				switch from := rel(name); {
				case hasAny(imported, clients) && from != "" && hasAny(imported, exceptions[from]):
				case hasAny(imported, clients), imported == "database/sql" && from != "":
					violations = append(violations, fmt.Sprintf("%s is built on %s, by %s", service, imported, name))
				default:
					queue = append(queue, imported)
				}
			}
		}
	}
	return violations
}

// nameRules hold that a package is named for what it does.
func nameRules(packages map[string]pkg) []string {
	var violations []string
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		if rel(name) == "" {
			continue
		}
		for _, n := range []string{path.Base(name), packages[name].Name} {
			switch n {
			case "util", "utils", "common", "core", "helper", "helpers", "misc", "shared", "base", "lib":
				violations = append(violations, fmt.Sprintf("%s: %q says nothing about what the package does", name, n))
			}
		}
	}
	return slices.Compact(violations)
}

func TestImports(t *testing.T) {
	packages := listPackages(t)
	for _, service := range services {
		if _, ok := packages[module+"/services/"+service]; !ok {
			t.Errorf("there is no package services/%s", service)
		}
	}
	report(t, importRules(packages))
	report(t, clientRules(packages))
	report(t, nameRules(packages))
}

// made turns "path: import import" into packages. Paths without a dot are below services/.
func made(lines ...string) map[string]pkg {
	full := func(s string) string {
		if strings.Contains(s, ".") || s == "database/sql" {
			return s
		}
		return module + "/services/" + s
	}
	packages := map[string]pkg{}
	for _, line := range lines {
		name, imports, _ := strings.Cut(line, ":")
		p := pkg{ImportPath: full(name), Name: path.Base(name)}
		for _, i := range strings.Fields(imports) {
			p.Imports = append(p.Imports, full(i))
		}
		packages[p.ImportPath] = p
	}
	return packages
}

func TestImportRulesFail(t *testing.T) {
	for _, c := range []struct {
		name string
		rule func(map[string]pkg) []string
		in   []string
		want []string
	}{
		{"allowed", importRules, []string{
			"order: order/orderapi payment/paymentapi internal/web", "order/orderapi: internal/web menu/menuapi",
			"internal/web: internal/problem", "internal/load: order/orderapi", "internal/cli: payment",
			"city/kitchen: internal/publicapi restaurant/restaurantapi", "cmd/order: order internal/run",
		}, nil},
		{"another service", importRules, []string{"order: payment"},
			[]string{"services/order imports services/payment: a service imports another's …api and nothing else of it"}},
		{"a part of another service", importRules, []string{"order/x: delivery/geoindex"},
			[]string{"services/order/x imports services/delivery/geoindex: a service imports another's …api and nothing else of it"}},
		{"a service that knows the city", importRules, []string{"payment: city/acquirer"},
			[]string{"services/payment imports services/city/acquirer: a service imports another's …api and nothing else of it"}},
		{"a contract that knows its service", importRules, []string{"order/orderapi: order"},
			[]string{"services/order/orderapi imports services/order: a contract does not know its service"}},
		{"a contract that knows another service", importRules, []string{"order/orderapi: payment"},
			[]string{"services/order/orderapi imports services/payment: a contract is built on shared parts and other contracts only"}},
		{"a shared part that knows a service", importRules, []string{"order: internal/web", "internal/web: internal/x", "internal/x: menu/menuapi"},
			[]string{"services/internal/x, which order is built on, imports services/menu/menuapi: a shared part knows no service"}},
		{"a back door", importRules, []string{"city/kitchen: restaurant internal/sidecar"}, []string{
			"services/city/kitchen imports services/restaurant: the outside world has no back door",
			"services/city/kitchen imports services/internal/sidecar: the outside world has no sidecar",
		}},
		{"allowed clients", clientRules, []string{
			"gateway: github.com/redis/go-redis/v9 github.com/go-redis/redis_rate/v10", "delivery: delivery/geoindex",
			"delivery/geoindex: github.com/redis/go-redis/v9", "internal/broker: github.com/twmb/franz-go/pkg/kfake",
			"menu: github.com/prometheus/client_golang", "github.com/prometheus/client_golang: database/sql",
		}, nil},
		{"a broker client", clientRules, []string{"order: github.com/twmb/franz-go/pkg/kgo"},
			[]string{"order is built on github.com/twmb/franz-go/pkg/kgo, by " + module + "/services/order"}},
		{"by way of a shared part", clientRules, []string{"order: internal/x", "internal/x: github.com/jackc/pgx/v5"},
			[]string{"order is built on github.com/jackc/pgx/v5, by " + module + "/services/internal/x"}},
		{"by way of its main", clientRules, []string{"cmd/menu: modernc.org/sqlite"},
			[]string{"menu is built on modernc.org/sqlite, by " + module + "/services/cmd/menu"}},
		{"by way of another module", clientRules, []string{"user: example.org/x", "example.org/x: go.mongodb.org/mongo-driver"},
			[]string{"user is built on go.mongodb.org/mongo-driver, by example.org/x"}},
		{"an exception of another", clientRules, []string{"pricing: github.com/redis/go-redis/v9"},
			[]string{"pricing is built on github.com/redis/go-redis/v9, by " + module + "/services/pricing"}},
		{"an exception for something else", clientRules, []string{"gateway: modernc.org/sqlite"},
			[]string{"gateway is built on modernc.org/sqlite, by " + module + "/services/gateway"}},
		{"SQL of its own", clientRules, []string{"user: database/sql"},
			[]string{"user is built on database/sql, by " + module + "/services/user"}},
		{"a name", nameRules, []string{"internal/util:", "order/common:", "internal/web:"}, []string{
			module + `/services/internal/util: "util" says nothing about what the package does`,
			module + `/services/order/common: "common" says nothing about what the package does`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) { same(t, c.rule(made(c.in...)), c.want) })
	}
}

// maxMain is how many lines a main program may have: what it does is in the packages that it starts.
const maxMain = 20

// tools are the programs that are no service: the tool, and what replaces a service's program in a running container.
var tools = []string{"dishmesh", "live"}

// mainRules hold that cmd/ has one short file for each service and each tool. files maps the path of each file below
// cmd/ to its number of lines.
func mainRules(files map[string]int) []string {
	var violations []string
	for _, name := range slices.Concat(services, tools) {
		if _, ok := files[name+"/main.go"]; !ok {
			violations = append(violations, fmt.Sprintf("services/cmd/%s/main.go is missing", name))
		}
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		dir, base := path.Split(file)
		name := path.Clean(dir)
		switch {
		case base != "main.go", !slices.Contains(tools, name) && !isService(name):
			violations = append(violations, fmt.Sprintf("services/cmd/%s: cmd/ holds the main.go of each service and each tool, nothing else", file))
		case files[file] > maxMain:
			violations = append(violations, fmt.Sprintf("services/cmd/%s has %d lines, more than %d", file, files[file], maxMain))
		}
	}
	return violations
}

func TestMains(t *testing.T) {
	dir := filepath.Join(root(t), "services", "cmd")
	files := map[string]int{}
	matches, err := filepath.Glob(filepath.Join(dir, "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range matches {
		b, err := os.ReadFile(m)
		if err != nil {
			t.Fatal(err)
		}
		name, err := filepath.Rel(dir, m)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.ToSlash(name)] = bytes.Count(b, []byte("\n"))
	}
	report(t, mainRules(files))
}

func TestMainRulesFail(t *testing.T) {
	files := map[string]int{"dishmesh/main.go": 12, "live/main.go": 7}
	for _, s := range services {
		files[s+"/main.go"] = 9
	}
	same(t, mainRules(files), nil)
	delete(files, "menu/main.go")
	files["order/main.go"] = 21
	files["user/keys.go"] = 3
	files["cron/main.go"] = 9
	same(t, mainRules(files), []string{
		"services/cmd/menu/main.go is missing",
		"services/cmd/order/main.go has 21 lines, more than 20",
		"services/cmd/user/keys.go: cmd/ holds the main.go of each service and each tool, nothing else",
		"services/cmd/cron/main.go: cmd/ holds the main.go of each service and each tool, nothing else",
	})
}

// address is what looks like the address of another process in a string.
var address = regexp.MustCompile(`https?://[A-Za-z0-9\[]|\blocalhost\b|\b127\.0\.0\.1\b|:(3500|50001|9092|6379)\b`)

// addressRules hold that a service holds no address but the ones it listens on: it reaches others by their app id.
// files maps the path of a Go file to its text.
func addressRules(files map[string]string) []string {
	var violations []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, files[name], parser.SkipObjectResolution)
		if err != nil {
			violations = append(violations, err.Error())
			continue
		}
		ast.Inspect(f, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			s, err := strconv.Unquote(lit.Value)
			if err == nil && address.MatchString(s) && !strings.HasPrefix(s, `env:"PUBLIC_ADDR" `) {
				violations = append(violations, fmt.Sprintf("%s: %q is an address; others are reached by their app id, outsiders by a component", fset.Position(lit.Pos()), s))
			}
			return true
		})
	}
	return violations
}

func TestAddresses(t *testing.T) {
	files := map[string]string{}
	for name, p := range listPackages(t) {
		if !isService(owner(rel(name))) {
			continue
		}
		for _, f := range p.GoFiles {
			b, err := os.ReadFile(filepath.Join(p.Dir, f))
			if err != nil {
				t.Fatal(err)
			}
			files["services/"+rel(name)+"/"+f] = string(b)
		}
	}
	report(t, addressRules(files))
}

func TestAddressRulesFail(t *testing.T) {
	same(t, addressRules(map[string]string{
		"a.go": "package a\n// http://localhost:8080 in a comment\ntype c struct {\n\tA string `env:\"PUBLIC_ADDR\" default:\"127.0.0.1:8080\"`\n}\nconst n = \"/v1/orders\"",
		"b.go": "package b\nvar u = \"http://payment:8080/v1\"",
		"c.go": "package c\nvar u = `127.0.0.1:8081`",
	}), []string{
		`b.go:2:9: "http://payment:8080/v1" is an address; others are reached by their app id, outsiders by a component`,
		`c.go:2:9: "127.0.0.1:8081" is an address; others are reached by their app id, outsiders by a component`,
	})
}
