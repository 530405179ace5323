// Package problem is the one error vocabulary of the platform. A service returns a typed error, the edge
// writes it as application/problem+json (RFC 9457), and a client turns that document back into the same
// error, so that a kind survives every hop. The same kinds decide whether a topic handler retries.
package problem

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"
)

// ContentType is the media type of a problem document (RFC 9457, section 3).
const ContentType = "application/problem+json"

// Field names one faulty part of a request: a JSON path and the reason it was refused.
type Field struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Error is a refusal or failure that a caller may see. Detail and Fields are shown to the caller; the wrapped
// error is for the log alone.
type Error struct {
	Type       Type
	Detail     string
	Fields     []Field
	RetryAfter time.Duration // zero: no Retry-After header
	wrapped    error
}

// New returns an Error of type t whose detail is formatted as by fmt.Sprintf.
func New(t Type, format string, args ...any) *Error {
	return &Error{Type: t, Detail: fmt.Sprintf(format, args...)}
}

// Wrap is New for an error that has a cause: err is kept for the log and for errors.Is, never shown.
func Wrap(err error, t Type, format string, args ...any) *Error {
	e := New(t, format, args...)
	e.wrapped = err
	return e
}

// WithFields adds the faulty fields of a request.
func (e *Error) WithFields(fields ...Field) *Error {
	e.Fields = append(e.Fields, fields...)
	return e
}

// After sets how long a caller should wait before it tries again.
func (e *Error) After(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

// Error implements error.
func (e *Error) Error() string {
	s := string(e.Type)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	for _, f := range e.Fields {
		s += fmt.Sprintf("; %s %s", f.Name, f.Reason)
	}
	if e.wrapped != nil {
		s += ": " + e.wrapped.Error()
	}
	return s
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.wrapped }

// Is reports equality of type, so that errors.Is(err, problem.New(problem.NotFound, "")) holds.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Type == e.Type && t.Detail == ""
}

// Of gives the type of an error: that of the Error it wraps, or Internal.
func Of(err error) Type {
	var e *Error
	if errors.As(err, &e) {
		return e.Type
	}
	return Internal
}

// Permanent reports whether trying the same thing again can't help: the status is 4xx, but not a time-out,
// a conflict of writers or a rate limit.
func Permanent(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch s := e.Type.Status(); s {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	default:
		return s >= 400 && s < 500 && e.Type != WriteConflict
	}
}

// Document is the wire form of a problem (RFC 9457) with the extension members of this platform.
type Document struct {
	Type     string  `json:"type"`
	Title    string  `json:"title"`
	Status   int     `json:"status"`
	Detail   string  `json:"detail,omitempty"`
	Instance string  `json:"instance,omitempty"`
	TraceID  string  `json:"trace_id,omitempty"`
	Errors   []Field `json:"errors,omitempty"`
}

// Write answers a request with err. An error that is no Error is a 500 that says nothing but its trace id.
func Write(w http.ResponseWriter, err error, instance, traceID string) {
	var e *Error
	if !errors.As(err, &e) {
		e = New(Internal, "")
	}
	doc := Document{
		Type: e.Type.URI(), Title: e.Type.Title(), Status: e.Type.Status(),
		Detail: e.Detail, Instance: instance, TraceID: traceID, Errors: e.Fields,
	}
	h := w.Header()
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", "no-store")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(e.RetryAfter.Seconds()))))
	}
	if doc.Status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="dishmesh"`)
	}
	w.WriteHeader(doc.Status)
	_ = json.NewEncoder(w).Encode(doc) // the client has gone: nothing is left to tell it
}

// Read turns a non-2xx response back into the error that it was written from, as a problem document or as the error
// of a Connect procedure. The body is read to its end.
func Read(resp *http.Response) error {
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return Wrap(err, Unavailable, "the answer broke off")
	}
	var doc Document
	if json.Unmarshal(body, &doc) == nil && doc.Type != "" {
		if t, ok := FromURI(doc.Type); ok {
			e := New(t, "%s", doc.Detail)
			e.Fields = doc.Errors
			if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil {
				e.RetryAfter = time.Duration(s) * time.Second
			}
			return e
		}
	}
	if e := readConnect(body); e != nil {
		return e
	}
	return New(FromStatus(resp.StatusCode), "status %d: %.200s", resp.StatusCode, body)
}
