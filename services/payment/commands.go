package payment

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// How commands stay safe, mostly without writing an intent first
//
// A command reads the head, calls the acquirer with the key <order>/<step>, and appends what came of it: one read,
// one call, one transaction. No intent is written before the call, because it would say nothing that the acquirer
// does not say better: the key follows from the order and the step, the acquirer binds its answer to it for good,
// and answers by it. Whoever comes after a crash between call and record finds the record missing and
//
//   - repeats the step with the same key (the saga does): the acquirer answers as it did before, or
//   - undoes it: void and refund ask for the key of the step they undo before they say that nothing was done.
//
// That leaves an authorization that is still on its way when its void finds nothing. The void leaves a tombstone,
// which refuses every later authorization; the one on its way finds it when it wants to record, and sets its own
// hold free; and should its process die before that, an effect of the tombstone (lateCheck) asks once more when
// the call must have come to its end. A capture on its way needs no such care: at the acquirer a capture and a
// void of one authorization exclude each other.
//
// The exception is the refund. What excludes it is the payout, of which the acquirer knows nothing: a refund that
// was made but not recorded must not be followed by one. So the intent to refund is recorded first
// (payment.refund-requested), and no payout is made from there. A refund is rare; the transaction is well spent.

// decision is what a command comes to: events to append and what to answer. again decides afresh once the events
// are there.
type decision struct {
	events  []eventstore.Event
	effects []outbox.Effect
	result  paymentapi.Result
	again   bool
}

// decide looks at where the payment stands and does what has to be done at the acquirer. It may run several times:
// all that it does is bound to a key.
type decide func(ctx context.Context, order string, a account) (decision, error)

const (
	maxRounds  = 5               // of a command against writers of other processes
	recordTime = 5 * time.Second // for reading and writing the ledger
)

// execute runs a command. It goes on when the caller has gone, so that an answer of the acquirer is recorded
// whenever there is one; the calls to the acquirer get half as much again as one of them may take.
func (s *Service) execute(ctx context.Context, order string, do decide) (paymentapi.Result, error) {
	unlock, err := s.locks.lock(ctx, order)
	if err != nil {
		return paymentapi.Result{}, fmt.Errorf("payment of %s: %w", order, err)
	}
	defer unlock()
	base := context.WithoutCancel(ctx)
	calling, cancel := context.WithTimeout(base, s.cfg.AcquirerTimeout+s.cfg.AcquirerTimeout/2)
	defer cancel()
	for range maxRounds {
		d, err := s.round(base, calling, order, do)
		switch {
		case errors.Is(err, sidecar.ErrConflict):
			continue // somebody else wrote: look again
		case err != nil:
			return paymentapi.Result{}, err
		case !d.again:
			return d.result, nil
		}
	}
	return paymentapi.Result{}, problem.New(problem.WriteConflict, "the payment of %s is being written by others", order).After(time.Second)
}

func (s *Service) round(base, calling context.Context, order string, do decide) (decision, error) {
	ctx, cancel := context.WithTimeout(base, recordTime)
	snapshot, err := s.store.Snapshot(ctx, order)
	cancel()
	if err != nil {
		return decision{}, err
	}
	d, err := do(calling, order, snapshot.State())
	if err != nil || len(d.events) == 0 {
		return d, err
	}
	ctx, cancel = context.WithTimeout(base, recordTime)
	defer cancel()
	if _, err := s.store.Append(ctx, snapshot, eventstore.Change{Events: d.events, Effects: d.effects}); err != nil {
		return d, err
	}
	for _, e := range d.events {
		s.events.WithLabelValues(e.Type).Inc()
	}
	return d, nil
}

// authorize holds the amount, once. A payment that has ended before takes no authorization any more.
func (s *Service) authorize(req paymentapi.AuthorizeRequest) decide {
	return func(ctx context.Context, order string, a account) (decision, error) {
		switch a.Status {
		case paymentapi.None:
			auth, err := s.acquirer.authorize(ctx, order, req)
			if err != nil {
				return decision{}, err
			}
			result := paymentapi.Result{Status: paymentapi.Authorized}
			if auth.Status == statusDeclined {
				result = paymentapi.Result{Status: paymentapi.Declined, Reason: auth.Reason}
			}
			return decision{events: []eventstore.Event{authorized(order, &req, auth)}, result: result}, nil
		case paymentapi.Voided, paymentapi.Refunding, paymentapi.Refunded:
			d, err := s.settleLate(ctx, order, a)
			d.result = paymentapi.Result{Status: paymentapi.Declined, Reason: string(a.Status)}
			return d, err
		default:
			if err := sameRequest(order, a, req); err != nil {
				return decision{}, err
			}
			if a.Status == paymentapi.Declined {
				return decision{result: paymentapi.Result{Status: a.Status, Reason: a.Reason}}, nil
			}
			return decision{result: paymentapi.Result{Status: paymentapi.Authorized}}, nil
		}
	}
}

// sameRequest tells a repeat from another request under the same key. A payment whose request was lost to the
// ledger (found by asking) has no customer to compare.
func sameRequest(order string, a account, req paymentapi.AuthorizeRequest) error {
	if a.Amount != req.Amount || a.Currency != req.Currency ||
		a.CustomerID != "" && (a.CustomerID != req.CustomerID || a.Card != lastFour(req.Card)) {
		return problem.New(problem.ReusedKey, "%s was authorized with another amount, card or customer", order)
	}
	return nil
}

// capture takes the money that is held.
func (s *Service) capture(ctx context.Context, order string, a account) (decision, error) {
	switch a.Status {
	case paymentapi.Authorized:
		c, done, err := s.acquirer.capture(ctx, order, a.AuthorizationID, a.Amount)
		if err != nil {
			return decision{}, err
		}
		if !done {
			return decision{}, problem.New(problem.IllegalState, "the acquirer refuses to capture %s", order)
		}
		return decision{events: []eventstore.Event{a.captured(order, c)}, result: paymentapi.Result{Status: paymentapi.Captured}}, nil
	case paymentapi.Captured, paymentapi.PaidOut:
		return decision{result: paymentapi.Result{Status: paymentapi.Captured}}, nil
	default:
		return decision{}, illegal(order, a, paymentapi.StepCapture)
	}
}

// void sets the hold free. It accepts that there was none.
func (s *Service) void(ctx context.Context, order string, a account) (decision, error) {
	switch a.Status {
	case paymentapi.None:
		return s.callOff(ctx, order)
	case paymentapi.Authorized:
		return s.setFree(ctx, order, a, "")
	case paymentapi.Captured, paymentapi.Refunding, paymentapi.PaidOut:
		return decision{}, illegal(order, a, paymentapi.StepVoid)
	default:
		return decision{result: paymentapi.Result{Status: a.Status, Reason: a.Reason}}, nil
	}
}

// refund gives back what was captured. If nothing was, it sets the hold free instead.
func (s *Service) refund(reason string) decide {
	return func(ctx context.Context, order string, a account) (decision, error) {
		switch a.Status {
		case paymentapi.None:
			return s.callOff(ctx, order)
		case paymentapi.Authorized:
			c, found, err := s.acquirer.captureOf(ctx, order)
			if err != nil {
				return decision{}, err
			}
			if found {
				return decision{events: []eventstore.Event{a.captured(order, c)}, again: true}, nil
			}
			return s.setFree(ctx, order, a, reason)
		case paymentapi.Captured:
			return decision{events: []eventstore.Event{a.refundRequested(order, reason)}, again: true}, nil
		case paymentapi.Refunding:
			r, done, err := s.acquirer.refund(ctx, order, a.CaptureID, a.Amount)
			if err != nil {
				return decision{}, err
			}
			if !done {
				return decision{}, problem.New(problem.IllegalState, "the acquirer refuses to refund %s", order)
			}
			return decision{events: []eventstore.Event{a.refunded(order, r)}, result: paymentapi.Result{Status: paymentapi.Refunded}}, nil
		case paymentapi.PaidOut:
			return decision{}, illegal(order, a, paymentapi.StepRefund)
		default:
			return decision{result: paymentapi.Result{Status: a.Status, Reason: a.Reason}}, nil
		}
	}
}

// setFree voids an authorization. If the acquirer refuses, a capture was on its way and came first: that is
// recorded, and the command decides afresh.
func (s *Service) setFree(ctx context.Context, order string, a account, reason string) (decision, error) {
	done, err := s.acquirer.void(ctx, order, a.AuthorizationID)
	if err != nil {
		return decision{}, err
	}
	if done {
		return decision{events: []eventstore.Event{a.voided(order, reason)}, result: paymentapi.Result{Status: paymentapi.Voided}}, nil
	}
	c, found, err := s.acquirer.captureOf(ctx, order)
	if err != nil {
		return decision{}, err
	}
	if !found {
		return decision{}, problem.New(problem.IllegalState, "the acquirer refuses to void %s, and knows no capture", order)
	}
	return decision{events: []eventstore.Event{a.captured(order, c)}, again: true}, nil
}

// reasonCalledOff is why a payment is voided that the ledger has no authorization of.
const reasonCalledOff = "called_off"

// callOff ends a payment that the ledger knows nothing of. The acquirer may: an authorization that was lost
// between call and record is recorded now, and set free.
func (s *Service) callOff(ctx context.Context, order string) (decision, error) {
	auth, found, err := s.acquirer.authorizationOf(ctx, order)
	switch {
	case err != nil:
		return decision{}, err
	case !found:
		check, err := outbox.NewEffect(lateCheck, lateCheckData{OrderID: order, At: time.Now().UTC()})
		if err != nil {
			return decision{}, err
		}
		return decision{
			events:  []eventstore.Event{account{}.voided(order, reasonCalledOff)},
			effects: []outbox.Effect{check},
			result:  paymentapi.Result{Status: paymentapi.Voided},
		}, nil
	case auth.Status == statusDeclined:
		return decision{
			events: []eventstore.Event{authorized(order, nil, auth)},
			result: paymentapi.Result{Status: paymentapi.Declined, Reason: auth.Reason},
		}, nil
	default:
		return s.recordAndFree(ctx, order, auth)
	}
}

// recordAndFree voids an authorization that the ledger does not have, and records both.
func (s *Service) recordAndFree(ctx context.Context, order string, auth authorization) (decision, error) {
	done, err := s.acquirer.void(ctx, order, auth.ID)
	if err != nil {
		return decision{}, err
	}
	if !done {
		return decision{}, problem.New(problem.IllegalState, "the acquirer refuses to void %s", order)
	}
	a := account{AuthorizationID: auth.ID, Amount: auth.Amount, Currency: auth.Currency}
	return decision{
		events: []eventstore.Event{authorized(order, nil, auth), a.voided(order, reasonCalledOff)},
		result: paymentapi.Result{Status: paymentapi.Voided},
	}, nil
}

// settleLate sets an authorization free that turned up after the payment was called off.
func (s *Service) settleLate(ctx context.Context, order string, a account) (decision, error) {
	if !a.calledOff() {
		return decision{}, nil
	}
	auth, found, err := s.acquirer.authorizationOf(ctx, order)
	if err != nil || !found || auth.Status == statusDeclined {
		return decision{}, err
	}
	return s.recordAndFree(ctx, order, auth)
}

// lateCheck is the effect of a tombstone: ask once more for an authorization that was on its way.
const lateCheck = "late-authorization-check"

type lateCheckData struct {
	OrderID string    `json:"order_id"`
	At      time.Time `json:"at"` // when the payment was called off
}

// checkLate carries out lateCheck when a call that began before the tombstone must have ended. It is rare, so that
// it may hold up its share of the outbox for those seconds.
func (s *Service) checkLate(ctx context.Context, data []byte) error {
	var d lateCheckData
	if err := json.Unmarshal(data, &d); err != nil {
		return fmt.Errorf("%s: %w", lateCheck, err)
	}
	wait := time.NewTimer(time.Until(d.At.Add(s.cfg.AcquirerTimeout * 2)))
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	_, err := s.execute(ctx, d.OrderID, s.settleLate)
	return err
}

func illegal(order string, a account, step paymentapi.Step) error {
	status := string(a.Status)
	if status == "" {
		status = "not authorized"
	}
	return problem.New(problem.IllegalState, "the payment of %s is %s: no %s", order, status, step)
}
