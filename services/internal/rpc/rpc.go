// Package rpc joins typed calls (Connect, https://connectrpc.com) to the rest: a client goes through the sidecar by the
// same door as every other call, breaker and bulkhead included, and problems are the same errors on both sides.
package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// Door is a connect.HTTPClient by which a generated client calls another app through the sidecar. Its base URL is "".
type Door struct {
	Invoker sidecar.Invoker
	App     string
	Within  time.Duration // see sidecar.Call
}

// Do implements connect.HTTPClient for unary calls. A refusal comes back as the *problem.Error that the callee meant.
func (d Door) Do(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("call %s: %w", d.App, err)
	}
	var answer sidecar.Raw
	err = d.Invoker.Invoke(r.Context(), sidecar.Call{App: d.App, Method: r.Method, Path: r.URL.Path, Header: r.Header,
		In: sidecar.Raw{Body: body}, Out: &answer, Within: d.Within})
	if err != nil {
		return nil, err
	}
	return &http.Response{Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: r,
		Header: answer.Header, ContentLength: int64(len(answer.Body)), Body: io.NopCloser(bytes.NewReader(answer.Body))}, nil
}

// ClientOptions are those of every client that goes through the sidecar: nothing is compressed for a loopback.
func ClientOptions() connect.ClientOption {
	return connect.WithAcceptCompression("gzip", nil, nil)
}

// HandlerOptions are those of every handler: bodies are bounded as everywhere, errors are problems.
func HandlerOptions() connect.HandlerOption {
	return connect.WithHandlerOptions(connect.WithReadMaxBytes(web.MaxBody), connect.WithInterceptors(connect.UnaryInterceptorFunc(refuse)))
}

// refuse turns the error of a handler into one that a client of any protocol understands.
func refuse(next connect.UnaryFunc) connect.UnaryFunc {
	return func(ctx context.Context, r connect.AnyRequest) (connect.AnyResponse, error) {
		resp, err := next(ctx, r)
		if err == nil {
			return resp, nil
		}
		web.Note(ctx, err)
		return nil, Refusal(err)
	}
}

// Refusal is err as a Connect error: its code, and the problem in its details. An error that is no problem says nothing.
func Refusal(err error) *connect.Error {
	var p *problem.Error
	switch {
	case errors.As(err, &p):
	case errors.Is(err, context.DeadlineExceeded):
		p = problem.New(problem.Timeout, "")
	default:
		p = problem.New(problem.Internal, "")
	}
	out := connect.NewError(code(p.Type), errors.New(p.Detail))
	for _, m := range p.Details() {
		if d, err := connect.NewErrorDetail(m); err == nil { // these messages can be encoded
			out.AddDetail(d)
		}
	}
	if p.RetryAfter > 0 {
		out.Meta().Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds()))))
	}
	return out
}

// code is the nearest of the codes that gRPC and Connect share.
func code(t problem.Type) connect.Code {
	switch t {
	case problem.WriteConflict:
		return connect.CodeAborted
	case problem.AlreadyExists:
		return connect.CodeAlreadyExists
	}
	switch t.Status() {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType:
		return connect.CodeInvalidArgument
	case http.StatusUnauthorized:
		return connect.CodeUnauthenticated
	case http.StatusForbidden:
		return connect.CodePermissionDenied
	case http.StatusNotFound:
		return connect.CodeNotFound
	case http.StatusMethodNotAllowed:
		return connect.CodeUnimplemented
	case http.StatusTooManyRequests:
		return connect.CodeResourceExhausted
	case http.StatusServiceUnavailable:
		return connect.CodeUnavailable
	case http.StatusGatewayTimeout:
		return connect.CodeDeadlineExceeded
	case http.StatusConflict, http.StatusGone, http.StatusUnprocessableEntity:
		return connect.CodeFailedPrecondition
	}
	return connect.CodeInternal
}

// Problem is the error of a call as a *problem.Error, whichever way the call went; nil stays nil.
func Problem(err error) error {
	if err == nil {
		return nil
	}
	var p *problem.Error
	if errors.As(err, &p) {
		return p
	}
	var c *connect.Error
	if !errors.As(err, &c) {
		return problem.Wrap(err, problem.Unavailable, "the call failed").After(time.Second)
	}
	var details []proto.Message
	for _, d := range c.Details() {
		if m, err := d.Value(); err == nil { // a message that is not known here says nothing
			details = append(details, m)
		}
	}
	if p := problem.FromDetails(c.Message(), details); p != nil {
		return p
	}
	return problem.Wrap(err, kind(c.Code()), "") // what it says is for the log
}

// kind is the type of an error that no handler of ours wrote.
func kind(c connect.Code) problem.Type {
	switch c {
	case connect.CodeDeadlineExceeded, connect.CodeCanceled:
		return problem.Timeout
	case connect.CodeUnavailable, connect.CodeUnknown:
		return problem.Unavailable // the callee, or its answer is broken
	case connect.CodeResourceExhausted:
		return problem.RateLimited
	case connect.CodeNotFound, connect.CodeUnimplemented:
		return problem.NotFound
	case connect.CodeInvalidArgument, connect.CodeOutOfRange:
		return problem.InvalidRequest
	case connect.CodeUnauthenticated:
		return problem.Unauthenticated
	case connect.CodePermissionDenied:
		return problem.Forbidden
	}
	return problem.Internal
}
