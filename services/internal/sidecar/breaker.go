package sidecar

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// breaker stops the calls to a dependency that has failed several times running (the circuit breaker of Nygard's
// "Release It!"). After a pause one call is let through: if it succeeds, all are again.
type breaker struct {
	*gobreaker.TwoStepCircuitBreaker[struct{}]
	opened atomic.Int64 // when it last opened, in ns since 1970
	pause  time.Duration
}

// errNotTheirs marks a call that says nothing about the dependency: its caller gave up, or the caller's own sidecar
// was away. It counts neither as a failure nor as a success.
var errNotTheirs = errors.New("not the dependency's doing")

func newBreaker(name string, l Limits, changed func(name string, from, to gobreaker.State)) *breaker {
	b := &breaker{pause: l.Pause}
	b.TwoStepCircuitBreaker = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		Name:        name,
		MaxRequests: 1,
		Timeout:     l.Pause,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= uint32(l.Failures) },
		IsExcluded:  func(err error) bool { return errors.Is(err, errNotTheirs) },
		OnStateChange: func(name string, from, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				b.opened.Store(time.Now().UnixNano())
			}
			changed(name, from, to)
		},
	})
	return b
}

// remaining is how long the breaker stays open, at least a second, which is the least that Retry-After can say.
func (b *breaker) remaining() time.Duration {
	return max(time.Second, b.pause-time.Since(time.Unix(0, b.opened.Load())))
}

// judgeStatus tells what an HTTP status says about who answered: nil is a success. Of the 4xx only 429 is a failure;
// the others are an answer to what was asked.
func judgeStatus(code int) error {
	if code >= 500 || code == http.StatusTooManyRequests {
		return fmt.Errorf("status %d", code)
	}
	return nil
}

// judgeTransport tells what an error without an answer says about the dependency. The connection is one to the
// caller's own sidecar, so a broken one is not the dependency's doing; one that hangs until the deadline is.
func judgeTransport(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	return errNotTheirs
}

// judgeBinding tells what the outcome of an output binding says about who is behind it. The sidecar answers Internal
// when the binding fails; Unavailable is the sidecar itself. An HTTP binding passes the status on.
func judgeBinding(ctx context.Context, res BindingResult, err error) error {
	if err == nil {
		return judgeStatus(res.Status)
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return errNotTheirs
	}
	if status.Code(err) == codes.Unavailable {
		return errNotTheirs
	}
	return err
}
