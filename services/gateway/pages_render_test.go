package gateway

import (
	"bytes"
	"html/template"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// The pages are what the templates make of the routes, the public API's document and the problem types; -update writes them.
func TestRenderedPages(t *testing.T) {
	want := renderPages(t)
	if *update {
		if err := os.RemoveAll("pages/rendered"); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll("pages/rendered", 0o755); err != nil {
			t.Fatal(err)
		}
		for name, body := range want {
			if err := os.WriteFile(filepath.Join("pages/rendered", name), body, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := map[string][]byte{}
	files, err := filepath.Glob("pages/rendered/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if got[filepath.Base(file)], err = os.ReadFile(file); err != nil {
			t.Fatal(err)
		}
	}
	for name, body := range want {
		if diff := cmp.Diff(string(body), string(got[name])); diff != "" {
			t.Errorf("pages/rendered/%s is not what the templates make (run go generate): (-want +got)\n%s", name, diff)
		}
		delete(got, name)
	}
	for name := range got {
		t.Errorf("pages/rendered/%s is no page any more (run go generate)", name)
	}
}

// renderPages makes every page, by the name of its file.
func renderPages(t *testing.T) map[string][]byte {
	t.Helper()
	read := func(name string) string {
		b, err := os.ReadFile(filepath.Join("pages", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	tmpl, err := template.ParseGlob("pages/*.html")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := newAPIDoc()
	if err != nil {
		t.Fatal(err)
	}
	style := read("style.css")
	made := map[string][]byte{}
	render := func(file, name, style string, data map[string]any) {
		data["Style"] = template.CSS(style)
		var b bytes.Buffer
		if err := tmpl.ExecuteTemplate(&b, name, data); err != nil {
			t.Fatal(err)
		}
		made[file] = b.Bytes()
	}
	render("landing.html", "landing.html", style, map[string]any{"Routes": routeList().Routes, "Script": template.JS(read("landing.js"))})
	render("docs.html", "docs.html", style+read("docs.css"), map[string]any{"Doc": doc})
	render("problems.html", "problems.html", style, map[string]any{"Problems": problemList().Problems})
	for _, p := range problem.Types() {
		render(problemFile(p), "problem.html", style, map[string]any{"Problem": problemInfo(p)})
	}
	return made
}
