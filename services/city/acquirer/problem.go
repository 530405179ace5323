package acquirer

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// ProblemContentType is the media type of a refusal (RFC 9457).
const ProblemContentType = "application/problem+json"

// problemPrefix starts the type of the acquirer's problems; they are its own, not the platform's.
const problemPrefix = "urn:acquirer:problem:"

// Problem is the acquirer's refusal. The types, after "urn:acquirer:problem:", are unauthenticated,
// invalid-request, idempotency-key-missing, idempotency-key-reused, not-found, illegal-state, duplicate,
// unavailable and timeout.
type Problem struct {
	Type     string          `json:"type"`
	Title    string          `json:"title"`
	Status   int             `json:"status"`
	Detail   string          `json:"detail,omitempty"`
	Errors   []FieldError    `json:"errors,omitempty"`
	Original json.RawMessage `json:"original,omitempty"` // of a duplicate: the answer to the first request
}

// FieldError names one faulty field of a request and why it was refused.
type FieldError struct {
	Name   string `json:"name"`
	Reason string `json:"reason"`
}

// Error implements error.
func (p *Problem) Error() string {
	return fmt.Sprintf("%s (%d): %s", p.Title, p.Status, p.Detail)
}

func newProblem(status int, kind, title, format string, args ...any) *Problem {
	return &Problem{Type: problemPrefix + kind, Title: title, Status: status, Detail: fmt.Sprintf(format, args...)}
}

func errNotFound(what, id string) *Problem {
	return newProblem(http.StatusNotFound, "not-found", "There is no such thing", "%s %q is not known here", what, id)
}

func errIllegal(format string, args ...any) *Problem {
	return newProblem(http.StatusConflict, "illegal-state", "The state does not allow this", format, args...)
}

func errReused(key string) *Problem {
	return newProblem(http.StatusUnprocessableEntity, "idempotency-key-reused", "The key was used for another request",
		"Idempotency-Key %q belongs to an earlier request with another path or body", key)
}

func errUnavailable(format string, args ...any) *Problem {
	return newProblem(http.StatusServiceUnavailable, "unavailable", "The acquirer is not available", format, args...)
}

func errTimeout() *Problem {
	return newProblem(http.StatusGatewayTimeout, "timeout", "It took too long", "ask for the operation by its key")
}
