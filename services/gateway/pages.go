package gateway

import (
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

//go:embed pages/rendered
var pageFiles embed.FS

// ProblemInfo explains a type of problem.
type ProblemInfo struct {
	URI     string `json:"type"`
	Status  int    `json:"status"`
	Title   string `json:"title"`
	Meaning string `json:"meaning"`
}

// ProblemList is the answer of GET /problems/.
type ProblemList struct {
	Problems []ProblemInfo `json:"problems"`
}

// page is an HTML page. Its policy lets the browser run what stands in it and nothing else.
type page struct {
	body   []byte
	policy string
}

// pages are all pages of the gateway.
type pages struct {
	landing  page
	docs     page
	problems page
	problem  map[problem.Type]page
}

func problemInfo(t problem.Type) ProblemInfo {
	return ProblemInfo{URI: t.URI(), Status: t.Status(), Title: t.Title(), Meaning: t.Meaning()}
}

func problemList() ProblemList {
	var list ProblemList
	for _, t := range problem.Types() {
		list.Problems = append(list.Problems, problemInfo(t))
	}
	return list
}

// newPages reads the pages. They are written by the test of the pages and not at the start: html/template calls methods by
// name, for which the linker keeps every method of every type, and that is a third of the program.
func newPages() (*pages, error) {
	var err error
	read := func(name string) page {
		b, e := pageFiles.ReadFile("pages/rendered/" + name)
		if e != nil && err == nil {
			err = fmt.Errorf("pages: %w", e)
		}
		return page{body: b, policy: policy(string(b))}
	}
	p := &pages{landing: read("landing.html"), docs: read("docs.html"), problems: read("problems.html"), problem: map[problem.Type]page{}}
	for _, t := range problem.Types() {
		p.problem[t] = read(problemFile(t))
	}
	return p, err
}

// problemFile is the name of the page of a type of problem.
func problemFile(t problem.Type) string { return "problem-" + string(t) + ".html" }

// policy is the Content-Security-Policy of a page: the hashes of its own style and script, and calls to its origin.
func policy(html string) string {
	p := "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	for _, part := range []struct{ tag, directive string }{{"style", "style-src"}, {"script", "connect-src 'self'; script-src"}} {
		_, rest, found := strings.Cut(html, "<"+part.tag+">")
		text, _, closed := strings.Cut(rest, "</"+part.tag+">")
		if found && closed {
			sum := sha256.Sum256([]byte(text))
			p += "; " + part.directive + " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
		}
	}
	return p
}

func (p page) serve(w http.ResponseWriter) error {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(p.body)))
	h.Set("Content-Security-Policy", p.policy)
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept")
	_, _ = w.Write(p.body) // the client has gone: nothing is left to tell it
	return nil
}

// wantsHTML reports whether a browser asks. Programs say */* or JSON.
func wantsHTML(r *http.Request) bool { return strings.Contains(r.Header.Get("Accept"), "text/html") }

func (s *Service) handleLanding(w http.ResponseWriter, _ *http.Request) error {
	return s.pages.landing.serve(w)
}

func (s *Service) handleProblems(w http.ResponseWriter, r *http.Request) error {
	if wantsHTML(r) {
		return s.pages.problems.serve(w)
	}
	w.Header().Set("Vary", "Accept")
	return web.JSON(w, http.StatusOK, problemList())
}

func (s *Service) handleProblem(w http.ResponseWriter, r *http.Request) error {
	t := problem.Type(mux.Vars(r)["type"])
	p, ok := s.pages.problem[t]
	switch {
	case !ok:
		return problem.New(problem.NotFound, "there is no problem type %q; see /problems/", t)
	case wantsHTML(r):
		return p.serve(w)
	}
	w.Header().Set("Vary", "Accept")
	return web.JSON(w, http.StatusOK, problemInfo(t))
}

// fieldNames lists the fields of a body as they are written in JSON.
func fieldNames(body any) []string {
	if body == nil {
		return nil
	}
	var names []string
	t := reflect.TypeOf(body)
	for i := range t.NumField() {
		name, rest, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if strings.Contains(rest, "omitempty") {
			name += "?"
		}
		names = append(names, name)
	}
	return names
}
