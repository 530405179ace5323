package payment

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// bindingName is the output binding by which the acquirer is reached.
const bindingName = "acquirer"

// What the acquirer says of an authorization that it declined.
const statusDeclined = "declined"

// authorization, capture and refund are the acquirer's answers.
type authorization struct {
	ID       string `json:"id"`
	Status   string `json:"status"` // authorized or declined
	Reason   string `json:"reason"` // of a declined one
	Amount   int64  `json:"amount"`
	Currency string `json:"currency"`
}

type capture struct {
	ID     string `json:"id"`
	Amount int64  `json:"amount"`
}

type refund struct {
	ID string `json:"id"`
}

// reply is the acquirer's word on an operation, as it was given or recorded. It is final: the same key gets the
// same reply for ever.
type reply struct {
	status int
	body   []byte
}

// refused reports that the state at the acquirer does not allow the operation.
func (r reply) refused() bool { return r.status == http.StatusConflict }

func (r reply) into(v any) error {
	if err := json.Unmarshal(r.body, v); err != nil {
		return problem.Wrap(err, problem.Unavailable, "the acquirer's answer is broken")
	}
	return nil
}

// acquirer is the way to the card acquirer. Every operation carries an idempotency key that follows from the order
// and the step, so that it can be repeated and asked for.
type acquirer struct {
	binding sidecar.Binding
	apiKey  string
	timeout time.Duration // of one call
	log     *slog.Logger
	calls   *prometheus.CounterVec // by operation and outcome
}

// maxSends bounds how often one command sends an operation; beyond that the saga comes again.
const maxSends = 2

// perform has the acquirer carry out the step of an order. When a call ends without an answer (time-out, broken
// connection, any 5xx) it is unknown whether the work was done: the acquirer is asked for the key before anything
// else happens. If it has a recorded answer that is the reply; if it has none, the operation is sent again with
// the same key. It is Unavailable when the acquirer can't be asked, or no answer is had within ctx.
func (a *acquirer) perform(ctx context.Context, order string, step paymentapi.Step, path string, body any) (reply, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return reply{}, fmt.Errorf("acquirer: %w", err)
	}
	key := paymentapi.Key(order, step)
	for range maxSends {
		r, cause := a.call(ctx, "post", path, key, data)
		if cause == nil {
			return a.settle(step, key, r)
		}
		a.log.Warn("the acquirer left a call open, it is asked", "key", key, "error", cause)
		r, found, err := a.ask(ctx, order, step)
		if err != nil {
			return reply{}, err
		}
		if found {
			return r, nil
		}
	}
	return reply{}, problem.New(problem.Unavailable, "the acquirer does not answer").After(time.Second)
}

// ask looks up what became of a step. found is false when the acquirer has never answered it.
func (a *acquirer) ask(ctx context.Context, order string, step paymentapi.Step) (r reply, found bool, err error) {
	key := paymentapi.Key(order, step)
	r, err = a.call(ctx, "get", "/v1/operations/"+url.PathEscape(key), "", nil)
	if err != nil {
		a.calls.WithLabelValues(string(step), "unresolved").Inc()
		return reply{}, false, problem.Wrap(err, problem.Unavailable, "whether the acquirer did its part can't be told yet").After(time.Second)
	}
	switch {
	case r.status == http.StatusNotFound:
		a.calls.WithLabelValues(string(step), "asked_absent").Inc()
		return reply{}, false, nil
	case r.status/100 == 2 || r.refused():
		a.calls.WithLabelValues(string(step), "asked_found").Inc()
		return r, true, nil
	default:
		return reply{}, false, a.unexpected(key, r)
	}
}

// settle turns what came back on a call into the reply: the answer itself, the original of an operation that the
// acquirer says it had before, or an error for what can't be an answer.
func (a *acquirer) settle(step paymentapi.Step, key string, r reply) (reply, error) {
	switch {
	case r.status/100 == 2:
		a.calls.WithLabelValues(string(step), "answered").Inc()
		return r, nil
	case r.refused():
		var p struct {
			Type     string          `json:"type"`
			Original json.RawMessage `json:"original"`
		}
		if err := r.into(&p); err != nil {
			return r, err
		}
		if strings.HasSuffix(p.Type, ":duplicate") && len(p.Original) > 0 {
			a.calls.WithLabelValues(string(step), "duplicate").Inc()
			return reply{http.StatusOK, p.Original}, nil
		}
		a.calls.WithLabelValues(string(step), "refused").Inc()
		return r, nil
	case r.status == http.StatusUnprocessableEntity:
		return r, problem.New(problem.ReusedKey, "the acquirer had another request under %s", key)
	default:
		return r, a.unexpected(key, r)
	}
}

// unexpected is a fault on our side of the contract, such as a wrong API key. It is tried again, since whoever
// mends it wants the orders to go on.
func (a *acquirer) unexpected(key string, r reply) error {
	return problem.Wrap(fmt.Errorf("%s: status %d: %.200s", key, r.status, r.body), problem.Unavailable,
		"the acquirer refuses to talk").After(time.Second)
}

// call is one HTTP exchange through the binding. Metadata that starts with a capital letter becomes a header,
// path is joined to the component's url (components-contrib, bindings/http). An error means: no answer.
func (a *acquirer) call(ctx context.Context, method, path, key string, body []byte) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	defer cancel()
	metadata := map[string]string{
		"path":          path,
		"errorIfNot2XX": "false",
		"Authorization": "Bearer " + a.apiKey,
		"Accept":        "application/json",
	}
	if key != "" {
		metadata["Idempotency-Key"] = key
		metadata["Content-Type"] = "application/json"
	}
	res, err := a.binding.InvokeBinding(ctx, bindingName, method, body, metadata)
	switch {
	case err != nil:
		return reply{}, err
	case res.Status == 0:
		return reply{}, fmt.Errorf("no status")
	case res.Status >= 500, res.Status == http.StatusRequestTimeout, res.Status == http.StatusTooManyRequests:
		return reply{}, fmt.Errorf("status %d", res.Status)
	}
	return reply{res.Status, res.Data}, nil
}

// authorizationPath is where an authorization takes a capture or a void.
func authorizationPath(id, verb string) string {
	return "/v1/authorizations/" + url.PathEscape(id) + "/" + verb
}

func (a *acquirer) authorize(ctx context.Context, order string, req paymentapi.AuthorizeRequest) (authorization, error) {
	r, err := a.perform(ctx, order, paymentapi.StepAuthorize, "/v1/authorizations", map[string]any{
		"amount": req.Amount, "currency": req.Currency, "card": req.Card, "merchant_reference": order,
	})
	var out authorization
	if err == nil && r.refused() {
		err = a.unexpected(order, r)
	}
	if err == nil {
		err = r.into(&out)
	}
	return out, err
}

// authorizationOf asks for the authorization of an order that the ledger does not know.
func (a *acquirer) authorizationOf(ctx context.Context, order string) (out authorization, found bool, err error) {
	r, found, err := a.ask(ctx, order, paymentapi.StepAuthorize)
	if err != nil || !found {
		return out, false, err
	}
	err = r.into(&out)
	return out, true, err
}

// capture takes the money; done is false when the authorization stands no more.
func (a *acquirer) capture(ctx context.Context, order, authorization string, amount int64) (out capture, done bool, err error) {
	r, err := a.perform(ctx, order, paymentapi.StepCapture, authorizationPath(authorization, "capture"), map[string]any{"amount": amount})
	if err != nil || r.refused() {
		return out, false, err
	}
	err = r.into(&out)
	return out, true, err
}

// captureOf asks for the capture of an order that the ledger does not know. A refused one was none.
func (a *acquirer) captureOf(ctx context.Context, order string) (out capture, found bool, err error) {
	r, found, err := a.ask(ctx, order, paymentapi.StepCapture)
	if err != nil || !found || r.refused() {
		return out, false, err
	}
	err = r.into(&out)
	return out, true, err
}

// void sets the hold free; done is false when the acquirer refuses, which it does once the money is taken.
func (a *acquirer) void(ctx context.Context, order, authorization string) (done bool, err error) {
	r, err := a.perform(ctx, order, paymentapi.StepVoid, authorizationPath(authorization, "void"), struct{}{})
	return err == nil && !r.refused(), err
}

func (a *acquirer) refund(ctx context.Context, order, capture string, amount int64) (out refund, done bool, err error) {
	r, err := a.perform(ctx, order, paymentapi.StepRefund, "/v1/captures/"+url.PathEscape(capture)+"/refund", map[string]any{"amount": amount})
	if err != nil || r.refused() {
		return out, false, err
	}
	err = r.into(&out)
	return out, true, err
}
