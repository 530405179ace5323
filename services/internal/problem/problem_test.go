package problem_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// declared lists the values of the constants of type Type in the source.
func declared(t *testing.T) []problem.Type {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "catalogue.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var types []problem.Type
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if id, ok := spec.Type.(*ast.Ident); ok && id.Name == "Type" {
			s, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			types = append(types, problem.Type(s))
		}
		return true
	})
	return types
}

// Every type has its line in the catalogue, and the line says something.
func TestCatalogue(t *testing.T) {
	listed := map[problem.Type]bool{}
	for _, typ := range problem.Types() {
		listed[typ] = true
	}
	all := declared(t)
	if len(all) < 30 || len(all) != len(listed) {
		t.Errorf("%d types are declared, %d are in the catalogue", len(all), len(listed))
	}
	titles := map[string]problem.Type{}
	for _, typ := range all {
		if !listed[typ] {
			t.Errorf("%s is not in the catalogue", typ)
			continue
		}
		if s := typ.Status(); s < 400 || s > 599 || http.StatusText(s) == "" {
			t.Errorf("%s has status %d", typ, s)
		}
		if typ.Title() == "" || strings.HasSuffix(typ.Title(), ".") || !strings.HasSuffix(typ.Meaning(), ".") {
			t.Errorf("%s: title %q without a full stop and meaning %q with one are wanted", typ, typ.Title(), typ.Meaning())
		}
		if other, ok := titles[typ.Title()]; ok {
			t.Errorf("%s and %s have the same title", typ, other)
		}
		titles[typ.Title()] = typ
		if back, ok := problem.FromURI(typ.URI()); !ok || back != typ || !strings.HasPrefix(typ.URI(), "/problems/") {
			t.Errorf("%s: FromURI(%q) = %s, %t", typ, typ.URI(), back, ok)
		}
	}
	if problem.Type("made-up").Status() != http.StatusInternalServerError {
		t.Error("an unknown type is no 500")
	}
}

func write(err error) *http.Response {
	w := httptest.NewRecorder()
	problem.Write(w, err, "/v1/orders", "0af7651916cd43dd8448eb211c80319c")
	return w.Result()
}

// A problem survives a hop: Read gives what Write was given, but for the wrapped error, which is never shown.
func TestRoundTrip(t *testing.T) {
	for _, typ := range problem.Types() {
		in := problem.Wrap(errors.New("secret cause"), typ, "detail of 100%% %s", "things").
			WithFields(problem.Field{Name: "items[0].quantity", Reason: "must be at least 1"}, problem.Field{Name: "note", Reason: "is not a known field"}).
			After(1500 * time.Millisecond)
		resp := write(fmt.Errorf("wrapped once more: %w", in))
		if resp.StatusCode != typ.Status() || resp.Header.Get("Content-Type") != problem.ContentType || resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("Retry-After") != "2" {
			t.Errorf("%s: status %d, headers %v", typ, resp.StatusCode, resp.Header)
		}
		if (resp.Header.Get("WWW-Authenticate") != "") != (typ.Status() == http.StatusUnauthorized) {
			t.Errorf("%s: WWW-Authenticate is %q", typ, resp.Header.Get("WWW-Authenticate"))
		}
		var out *problem.Error
		if !errors.As(problem.Read(resp), &out) {
			t.Fatalf("%s: no problem comes back", typ)
		}
		if out.Type != typ || out.Detail != "detail of 100% things" || out.RetryAfter != 2*time.Second || out.Unwrap() != nil {
			t.Errorf("%s came back as %+v", typ, out)
		}
		if diff := cmp.Diff(in.Fields, out.Fields); diff != "" {
			t.Errorf("%s: fields (-want +got):\n%s", typ, diff)
		}
	}
}

func TestDocument(t *testing.T) {
	body, err := io.ReadAll(write(problem.New(problem.NotFound, "there is no order %s", "ord_1")).Body)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"type":"/problems/not-found","title":"There is no such thing","status":404,"detail":"there is no order ord_1",` +
		`"instance":"/v1/orders","trace_id":"0af7651916cd43dd8448eb211c80319c"}` + "\n"
	if diff := cmp.Diff(want, string(body)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// An error that is no problem tells the caller nothing but the trace id.
func TestUnknownErrorIsHidden(t *testing.T) {
	resp := write(errors.New("password=hunter2"))
	var doc problem.Document
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	want := problem.Document{Type: "/problems/internal", Title: problem.Internal.Title(), Status: 500, Instance: "/v1/orders", TraceID: "0af7651916cd43dd8448eb211c80319c"}
	if diff := cmp.Diff(want, doc); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Answers that are no problem documents of ours, as the sidecar gives them.
func TestReadForeign(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   problem.Type
	}{
		{404, "404 page not found", problem.NotFound},
		{403, `{"errorCode":"ERR_DIRECT_INVOKE","message":"access control policy"}`, problem.Forbidden},
		{401, "", problem.Unauthenticated},
		{408, "", problem.Timeout},
		{429, "", problem.RateLimited},
		{500, `{"errorCode":"ERR_DIRECT_INVOKE"}`, problem.Unavailable},
		{502, "<html>", problem.Unavailable},
		{504, "", problem.Timeout},
		{400, `{"type":"https://example.org/probs/out-of-credit","title":"x"}`, problem.InvalidRequest},
		{418, "teapot", problem.InvalidRequest},
	} {
		resp := &http.Response{StatusCode: tt.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(tt.body))}
		if got := problem.Of(problem.Read(resp)); got != tt.want {
			t.Errorf("%d %q: %s, want %s", tt.status, tt.body, got, tt.want)
		}
	}
	broken := &http.Response{StatusCode: 400, Body: io.NopCloser(io.MultiReader(strings.NewReader("{"), failing{}))}
	if got := problem.Of(problem.Read(broken)); got != problem.Unavailable {
		t.Errorf("an answer that breaks off: %s, want %s", got, problem.Unavailable)
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestPermanent(t *testing.T) {
	for err, want := range map[error]bool{
		errors.New("disk"):                                     false,
		problem.New(problem.Unavailable, ""):                   false,
		problem.New(problem.Timeout, ""):                       false,
		problem.New(problem.RateLimited, ""):                   false,
		problem.New(problem.WriteConflict, ""):                 false,
		problem.New(problem.Internal, ""):                      false,
		problem.New(problem.InvalidRequest, ""):                true,
		problem.New(problem.NotFound, ""):                      true,
		problem.New(problem.IllegalState, ""):                  true,
		fmt.Errorf("x: %w", problem.New(problem.TooLate, "y")): true,
	} {
		if got := problem.Permanent(err); got != want {
			t.Errorf("Permanent(%v) = %t, want %t", err, got, want)
		}
	}
}

func TestErrors(t *testing.T) {
	cause := errors.New("cause")
	err := fmt.Errorf("placing: %w", problem.Wrap(cause, problem.NotFound, "no order").WithFields(problem.Field{Name: "id", Reason: "is unknown"}))
	if !errors.Is(err, problem.New(problem.NotFound, "")) || errors.Is(err, problem.New(problem.Forbidden, "")) || !errors.Is(err, cause) {
		t.Error("errors.Is does not tell the types apart")
	}
	if got, want := err.Error(), "placing: not-found: no order; id is unknown: cause"; got != want {
		t.Errorf("error is %q, want %q", got, want)
	}
	if problem.Of(err) != problem.NotFound || problem.Of(cause) != problem.Internal {
		t.Errorf("Of: %s and %s", problem.Of(err), problem.Of(cause))
	}
}
