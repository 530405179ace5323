package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

type item struct {
	ItemID   string `json:"item_id" validate:"required"`
	Quantity int    `json:"quantity" validate:"gte=1,lte=20"`
}

// Prices are embedded: JSON shows their fields as those of the struct around them.
type Prices struct {
	Tax int64 `json:"tax" validate:"gte=0"`
}

type request struct {
	Email string   `json:"email" validate:"required,email"`
	Phone string   `json:"phone,omitempty" validate:"omitempty,e164"`
	Role  string   `json:"role" validate:"oneof=customer courier"`
	Items []item   `json:"items" validate:"min=1,max=3,dive"`
	Tags  []string `json:"tags" validate:"unique"`
	Note  string   `json:"note" validate:"max=5"`
	Share float64  `json:"share"`
	Vip   bool     `json:"vip"`
	Prices
}

const good = `{"email":"ada@example.org","role":"customer","items":[{"item_id":"itm_1","quantity":1}]}`

func fields(pairs ...string) []problem.Field {
	var all []problem.Field
	for i := 0; i < len(pairs); i += 2 {
		all = append(all, problem.Field{Name: pairs[i], Reason: pairs[i+1]})
	}
	return all
}

// Bad bodies, each with the kind of problem and, where fields are at fault, every one of them with its reason.
func TestDecode(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       problem.Type
		fields     []problem.Field
	}{
		{"good", good, "", nil},
		{"space around", " \n" + good + "\n ", "", nil},
		{"empty", "", problem.MalformedJSON, nil},
		{"blank", "  ", problem.MalformedJSON, nil},
		{"not JSON", "email=ada", problem.MalformedJSON, nil},
		{"cut off", good[:20], problem.MalformedJSON, nil},
		{"two values", good + good, problem.MalformedJSON, nil},
		{"trailing data", good + "x", problem.MalformedJSON, nil},
		{"trailing brace", good + "}", problem.MalformedJSON, nil},
		{"an array", "[]", problem.MalformedJSON, nil},
		{"a string", `"email"`, problem.MalformedJSON, nil},
		{"null", "null", problem.MalformedJSON, nil},
		{"unknown field", `{"email":"ada@example.org","admin":true}`, problem.InvalidRequest, fields("admin", "is not a known field")},
		{"unknown field inside", `{"items":[{"price":1}]}`, problem.InvalidRequest, fields("price", "is not a known field")},
		{"wrong type", `{"email":5}`, problem.InvalidRequest, fields("email", "must be a string, not number")},
		{"wrong type inside", `{"items":[{"quantity":"two"}]}`, problem.InvalidRequest, fields("items.quantity", "must be an integer, not string")},
		{"an object for an array", `{"items":{}}`, problem.InvalidRequest, fields("items", "must be an array, not object")},
		{"a number for a switch", `{"vip":1}`, problem.InvalidRequest, fields("vip", "must be true or false, not number")},
		{"a string for a share", `{"share":"half"}`, problem.InvalidRequest, fields("share", "must be a number, not string")},
		{"a fraction for an integer", `{"items":[{"quantity":1.5}]}`, problem.InvalidRequest, fields("items.quantity", "must be an integer, not number 1.5")},
		{"a huge number", `{"tax":1e400}`, problem.InvalidRequest, fields("tax", "must be an integer, not number 1e400")},
		{"every fault", `{"email":"ada","phone":"0151","role":"operator","items":[{"item_id":"","quantity":-1},{"item_id":"x","quantity":99}],"tags":["a","a"],"note":"123456","tax":-1}`, problem.InvalidRequest, fields(
			"email", "must be an e-mail address",
			"phone", "must be a phone number in international form, such as +4915112345678",
			"role", "must be one of: customer, courier",
			"items[0].item_id", "is required",
			"items[0].quantity", "must be at least 1",
			"items[1].quantity", "must be at most 20",
			"tags", "must not repeat itself",
			"note", "must be at most 5 characters",
			"tax", "must be at least 0")},
		{"too many entries", `{"email":"ada@example.org","role":"courier","items":[{},{},{},{}]}`, problem.InvalidRequest, fields("items", "must be at most 3 entries")},
		{"too large", `{"note":"` + strings.Repeat("x", web.MaxBody) + `"}`, problem.TooLarge, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/", strings.NewReader(tt.body))
			r.Header.Set("Content-Type", "application/json; charset=utf-8")
			var got request
			err := web.Decode(r, &got)
			if tt.want == "" {
				if err != nil || got.Email != "ada@example.org" || len(got.Items) != 1 {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			var e *problem.Error
			if !errors.As(err, &e) || e.Type != tt.want || e.Detail == "" {
				t.Fatalf("%v, want %s with a detail", err, tt.want)
			}
			if diff := cmp.Diff(tt.fields, e.Fields); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestContentType(t *testing.T) {
	for ct, want := range map[string]problem.Type{
		"application/json": "", "application/json;charset=UTF-8": "", "": problem.UnsupportedMedia, "text/plain": problem.UnsupportedMedia,
		"application/x-www-form-urlencoded": problem.UnsupportedMedia, "application/json; charset": problem.UnsupportedMedia, "a/b/c": problem.UnsupportedMedia,
	} {
		r := httptest.NewRequest("POST", "/", strings.NewReader(good))
		r.Header.Set("Content-Type", ct)
		err := web.Decode(r, &request{})
		if (want == "") != (err == nil) || err != nil && problem.Of(err) != want {
			t.Errorf("Content-Type %q: %v, want %q", ct, err, want)
		}
	}
	// Without a body the type does not matter: what is wrong is the body.
	if err := web.Decode(httptest.NewRequest("POST", "/", nil), &request{}); problem.Of(err) != problem.MalformedJSON {
		t.Errorf("no body: %v", err)
	}
	r := httptest.NewRequest("POST", "/", io.MultiReader(strings.NewReader("{"), failing{}))
	r.Header.Set("Content-Type", "application/json")
	if err := web.Decode(r, &request{}); problem.Of(err) != problem.MalformedJSON {
		t.Errorf("a body that breaks off: %v", err)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestIdempotencyKey(t *testing.T) {
	for key, ok := range map[string]bool{
		"12345678": true, strings.Repeat("k", 128): true, "ord_1/authorize": true,
		"": false, "1234567": false, strings.Repeat("k", 129): false, "with space": false, "ümlautkey": false, "tab\tkey12": false,
	} {
		r := httptest.NewRequest("POST", "/", nil)
		r.Header[web.IdempotencyKeyHeader] = []string{key}
		got, err := web.IdempotencyKey(r)
		if ok && (err != nil || got != key) || !ok && problem.Of(err) != problem.MissingKey {
			t.Errorf("key %q: %q, %v", key, got, err)
		}
	}
}

func TestIdentity(t *testing.T) {
	want := web.Identity{Subject: "usr_1", Role: web.RoleKitchen, Restaurant: "rst_1"}
	r := httptest.NewRequest("GET", "/", nil)
	want.Set(r.Header)
	if diff := cmp.Diff(want, web.Caller(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// What somebody claims to be is removed, not merged.
	web.Identity{Subject: "usr_2"}.Set(r.Header)
	if diff := cmp.Diff(web.Identity{Subject: "usr_2"}, web.Caller(r)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// server serves routes as run.Main does, and keeps what was logged.
func server(t *testing.T, token string) (*mux.Router, *bytes.Buffer, *prometheus.Registry) {
	t.Helper()
	var logged bytes.Buffer
	reg := prometheus.NewRegistry()
	r := web.Router()
	r.Use(web.Observe(slog.New(slog.NewJSONHandler(&logged, nil)), reg), mux.MiddlewareFunc(web.AppToken(token)))
	r.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) })
	handle := func(path string, f web.HandlerFunc) { r.Handle(path, f).Methods("POST") }
	handle("/ok/{id}", func(w http.ResponseWriter, _ *http.Request) error { return web.JSON(w, 201, map[string]int{"a": 1}) })
	handle("/refused", func(http.ResponseWriter, *http.Request) error { return problem.New(problem.TooLate, "it is picked up") })
	handle("/failed", func(http.ResponseWriter, *http.Request) error { return errors.New("password=hunter2") })
	handle("/slow", func(http.ResponseWriter, *http.Request) error {
		return fmt.Errorf("store: %w", context.DeadlineExceeded)
	})
	handle("/panics", func(http.ResponseWriter, *http.Request) error { panic("password=hunter2") })
	r.Handle("/ok/{id}", web.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })).Methods("DELETE")
	return r, &logged, reg
}

func TestAnswers(t *testing.T) {
	for _, tt := range []struct {
		method, path string
		status       int
		typ          problem.Type
		level        string
	}{
		{"POST", "/ok/1", 201, "", "INFO"},
		{"DELETE", "/ok/1", 200, "", "INFO"},
		{"POST", "/refused", 409, problem.TooLate, "INFO"},
		{"POST", "/failed", 500, problem.Internal, "WARN"},
		{"POST", "/slow", 504, problem.Timeout, "WARN"},
		{"POST", "/panics", 500, problem.Internal, "WARN"},
		{"POST", "/nowhere", 404, problem.NotFound, ""},
		{"PUT", "/ok/1", 405, problem.MethodNotAllowed, ""},
		{"GET", "/healthz", 204, "", ""},
	} {
		t.Run(tt.method+tt.path, func(t *testing.T) {
			r, logged, _ := server(t, "")
			w := httptest.NewRecorder()
			req := httptest.NewRequest(tt.method, tt.path, nil)
			req.Header.Set(correlation.RequestIDHeader, "req_7")
			r.ServeHTTP(w, req)
			if w.Code != tt.status || strings.Contains(w.Body.String(), "hunter2") {
				t.Errorf("%d %s, want %d", w.Code, w.Body, tt.status)
			}
			if tt.typ != "" {
				var doc problem.Document
				if err := json.Unmarshal(w.Body.Bytes(), &doc); err != nil || doc.Type != tt.typ.URI() || doc.Instance != tt.path {
					t.Errorf("%s (%v), want %s", w.Body, err, tt.typ.URI())
				}
			}
			if tt.status == 405 && w.Header().Get("Allow") != "POST, DELETE" {
				t.Errorf("Allow: %q, want POST, DELETE", w.Header().Get("Allow"))
			}
			if tt.level == "" {
				return
			}
			var line struct {
				Level, Msg, Path, Error string
				Status                  int
				RequestID               string `json:"request_id"`
			}
			if err := json.Unmarshal(logged.Bytes(), &line); err != nil {
				t.Fatalf("logged %q: %v, want one line", logged, err)
			}
			if line.Level != tt.level || line.Status != tt.status || line.RequestID != "req_7" || (line.Error == "") != (tt.typ == "") {
				t.Errorf("logged %s", logged)
			}
			if w.Header().Get(correlation.RequestIDHeader) != "req_7" {
				t.Errorf("request id of the answer: %q", w.Header().Get(correlation.RequestIDHeader))
			}
		})
	}
}

// A metric's labels come from the route, never from the path, or anybody could make any number of series.
func TestMetricLabels(t *testing.T) {
	r, _, reg := server(t, "")
	for i := range 3 {
		r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", fmt.Sprint("/ok/", i), nil))
		r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", fmt.Sprint("/nowhere/", i), nil))
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range families {
		for _, m := range f.GetMetric() {
			s := fmt.Sprint(f.GetName(), " ", m.GetHistogram().GetSampleCount())
			for _, l := range m.GetLabel() {
				s += " " + l.GetName() + "=" + l.GetValue()
			}
			got = append(got, s)
		}
	}
	if diff := cmp.Diff([]string{"http_request_duration_seconds 3 method=POST route=/ok/{id} status=201"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestAppToken(t *testing.T) {
	r, _, _ := server(t, "s3cret")
	for _, tt := range []struct {
		path, token string
		want        int
	}{
		{"/ok/1", "s3cret", 201}, {"/ok/1", "", 401}, {"/ok/1", "s3cre", 401}, {"/ok/1", "s3cret2", 401},
	} {
		req := httptest.NewRequest("POST", tt.path, nil)
		req.Header.Set("dapr-api-token", tt.token)
		w := httptest.NewRecorder()
		r.ServeHTTP(w, req)
		if w.Code != tt.want {
			t.Errorf("%s with %q: %d, want %d", tt.path, tt.token, w.Code, tt.want)
		}
	}
	w := httptest.NewRecorder()
	r.ServeHTTP(w, httptest.NewRequest("GET", "/healthz", nil))
	if w.Code != 204 {
		t.Errorf("/healthz without the token: %d, want 204", w.Code)
	}
}
