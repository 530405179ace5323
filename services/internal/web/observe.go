package web

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

type recordKey struct{}

// record is what a request leaves for its log line.
type record struct {
	err    error
	status int
}

type recorder struct {
	http.ResponseWriter
	rec *record
}

func (w *recorder) WriteHeader(status int) {
	if w.rec.status == 0 {
		w.rec.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.rec.status == 0 {
		w.rec.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach Flush and the deadlines.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Observe gives every request its ids, one log line (info, or warn from status 500 on), one observation in
// http_request_duration_seconds by route template, method and status, and a 500 if its handler panics.
func Observe(log *slog.Logger, reg prometheus.Registerer) mux.MiddlewareFunc {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "http_request_duration_seconds",
		Help:    "Time to answer a request.",
		Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	}, []string{"route", "method", "status"})
	reg.MustRegister(seconds)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			ids := correlation.FromRequest(r)
			rec := &record{}
			ctx := context.WithValue(correlation.With(r.Context(), ids), recordKey{}, rec)
			r = r.WithContext(ctx)
			w.Header().Set(correlation.RequestIDHeader, ids.RequestID)
			defer func() {
				if p := recover(); p != nil {
					if p == http.ErrAbortHandler {
						panic(p)
					}
					err := fmt.Errorf("panic: %v\n%s", p, debug.Stack())
					if rec.status == 0 {
						Fail(&recorder{w, rec}, r, err)
					}
					rec.err = err
				}
				observe(ctx, log, seconds, r, rec, ids, time.Since(start))
			}()
			next.ServeHTTP(&recorder{w, rec}, r)
		})
	}
}

func observe(ctx context.Context, log *slog.Logger, seconds *prometheus.HistogramVec, r *http.Request, rec *record, ids correlation.IDs, took time.Duration) {
	route := "unmatched"
	if m := mux.CurrentRoute(r); m != nil {
		if t, err := m.GetPathTemplate(); err == nil {
			route = t
		}
	}
	if route == "/healthz" || route == "/readyz" || route == "/metrics" {
		return
	}
	status := rec.status
	if status == 0 {
		status = http.StatusOK
	}
	seconds.WithLabelValues(route, r.Method, strconv.Itoa(status)).Observe(took.Seconds())
	level := slog.LevelDebug
	if status >= 500 {
		level = slog.LevelWarn
	} else if r.Method != http.MethodGet || status >= 400 {
		level = slog.LevelInfo
	}
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", status),
		slog.Float64("took_ms", math.Round(took.Seconds()*1e5)/100), slog.String("request_id", ids.RequestID), slog.String("trace_id", correlation.TraceID(ids.TraceParent)),
	}
	if caller := Caller(r); caller.Subject != "" {
		attrs = append(attrs, slog.String("subject", caller.Subject))
	}
	if rec.err != nil {
		attrs = append(attrs, slog.String("error", rec.err.Error()))
	}
	log.LogAttrs(ctx, level, "request", attrs...)
}

// Router returns a router whose answers for unknown paths and methods are problem documents.
func Router() *mux.Router {
	r := mux.NewRouter()
	r.NotFoundHandler = HandlerFunc(func(_ http.ResponseWriter, r *http.Request) error {
		return problem.New(problem.NotFound, "no such path: %s", r.URL.Path)
	})
	r.MethodNotAllowedHandler = HandlerFunc(func(w http.ResponseWriter, req *http.Request) error {
		w.Header().Set("Allow", strings.Join(allowed(r, req), ", ")) // RFC 9110, section 15.5.6
		return problem.New(problem.MethodNotAllowed, "%s is not allowed here", req.Method)
	})
	return r
}

// allowed lists the methods that the path of a request has routes for.
func allowed(r *mux.Router, req *http.Request) []string {
	var methods []string
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
		other := *req
		other.Method = method
		var match mux.RouteMatch
		if r.Match(&other, &match) && match.MatchErr == nil {
			methods = append(methods, method)
		}
	}
	return methods
}
