package gateway

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// pathValue is what a variable part of a path looks like: ids, and nothing that a path could be bent with.
var pathValue = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

// admit lets a request through to next if everything that the route asks is so. Then r carries the caller's
// identity and nothing that a service would take for the platform's word, and its body has been read and checked.
func (s *Service) admit(rt route, next web.HandlerFunc) web.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		caller, refused := s.authenticate(rt, r)
		caller.Set(r.Header)
		if err := s.limit(rt, r, caller); err != nil {
			return err
		}
		if refused != nil {
			return refused
		}
		if err := rt.authorize(caller); err != nil {
			return err
		}
		for _, v := range mux.Vars(r) {
			if !pathValue.MatchString(v) {
				return problem.New(problem.NotFound, "%.64q is no id", v)
			}
		}
		if rt.Flags.has(idempotent) {
			if _, err := web.IdempotencyKey(r); err != nil {
				return err
			}
		}
		if err := rt.checkBody(r); err != nil {
			return err
		}
		return next(w, r)
	}
}

// authenticate says who calls. A token that is sent must be good, even where none is needed.
func (s *Service) authenticate(rt route, r *http.Request) (web.Identity, error) {
	if rt.For[0] == nobodys[0] {
		return web.Identity{}, nil
	}
	token, err := bearer(r)
	if err != nil || token == "" {
		return web.Identity{}, err
	}
	return s.verifier.verify(r.Context(), token)
}

func (rt route) authorize(caller web.Identity) error {
	switch {
	case rt.For[0] == nobodys[0] || rt.For[0] == anyone[0]:
		return nil
	case caller.Subject == "":
		return problem.New(problem.Unauthenticated, "send an access token")
	case !slices.Contains(rt.For, caller.Role):
		return problem.New(problem.Forbidden, "this is for: %s; the token is of a %s", strings.Join(rt.For, ", "), caller.Role)
	}
	return nil
}

// limit holds a client to its rate. Who is not known is known by the address.
func (s *Service) limit(rt route, r *http.Request, caller web.Identity) error {
	client, lim := "sub/"+caller.Subject, s.general
	if caller.Subject == "" {
		client = "ip/" + remote(r, s.cfg.TrustedProxies)
	}
	if rt.Flags.has(credentials) {
		client, lim = "cred/"+client, s.credentials
	}
	ok, wait, err := s.limiter.allow(r.Context(), client, lim)
	if err != nil {
		return problem.Wrap(err, problem.Unavailable, "the rate limit can't be asked").After(time.Second)
	}
	if !ok {
		return problem.New(problem.RateLimited, "at most %d requests a second, %d at once", lim.PerSecond, lim.Burst).After(max(wait, time.Second))
	}
	return nil
}

// checkBody reads the body and validates it as the route's type. The bytes that were read are what is forwarded.
func (rt route) checkBody(r *http.Request) error {
	if r.Method == http.MethodGet || r.Method == http.MethodDelete {
		r.Body, r.ContentLength = http.NoBody, 0
		return nil
	}
	body, err := web.ReadBody(r)
	if err != nil {
		return err
	}
	trimmed := bytes.TrimSpace(body)
	switch {
	case rt.Body == nil && (len(trimmed) == 0 || bytes.Equal(trimmed, []byte("{}"))):
		body = nil
	case rt.Body == nil:
		return problem.New(problem.MalformedJSON, "this request takes no body")
	case rt.Flags.has(bodyOptional) && len(trimmed) == 0:
		body = []byte("{}") // of no body, a hop may make one of unknown length
		r.Header.Set("Content-Type", "application/json")
	default:
		ct := r.Header.Get("Content-Type")
		if mt, _, err := mime.ParseMediaType(ct); err != nil || mt != "application/json" {
			return problem.New(problem.UnsupportedMedia, "Content-Type is %.100q; send application/json", ct)
		}
		if err := web.DecodeBytes(body, reflect.New(reflect.TypeOf(rt.Body)).Interface()); err != nil {
			return err
		}
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if len(body) == 0 {
		r.Body = http.NoBody
		r.Header.Del("Content-Type")
	}
	return nil
}
