// Package correlation carries what ties the log lines, calls and events of one intent together: the request id
// and the W3C trace context (https://www.w3.org/TR/trace-context/).
package correlation

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
)

// Header names that travel between services.
const (
	RequestIDHeader   = "X-Request-Id"
	TraceParentHeader = "traceparent"
)

// IDs identify one intent across services.
type IDs struct {
	RequestID   string
	TraceParent string // 00-<trace id>-<span id>-<flags>
}

type key struct{}

// With returns a context that carries ids.
func With(ctx context.Context, ids IDs) context.Context { return context.WithValue(ctx, key{}, ids) }

// From gives the ids of a context, empty if it has none.
func From(ctx context.Context) IDs {
	ids, _ := ctx.Value(key{}).(IDs)
	return ids
}

// FromRequest reads the ids of a request and makes those that are missing or malformed.
func FromRequest(r *http.Request) IDs {
	ids := IDs{RequestID: r.Header.Get(RequestIDHeader), TraceParent: r.Header.Get(TraceParentHeader)}
	if !validRequestID(ids.RequestID) {
		ids.RequestID = "req_" + randomHex(12)
	}
	if TraceID(ids.TraceParent) == "" {
		ids.TraceParent = NewTraceParent()
	}
	return ids
}

// Set writes the ids to the headers of an outgoing request.
func (ids IDs) Set(h http.Header) {
	if ids.RequestID != "" {
		h.Set(RequestIDHeader, ids.RequestID)
	}
	if ids.TraceParent != "" {
		h.Set(TraceParentHeader, ids.TraceParent)
	}
}

// NewTraceParent starts a trace; the sampled flag is left to the sidecar's configuration.
func NewTraceParent() string { return "00-" + randomHex(16) + "-" + randomHex(8) + "-00" }

// TraceID is the trace id within a traceparent, or "" if that is malformed.
func TraceID(traceParent string) string {
	parts := strings.Split(traceParent, "-")
	if len(parts) != 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || len(parts[2]) != 16 || len(parts[3]) != 2 {
		return ""
	}
	for _, c := range strings.Join(parts, "") {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return ""
		}
	}
	if parts[0] == "ff" || strings.Trim(parts[1], "0") == "" || strings.Trim(parts[2], "0") == "" {
		return "" // invalid by section 3.2.2
	}
	return parts[1]
}

func validRequestID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, c := range id {
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '-' || c == '_' || c == '.') {
			return false
		}
	}
	return true
}

func randomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b) // crypto/rand.Read never fails (Go 1.24)
	return hex.EncodeToString(b)
}
