package arch

import (
	"bytes"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// topLevel is what may lie at the top of the repository, beside dot-files: it stays small enough to be read at a glance.
var topLevel = []string{"go.mod", "go.sum", "services", "components", "mesh", "k8s", "kind", "tilt", "Tiltfile", "README.md", "LICENSE", "Makefile"}

// topRules hold that nothing else lies at the top, and that every folder there says what it is.
func topRules(files []string, exists func(string) bool) []string {
	var violations []string
	seen := map[string]bool{}
	for _, file := range files {
		entry, below, _ := strings.Cut(file, "/")
		if seen[entry] || strings.HasPrefix(entry, ".") {
			continue
		}
		seen[entry] = true
		if !slices.Contains(topLevel, entry) {
			violations = append(violations, fmt.Sprintf("%s does not belong at the top of the repository", entry))
		} else if below != "" && !exists(entry+"/README.md") {
			violations = append(violations, fmt.Sprintf("%s/ has no README.md", entry))
		}
	}
	return violations
}

func TestTopLevel(t *testing.T) { report(t, topRules(tracked(t), onDisk(t))) }

// onDisk tells whether a file of the checkout is there.
func onDisk(t *testing.T) func(string) bool {
	top := root(t)
	return func(name string) bool {
		_, err := os.Stat(filepath.Join(top, name))
		return err == nil
	}
}

func TestTopRulesFail(t *testing.T) {
	exists := func(name string) bool { return name != "mesh/README.md" }
	same(t, topRules([]string{"go.mod", "README.md", ".ci/run", ".gitignore", "services/README.md", "services/order/saga.go"}, exists), nil)
	same(t, topRules([]string{"main.go", "docs/a.md", "docs/b.md", "mesh/authz.yaml", "k8s/README.md"}, exists), []string{
		"main.go does not belong at the top of the repository",
		"docs does not belong at the top of the repository",
		"mesh/ has no README.md",
	})
}

// machinePath is an absolute path that exists on somebody's machine only.
var machinePath = regexp.MustCompile(`(?:^|[^\w.~/$})*-])(/(?:root|home|work|Users)/[\w.-]+)`)

// pathRules hold that a file names no path of the machine that it was written on.
func pathRules(name string, text []byte) []string {
	var violations []string
	for i, line := range bytes.Split(text, []byte("\n")) {
		for _, m := range machinePath.FindAllSubmatch(line, -1) {
			violations = append(violations, fmt.Sprintf("%s:%d: %s is a path of one machine", name, i+1, m[1]))
		}
	}
	return violations
}

func TestMachinePaths(t *testing.T) {
	for _, name := range tracked(t) {
		if path.Dir(name) == "services/internal/arch" { // the samples of this rule
			continue
		}
		text, err := os.ReadFile(filepath.Join(root(t), name))
		if err != nil {
			t.Fatal(err)
		}
		report(t, pathRules(name, text))
	}
}

func TestPathRulesFail(t *testing.T) {
	text := strings.Join([]string{
		"see /home/ann/x", `dir = "/root/acme"`, "cd /work/acme", "(/Users/bob)",
		"https://example.org/home/ann", "$HOME/work/x", "${ROOT}/root/x", "./work/x", "/v1/orders", "services/work/x", "GET /home",
	}, "\n")
	same(t, pathRules("a.md", []byte(text)), []string{
		"a.md:1: /home/ann is a path of one machine",
		"a.md:2: /root/acme is a path of one machine",
		"a.md:3: /work/acme is a path of one machine",
		"a.md:4: /Users/bob is a path of one machine",
	})
}

var link = regexp.MustCompile(`\]\(([^)\s]+)\)`)

// linkRules hold that the links of a Markdown file to other files of the repository lead somewhere.
func linkRules(name string, text []byte, exists func(string) bool) []string {
	var violations []string
	for _, m := range link.FindAllSubmatch(text, -1) {
		to, _, _ := strings.Cut(string(m[1]), "#")
		if to == "" || strings.Contains(to, ":") {
			continue
		}
		if !exists(path.Join(path.Dir(name), to)) {
			violations = append(violations, fmt.Sprintf("%s: the link to %s leads nowhere", name, to))
		}
	}
	return violations
}

func TestLinks(t *testing.T) {
	top, exists := root(t), onDisk(t)
	for _, name := range tracked(t) {
		if path.Ext(name) != ".md" {
			continue
		}
		text, err := os.ReadFile(filepath.Join(top, name))
		if err != nil {
			t.Fatal(err)
		}
		report(t, linkRules(name, text, exists))
	}
}

func TestLinkRulesFail(t *testing.T) {
	exists := func(name string) bool { return name == "components/README.md" }
	text := "[a](../components/README.md#x) [b](components/README.md) [c](https://dapr.io) [d](#here) [e](gone.md)"
	same(t, linkRules("services/README.md", []byte(text), exists), []string{
		"services/README.md: the link to components/README.md leads nowhere",
		"services/README.md: the link to gone.md leads nowhere",
	})
}
