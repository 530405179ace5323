package gateway

import (
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// edge builds the public handler from the table of routes.
func (s *Service) edge() http.Handler {
	observe := web.Observe(s.log, prometheus.WrapRegistererWithPrefix("public_", s.metrics))
	r := mux.NewRouter().SkipClean(true)
	r.Use(observe)
	for _, rt := range routes() {
		h := s.forward(rt.App)
		if rt.handler != nil {
			h = func(w http.ResponseWriter, r *http.Request) error { return rt.handler(s, w, r) }
		}
		r.Handle(rt.Pattern, s.admit(rt, h)).Methods(rt.Method)
	}
	r.NotFoundHandler = observe(web.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		return problem.New(problem.NotFound, "no such path: %.200s", r.URL.Path)
	}))
	r.MethodNotAllowedHandler = observe(web.HandlerFunc(func(w http.ResponseWriter, req *http.Request) error {
		allowed := allowedMethods(r, req)
		w.Header().Set("Allow", allowed)
		return problem.New(problem.MethodNotAllowed, "%.20s is not allowed here; allowed: %s", req.Method, allowed)
	}))
	return bounded(trusted(r))
}

// allowedMethods lists the methods of what a path names. Where several patterns match, that is the first of the table:
// the one that spells out more.
func allowedMethods(r *mux.Router, req *http.Request) string {
	methods := map[string][]string{} // by pattern
	for _, method := range []string{get, post, put, patch, del} {
		probe := *req
		probe.Method = method
		var match mux.RouteMatch
		if !r.Match(&probe, &match) || match.MatchErr != nil {
			continue
		}
		if pattern, err := match.Route.GetPathTemplate(); err == nil { // all routes have one
			methods[pattern] = append(methods[pattern], method)
		}
	}
	for _, rt := range routes() {
		if allowed := methods[rt.Pattern]; allowed != nil {
			return strings.Join(allowed, ", ")
		}
	}
	return ""
}

// bounded sets what holds for every answer: how long writing it may take, and what a browser may make of it.
func bounded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout)) // a test's recorder has none
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		next.ServeHTTP(w, r)
	})
}

// trusted removes what only the platform itself may say.
func trusted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for name := range r.Header {
			if hasPrefix(name, "Dishmesh-") || hasPrefix(name, "Dapr-") {
				delete(r.Header, name)
			}
		}
		next.ServeHTTP(w, r)
	})
}

func hasPrefix(name, prefix string) bool {
	return len(name) >= len(prefix) && strings.EqualFold(name[:len(prefix)], prefix)
}

// RouteInfo is a route as GET /v1/routes lists it.
type RouteInfo struct {
	Method         string   `json:"method"`
	Path           string   `json:"path"`
	Service        string   `json:"service"`
	For            []string `json:"for"`
	IdempotencyKey bool     `json:"idempotency_key"`
	Body           []string `json:"body,omitempty"` // the body's fields
	BodyOptional   bool     `json:"body_optional,omitempty"`
	Live           bool     `json:"live,omitempty"` // answers with server-sent events
}

// RouteList is the answer of GET /v1/routes.
type RouteList struct {
	Routes []RouteInfo `json:"routes"`
}

func routeList() RouteList {
	var list RouteList
	for _, rt := range routes() {
		info := RouteInfo{
			Method: rt.Method, Path: rt.Pattern, Service: rt.App, For: slices.Clone(rt.For),
			IdempotencyKey: rt.Flags.has(idempotent), Body: fieldNames(rt.Body), BodyOptional: rt.Flags.has(bodyOptional),
			Live: strings.HasSuffix(rt.Pattern, "/live"),
		}
		if info.Service == "" {
			info.Service = "gateway"
		}
		if rt.For[0] == nobodys[0] {
			info.For = []string{anyone[0]}
		}
		list.Routes = append(list.Routes, info)
	}
	return list
}

func (s *Service) handleRoutes(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "public, max-age=300")
	return web.JSON(w, http.StatusOK, routeList())
}
