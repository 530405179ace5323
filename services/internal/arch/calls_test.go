package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// invocation is a call of another service as the code makes it. A variable part of its path is {}.
type invocation struct {
	where  string // package below services/
	callee string
	method string
	path   string
	within time.Duration
}

func (c invocation) String() string { return c.method + " " + c.path + " of " + c.callee }

// reader reads the calls of one package.
type reader struct {
	files  []*ast.File
	consts map[string]string
}

// invocations finds every sidecar.Call of the services and their contracts.
func invocations(t *testing.T) []invocation {
	t.Helper()
	var all []invocation
	for _, s := range services {
		for _, where := range []string{s, s + "/" + s + "api"} {
			dir := filepath.Join(root(t), "services", where)
			r := reader{goFiles(t, dir), constants(t, dir)}
			for _, f := range r.files {
				all = append(all, r.typed(where, s, f)...)
				ast.Inspect(f, func(n ast.Node) bool {
					if lit, ok := n.(*ast.CompositeLit); ok && isSelector(lit.Type, "sidecar", "Call") {
						all = append(all, r.invocation(where, s, lit))
					}
					return true
				})
			}
		}
	}
	return all
}

// typed finds the typed calls: a client's member that is made with an rpc.Door, and the procedures that are called of it.
func (r reader) typed(where, service string, f *ast.File) []invocation {
	type door struct {
		service string
		within  time.Duration
	}
	doors := map[string]door{}
	ast.Inspect(f, func(n ast.Node) bool {
		kv, ok := n.(*ast.KeyValueExpr)
		if !ok {
			return true
		}
		made, ok := kv.Value.(*ast.CallExpr)
		if !ok || len(made.Args) == 0 {
			return true
		}
		lit, ok := made.Args[0].(*ast.CompositeLit)
		if !ok || !isSelector(lit.Type, "rpc", "Door") {
			return true
		}
		name := strings.TrimSuffix(strings.TrimPrefix(made.Fun.(*ast.Ident).Name, "New"), "Client")
		doors[kv.Key.(*ast.Ident).Name] = door{name, r.invocation(where, service, lit).within}
		return true
	})
	var all []invocation
	ast.Inspect(f, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		procedure, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		member, ok := procedure.X.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if d, ok := doors[member.Sel.Name]; ok {
			all = append(all, invocation{where, service, "POST", r.consts[d.service+procedure.Sel.Name+"Procedure"], d.within})
		}
		return true
	})
	return all
}

func isSelector(e ast.Expr, x, name string) bool {
	sel, ok := e.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	id, ok := sel.X.(*ast.Ident)
	return ok && id.Name == x
}

func (r reader) invocation(where, service string, lit *ast.CompositeLit) invocation {
	c := invocation{where: where, within: sidecar.CallTimeout}
	for _, e := range lit.Elts {
		kv, ok := e.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		switch kv.Key.(*ast.Ident).Name {
		case "App":
			switch app := kv.Value.(type) {
			case *ast.Ident: // App of the same package
				c.callee = service
			case *ast.SelectorExpr:
				c.callee = strings.TrimSuffix(app.X.(*ast.Ident).Name, "api")
			}
		case "Method":
			switch m := kv.Value.(type) {
			case *ast.Ident: // a constant such as get
				c.method = strings.ToUpper(m.Name)
			case *ast.SelectorExpr: // http.MethodGet
				c.method = strings.ToUpper(strings.TrimPrefix(m.Sel.Name, "Method"))
			}
		case "Path":
			c.path, _, _ = strings.Cut(r.text(kv.Value), "?")
		case "Within":
			c.within = r.duration(kv.Value)
		}
	}
	return c
}

// text gives what a string is made of: literals, constants and one-line functions of the package; the rest is {}.
func (r reader) text(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		s, _ := strconv.Unquote(e.Value)
		return s
	case *ast.BinaryExpr:
		return r.text(e.X) + r.text(e.Y)
	case *ast.Ident:
		if s, ok := r.consts[e.Name]; ok {
			return s
		}
	case *ast.CallExpr:
		if f, ok := e.Fun.(*ast.Ident); ok {
			if decl := r.function(f.Name); decl != nil && len(decl.Body.List) == 1 {
				if ret, ok := decl.Body.List[0].(*ast.ReturnStmt); ok {
					return r.text(ret.Results[0])
				}
			}
		}
	}
	return "{}"
}

func (r reader) function(name string) *ast.FuncDecl {
	for _, f := range r.files {
		for _, d := range f.Decls {
			if decl, ok := d.(*ast.FuncDecl); ok && decl.Recv == nil && decl.Name.Name == name {
				return decl
			}
		}
	}
	return nil
}

// duration reads a constant of the form N * time.Second, 0 for anything else.
func (r reader) duration(e ast.Expr) time.Duration {
	id, ok := e.(*ast.Ident)
	if !ok {
		return 0
	}
	var found time.Duration
	for _, f := range r.files {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 || spec.Names[0].Name != id.Name {
				return true
			}
			product, ok := spec.Values[0].(*ast.BinaryExpr)
			if !ok || product.Op != token.MUL || !isSelector(product.Y, "time", "Second") {
				return true
			}
			if lit, ok := product.X.(*ast.BasicLit); ok {
				n, _ := strconv.Atoi(lit.Value)
				found = time.Duration(n) * time.Second
			}
			return true
		})
	}
	return found
}

// hop is a line of the table of calls in components/README.md.
type hop struct {
	callers []string // empty: the client has it, nobody uses it
	callee  string
	calls   []string // method and path
	again   string   // why the call may be repeated
	within  string
	tries   string
	tests   []string
}

// readHops reads the table with the columns caller, callee, call, "may be repeated, because", within, tries, "while the
// callee is away"; tests are named in backticks in the last.
func readHops(text string) []hop {
	var hops []hop
	for _, cells := range tableRows(text, "caller", 7) {
		h := hop{calls: allQuoted(cells[2]), again: strings.TrimSpace(cells[3]), within: strings.TrimSpace(cells[4]),
			tries: strings.TrimSpace(cells[5]), tests: testNames(cells[6])}
		for _, c := range strings.Split(cells[0], ",") {
			if c = strings.TrimSpace(c); c != "-" {
				h.callers = append(h.callers, c)
			}
		}
		for callee := range strings.SplitSeq(cells[1], ",") {
			h.callee = strings.TrimSpace(callee)
			hops = append(hops, h)
		}
	}
	return hops
}

// tableRows gives the cells of the rows of the table whose first heading is first.
func tableRows(text, first string, columns int) [][]string {
	var rows [][]string
	inside := false
	for line := range strings.SplitSeq(text, "\n") {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		switch {
		case !strings.HasPrefix(line, "|"):
			inside = false
		case strings.TrimSpace(cells[0]) == first && len(cells) == columns:
			inside = true
		case inside && len(cells) == columns && !strings.Contains(cells[0], "---"):
			rows = append(rows, cells)
		}
	}
	return rows
}

func allQuoted(cell string) []string {
	var all []string
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

func testNames(cell string) []string {
	return slices.DeleteFunc(allQuoted(cell), func(s string) bool { return !strings.HasPrefix(s, "Test") })
}

// public is how the table names what comes from outside and is forwarded.
const public = "every public route"

// samePath compares a call of the code with one of the table, part by part.
func samePath(code, table string) bool {
	a, b := strings.Split(code, "/"), strings.Split(table, "/")
	return slices.EqualFunc(a, b, func(x, y string) bool { return x == y || x == "{}" && y != "" })
}

// hopRules compare the table with the calls of the code, who has whose client, and what is tried how often.
func hopRules(hops []hop, code []invocation, clients map[string][]string, tries func(caller string) int, tests map[string]bool) []string {
	var violations []string
	complain := func(format string, args ...any) { violations = append(violations, fmt.Sprintf(format, args...)) }
	found := map[string]bool{}
	for _, c := range code {
		if !strings.HasPrefix(c.path, "/") || c.callee == "" || c.method == "" || c.within == 0 {
			complain("services/%s: what is called can't be read: %s", c.where, c)
			continue
		}
		var in *hop
		for i, h := range hops {
			if h.callee != c.callee {
				continue
			}
			for _, call := range h.calls {
				if method, path, _ := strings.Cut(call, " "); method == c.method && samePath(c.path, path) {
					found[h.callee+" "+call], in = true, &hops[i]
				}
			}
		}
		if in == nil {
			complain("services/%s calls %s, which the table does not have", c.where, c)
		} else if want := strconv.Itoa(int(c.within.Seconds())) + " s"; in.within != want {
			complain("%s is bounded by %s, the table says %s", c, want, in.within)
		}
	}
	known := map[string]bool{}
	for _, h := range hops {
		if !isService(h.callee) {
			complain("the table has %q, which is no service", h.callee)
		}
		for _, call := range h.calls {
			if call != public && !found[h.callee+" "+call] {
				complain("the table has %s of %s, which nobody's client has", call, h.callee)
			}
		}
		for _, caller := range h.callers {
			known[caller+" "+h.callee] = true
			if got := strconv.Itoa(tries(caller)); got != h.tries {
				complain("%s tries %v of %s %s times, the table says %s", caller, h.calls, h.callee, got, h.tries)
			}
		}
		if h.tries != "1" && (h.again == "" || h.again == "no") {
			complain("%v of %s is repeated, and the table does not say why that does no harm", h.calls, h.callee)
		}
		if len(h.callers) > 0 && len(h.tests) == 0 {
			complain("no test shows what happens while %s is away from %v", h.callee, h.callers)
		}
		for _, test := range h.tests {
			if !tests[test] {
				complain("the table names %s, which is no test", test)
			}
		}
	}
	for _, caller := range slices.Sorted(maps.Keys(clients)) {
		for _, callee := range clients[caller] {
			if !known[caller+" "+callee] {
				complain("%s calls %s, which the table does not have", caller, callee)
			}
		}
	}
	return violations
}

func TestCallTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root(t), "components", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	clients := map[string][]string{}
	for _, s := range services {
		clients[s] = callees(t, s)
	}
	policies := readPolicies(t)
	report(t, hopRules(readHops(string(text)), invocations(t), clients, policies.tries, allTests(t)))
	report(t, policyRules(policies))
	report(t, componentRules(tableRows(string(text), "component", 6), resources(t), policies, allTests(t)))
}

func TestHopRulesFail(t *testing.T) {
	text := "| caller | callee | call | may be repeated, because | within | tries | while the callee is away |\n" +
		"| --- | --- | --- | --- | --- | --- | --- |\n" +
		"| order | menu | `GET /internal/a/{x}`, `POST /internal/b` | it reads | 3 s | 4 | waits: `TestWaits` |\n" +
		"| gateway | menu | `every public route` | no | 5 s | 1 | refuses: `TestRefuses` |\n" +
		"\n| caller | of | another | table |\n| order | x | y | z |\n"
	tries := func(caller string) int {
		if caller == "gateway" {
			return 1
		}
		return 4
	}
	a := invocation{"menu/menuapi", "menu", "GET", "/internal/a/{}", 3 * time.Second}
	b := invocation{"menu/menuapi", "menu", "POST", "/internal/b", 3 * time.Second}
	tests := map[string]bool{"TestWaits": true, "TestRefuses": true}
	clients := map[string][]string{"order": {"menu"}}
	same(t, hopRules(readHops(text), []invocation{a, b}, clients, tries, tests), nil)

	unread, c, slow := a, a, b
	unread.path, c.path, slow.within = "{}", "/internal/c", 11*time.Second
	same(t, hopRules(readHops(text), []invocation{a, slow, unread, c}, map[string][]string{"order": {"menu", "user"}}, tries, tests), []string{
		"services/menu/menuapi: what is called can't be read: GET {} of menu",
		"services/menu/menuapi calls GET /internal/c of menu, which the table does not have",
		"POST /internal/b of menu is bounded by 11 s, the table says 3 s",
		"order calls user, which the table does not have",
	})
	text = strings.NewReplacer("it reads", "no", "`TestWaits`", "somehow", "`TestRefuses`", "`TestGone`", "| 1 |", "| 2 |").Replace(text)
	same(t, hopRules(readHops(text), []invocation{a}, clients, tries, tests), []string{
		"the table has POST /internal/b of menu, which nobody's client has",
		"[GET /internal/a/{x} POST /internal/b] of menu is repeated, and the table does not say why that does no harm",
		"[every public route] of menu is repeated, and the table does not say why that does no harm",
		"gateway tries [every public route] of menu 1 times, the table says 2",
		"no test shows what happens while menu is away from [order]",
		"the table names TestGone, which is no test",
	})
}
