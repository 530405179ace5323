// Package web is what the HTTP side of every service shares: handlers that return errors, strict decoding and
// validation, the caller's identity, and one log line and one metric for each request.
package web

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/go-playground/validator/v10"

	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// MaxBody bounds the body of every request, in bytes.
const MaxBody = 64 << 10

// HandlerFunc answers a request or returns why it did not. An error must be returned before anything is written.
type HandlerFunc func(w http.ResponseWriter, r *http.Request) error

// ServeHTTP implements http.Handler: an error becomes a problem document.
func (f HandlerFunc) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := f(w, r); err != nil {
		Fail(w, r, err)
	}
}

// Fail answers with err as a problem document and leaves err for the request's log line.
func Fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, context.DeadlineExceeded) && problem.Of(err) == problem.Internal {
		err = problem.Wrap(err, problem.Timeout, "")
	}
	Note(r.Context(), err)
	problem.Write(w, err, r.URL.EscapedPath(), correlation.TraceID(correlation.From(r.Context()).TraceParent))
}

// Note leaves err for the log line of the request whose context ctx is.
func Note(ctx context.Context, err error) {
	if rec, ok := ctx.Value(recordKey{}).(*record); ok {
		rec.err = err
	}
}

// JSON answers with status and v. A v that can't be encoded is a programming error and panics.
func JSON(w http.ResponseWriter, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("web: %T is no JSON: %v", v, err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client has gone: nothing is left to tell it
	return nil
}

var validate = newValidator()

// embedded stands in a path for a struct that JSON does not show.
const embedded = "\x00"

func newValidator() *validator.Validate {
	v := validator.New(validator.WithRequiredStructEnabled())
	v.RegisterTagNameFunc(func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous && name == "" {
			return embedded // its fields are those of the struct around it
		}
		return name
	})
	return v
}

// Decode reads the request's JSON body into v: one value, known fields only, at most MaxBody, valid by its
// `validate` tags. The error names every faulty field.
func Decode(r *http.Request, v any) error {
	if ct := r.Header.Get("Content-Type"); ct != "" || r.ContentLength != 0 {
		if mt, _, err := mime.ParseMediaType(ct); err != nil || mt != "application/json" {
			return problem.New(problem.UnsupportedMedia, "Content-Type is %q; send application/json", ct)
		}
	}
	body, err := ReadBody(r)
	if err != nil {
		return err
	}
	return DecodeBytes(body, v)
}

// ReadBody reads the whole body, at most MaxBody.
func ReadBody(r *http.Request) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	if err != nil {
		return nil, problem.Wrap(err, problem.MalformedJSON, "the body broke off")
	}
	if len(body) > MaxBody {
		return nil, problem.New(problem.TooLarge, "the body has more than %d bytes", MaxBody)
	}
	return body, nil
}

// DecodeBytes is Decode for a body that was read before.
func DecodeBytes(body []byte, v any) error {
	if string(bytes.TrimSpace(body)) == "null" {
		return problem.New(problem.MalformedJSON, "the body must be an object, not null")
	}
	dec := json.NewDecoder(strings.NewReader(string(body)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); err != nil {
		return malformed(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return problem.New(problem.MalformedJSON, "there is something after the end of the JSON value")
	}
	return Validate(v)
}

// Validate checks v by its `validate` tags and reports every faulty field at once.
func Validate(v any) error {
	t := reflect.TypeOf(v)
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	err := validate.Struct(v)
	var faults validator.ValidationErrors
	if errors.As(err, &faults) {
		e := problem.New(problem.InvalidRequest, "%d faulty field(s)", len(faults))
		for _, f := range faults {
			_, name, _ := strings.Cut(strings.ReplaceAll(f.Namespace(), embedded+".", ""), ".")
			e.Fields = append(e.Fields, problem.Field{Name: name, Reason: reason(f)})
		}
		return e
	}
	return err
}

func malformed(err error) error {
	var typeErr *json.UnmarshalTypeError
	switch {
	case errors.Is(err, io.EOF):
		return problem.New(problem.MalformedJSON, "the body is empty")
	case errors.As(err, &typeErr) && typeErr.Field == "":
		return problem.Wrap(err, problem.MalformedJSON, "the body must be %s, not %s", article(typeErr.Type), typeErr.Value)
	case errors.As(err, &typeErr):
		return problem.Wrap(err, problem.InvalidRequest, "1 faulty field(s)").
			WithFields(problem.Field{Name: shown(typeErr.Field), Reason: "must be " + article(typeErr.Type) + ", not " + typeErr.Value})
	case strings.HasPrefix(err.Error(), "json: unknown field "):
		name := strings.Trim(strings.TrimPrefix(err.Error(), "json: unknown field "), `"`)
		return problem.New(problem.InvalidRequest, "1 faulty field(s)").
			WithFields(problem.Field{Name: name, Reason: "is not a known field"})
	default:
		return problem.Wrap(err, problem.MalformedJSON, "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
}

// shown drops the Go names of embedded structs from a path; names in JSON are in lower case here.
func shown(path string) string {
	parts := strings.Split(path, ".")
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p != "" && p[0] >= 'A' && p[0] <= 'Z' }), ".")
}

func article(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	default:
		return "an integer"
	}
}

func reason(f validator.FieldError) string {
	p := f.Param()
	unit := ""
	switch f.Kind() {
	case reflect.String:
		unit = " characters"
	case reflect.Slice, reflect.Map:
		unit = " entries"
	}
	switch f.Tag() {
	case "required":
		return "is required"
	case "email":
		return "must be an e-mail address"
	case "min", "gte":
		return "must be at least " + p + unit
	case "max", "lte":
		return "must be at most " + p + unit
	case "gt":
		return "must be more than " + p + unit
	case "lt":
		return "must be less than " + p + unit
	case "len":
		return "must have exactly " + p + unit
	case "oneof":
		return "must be one of: " + strings.ReplaceAll(p, " ", ", ")
	case "e164":
		return "must be a phone number in international form, such as +4915112345678"
	case "unique":
		return "must not repeat itself"
	default:
		return "must satisfy " + strings.TrimSpace(f.Tag()+" "+p)
	}
}
