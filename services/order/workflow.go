package order

import (
	"fmt"
	"strings"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dishmesh/dishmesh/services/internal/saga"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// The names of the workflow, its steps and their compensations. They are part of stored histories: never rename.
const (
	sagaName = "order-saga"

	stepAuthorize = "authorize-payment"
	stepTicket    = "open-ticket"
	stepCapture   = "capture-payment"
	stepDispatch  = "dispatch-courier"
	stepEnd       = "end-order"
	stepTooLate   = "refuse-cancel"

	undoAuthorize = "void-payment"
	undoTicket    = "cancel-ticket"
	undoCapture   = "refund-payment"
	undoDispatch  = "release-courier"
)

// signalEvent is the one external event of the saga. One name for all signals keeps their order.
const signalEvent = "signal"

type signalKind string

const (
	kitchenAccepted signalKind = "kitchen-accepted"
	kitchenRejected signalKind = "kitchen-rejected"
	noCourier       signalKind = "no-courier"
	pickedUp        signalKind = "picked-up"
	cancelled       signalKind = "cancelled"
	overdue         signalKind = "overdue"
)

// signal tells a waiting saga what happened.
type signal struct {
	Kind   signalKind `json:"kind"`
	Reason string     `json:"reason,omitempty"`
	Detail string     `json:"detail,omitempty"`
}

// sagaInput starts a saga. The card token lives here and nowhere else.
type sagaInput struct {
	OrderID string `json:"order_id"`
	Card    string `json:"card"`
	// Overdue has the saga do nothing but undo: it stands in for one that stood still.
	Overdue bool `json:"overdue,omitempty"`
}

// What is said of an order that did not end in time.
const (
	overdueReason = "overdue"
	overdueDetail = "it did not end in time"
)

// verdict is what a step answers: done, or refused for a reason. A refusal is a result, not an error.
type verdict struct {
	Refused bool   `json:"refused,omitempty"`
	Reason  string `json:"reason,omitempty"`
	Detail  string `json:"detail,omitempty"`
}

// ending is how an order ends when it is not delivered.
type ending struct {
	OrderID string          `json:"order_id"`
	Status  orderapi.Status `json:"status"`
	Reason  string          `json:"reason"`
	Detail  string          `json:"detail,omitempty"`
}

// orderSaga takes an order from acknowledged to picked up:
//
//	step                compensation     waits for
//	authorize payment   void payment
//	open kitchen ticket cancel ticket    accepted, or rejected (the restaurant keeps the deadline)
//	capture payment     refund payment
//	dispatch courier    release courier  picked up (the pivot), or no courier (delivery keeps the deadline)
//
// The customer may cancel at any wait. What follows the pivot is no step: delivered and paid out are events.
func orderSaga(ctx *workflow.WorkflowContext, options ...saga.Option) (any, error) {
	var in sagaInput
	if err := ctx.GetInput(&in); err != nil {
		return nil, fmt.Errorf("input: %w", err)
	}
	s := saga.New(ctx, options...)
	var v verdict

	if in.Overdue {
		for _, undo := range []string{undoAuthorize, undoTicket, undoCapture, undoDispatch} {
			s.OnFailure(undo, in.OrderID)
		}
		return rollBack(ctx, s, in.OrderID, orderapi.Undeliverable, overdueReason, overdueDetail)
	}

	ctx.SetCustomStatus("authorizing payment")
	s.OnFailure(undoAuthorize, in.OrderID)
	if err := s.Do(stepAuthorize, in, &v); err != nil {
		return rollBack(ctx, s, in.OrderID, orderapi.Declined, "payment_unavailable", err.Error())
	}
	if v.Refused {
		return rollBack(ctx, s, in.OrderID, orderapi.Declined, v.Reason, v.Detail)
	}

	ctx.SetCustomStatus("waiting for the kitchen")
	s.OnFailure(undoTicket, in.OrderID)
	if err := s.Do(stepTicket, in.OrderID, &v); err != nil {
		return rollBack(ctx, s, in.OrderID, orderapi.Rejected, "kitchen_unavailable", err.Error())
	}
	if v.Refused {
		return rollBack(ctx, s, in.OrderID, orderapi.Rejected, v.Reason, v.Detail)
	}
	switch sig, err := await(s, kitchenAccepted, kitchenRejected); {
	case err != nil:
		return nil, err
	case sig.Kind != kitchenAccepted:
		return rollBack(ctx, s, in.OrderID, sig.status(orderapi.Rejected), sig.Reason, sig.Detail)
	}

	ctx.SetCustomStatus("capturing payment")
	s.OnFailure(undoCapture, in.OrderID)
	if err := s.Do(stepCapture, in.OrderID, &v); err != nil {
		return rollBack(ctx, s, in.OrderID, orderapi.Declined, "payment_unavailable", err.Error())
	}
	if v.Refused {
		return rollBack(ctx, s, in.OrderID, orderapi.Declined, v.Reason, v.Detail)
	}

	if err := nextStep(ctx, s, in.OrderID); err != nil {
		return rollBack(ctx, s, in.OrderID, orderapi.Undeliverable, "dispatch_unavailable", err.Error())
	}

	ctx.SetCustomStatus("waiting for a courier")
	s.OnFailure(undoDispatch, in.OrderID)
	if err := s.Do(stepDispatch, in.OrderID, &v); err != nil {
		return rollBack(ctx, s, in.OrderID, orderapi.Undeliverable, "dispatch_unavailable", err.Error())
	}
	if v.Refused {
		return rollBack(ctx, s, in.OrderID, orderapi.Undeliverable, v.Reason, v.Detail)
	}
	switch sig, err := await(s, pickedUp, noCourier); {
	case err != nil:
		return nil, err
	case sig.Kind != pickedUp:
		return rollBack(ctx, s, in.OrderID, sig.status(orderapi.Undeliverable), sig.Reason, sig.Detail)
	}

	ctx.SetCustomStatus("picked up")
	return orderapi.PickedUp, nil
}

// await waits for one of the kinds, or for what always counts: a cancellation, a missed deadline, and the pick-up.
func await(s *saga.Saga, kinds ...signalKind) (signal, error) {
	for {
		var sig signal
		if err := s.Wait(signalEvent, &sig); err != nil {
			return sig, fmt.Errorf("wait: %w", err)
		}
		if sig.Kind == cancelled || sig.Kind == overdue {
			return sig, nil
		}
		for _, k := range kinds {
			if sig.Kind == k {
				return sig, nil
			}
		}
	}
}

// status is the terminal state that a signal leads to, if it is not the one that the step's own refusal has.
func (s signal) status(refused orderapi.Status) orderapi.Status {
	if s.Kind == cancelled {
		return orderapi.Cancelled
	}
	return refused
}

// rollBack undoes what was done, last first, and ends the order. If the courier has picked it up meanwhile there
// is no way back: the order goes on.
func rollBack(ctx *workflow.WorkflowContext, s *saga.Saga, orderID string, status orderapi.Status, reason, detail string) (any, error) {
	ctx.SetCustomStatus("rolling back: " + reason)
	failed, tooLate := s.Undo()
	if tooLate {
		ctx.SetCustomStatus("picked up")
		return orderapi.PickedUp, s.Finish(stepTooLate, orderID)
	}
	if len(failed) > 0 {
		status, reason, detail = orderapi.CompensationFailed, "compensation_failed", reason+"; not undone: "+strings.Join(failed, ", ")
	}
	ctx.SetCustomStatus("ended: " + string(status))
	return status, s.Finish(stepEnd, ending{OrderID: orderID, Status: status, Reason: reason, Detail: detail})
}
