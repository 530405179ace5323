package arch

import (
	"fmt"
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
)

// row is a service in the map of services/README.md.
type row struct {
	publishes, consumes, calls []string
}

var quoted = regexp.MustCompile("`([^`]+)`")

// readMap reads the map: a table with the columns service, duty, owns, publishes, consumes, calls. What counts in the
// last three are the words in backticks.
func readMap(text string) map[string]row {
	rows := map[string]row{}
	for line := range strings.SplitSeq(text, "\n") {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		name := strings.TrimSpace(cells[0])
		if len(cells) != 6 || !isService(name) {
			continue
		}
		rows[name] = row{words(cells[3]), words(cells[4]), words(cells[5])}
	}
	return rows
}

// words gives what is in backticks, where ".accepted" after "order.placed" is short for "order.accepted".
func words(cell string) []string {
	var all []string
	entity := ""
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		w := m[1]
		if strings.HasPrefix(w, ".") {
			w = entity + w
		}
		entity, _, _ = strings.Cut(w, ".")
		all = append(all, w)
	}
	slices.Sort(all)
	return all
}

// mapRules compare the map with what the code and the subscriptions say.
func mapRules(rows, actual map[string]row) []string {
	var violations []string
	for _, s := range services {
		got, ok := rows[s]
		if !ok {
			violations = append(violations, s+" is not in the map")
			continue
		}
		for _, col := range []struct {
			name      string
			got, want []string
		}{
			{"publishes", got.publishes, actual[s].publishes},
			{"consumes", got.consumes, actual[s].consumes},
			{"calls", got.calls, actual[s].calls},
		} {
			if !slices.Equal(col.got, col.want) {
				violations = append(violations, fmt.Sprintf("%s %s %v, the map says %v", s, col.name, col.want, col.got))
			}
		}
	}
	return violations
}

func TestServiceMap(t *testing.T) {
	c := readCode(t)
	actual := map[string]row{}
	for _, s := range services {
		actual[s] = row{publishes: c.events[s], calls: callees(t, s)}
	}
	for _, d := range resources(t) {
		if path.Dir(d.file) != "components/subscriptions" {
			continue
		}
		if d.deadLetters() { // every app has its own
			continue
		}
		app := strings.TrimSuffix(path.Base(d.file), ".yaml")
		r := actual[app]
		if len(d.Spec.Routes.Rules) == 0 {
			r.consumes = append(r.consumes, strings.TrimPrefix(d.Spec.Topic, cloudevent.Prefix)+".*")
		}
		for _, rule := range d.Spec.Routes.Rules {
			types, _ := filtered(rule.Match)
			r.consumes = append(r.consumes, types...)
		}
		slices.Sort(r.consumes)
		actual[app] = r
	}
	text, err := os.ReadFile(filepath.Join(root(t), "services", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	report(t, mapRules(readMap(string(text)), actual))
}

// callees are the services whose client a service has.
func callees(t *testing.T, service string) []string {
	t.Helper()
	var all []string
	for _, f := range goFiles(t, filepath.Join(root(t), "services", service)) {
		ast.Inspect(f, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && sel.Sel.Name == "Client" {
				if x, ok := sel.X.(*ast.Ident); ok && isService(strings.TrimSuffix(x.Name, "api")) && strings.HasSuffix(x.Name, "api") {
					all = append(all, strings.TrimSuffix(x.Name, "api"))
				}
			}
			return true
		})
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestMapRulesFail(t *testing.T) {
	text := "| service | duty | owns | publishes | consumes | calls |\n"
	actual := map[string]row{}
	for _, s := range services {
		text += "| " + s + " | its duty | things | `" + s + ".done`, `.undone` | `x.*` | `menu` (why) |\n"
		actual[s] = row{publishes: []string{s + ".done", s + ".undone"}, consumes: []string{"x.*"}, calls: []string{"menu"}}
	}
	same(t, mapRules(readMap(text), actual), nil)
	actual["order"] = row{publishes: []string{"order.done"}, consumes: []string{"x.y"}, calls: nil}
	same(t, mapRules(readMap(strings.Replace(text, "| user |", "| users |", 1)), actual), []string{
		"user is not in the map",
		"order publishes [order.done], the map says [order.done order.undone]",
		"order consumes [x.y], the map says [x.*]",
		"order calls [], the map says [menu]",
	})
}
