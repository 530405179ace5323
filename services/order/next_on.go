//go:build next

package order

import (
	"github.com/dapr/durabletask-go/workflow"

	"github.com/dishmesh/dishmesh/services/internal/saga"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// This build is a next release of the saga, made to show on a cluster how its code is changed while sagas are under
// way: they have a step more, between capture and dispatch. Sagas whose history has passed that place when the new code
// first sees it must not have the step, or the history would contradict the code; the patch tells the two apart, and the
// engine keeps the decision in the history.

const (
	patchConfirm = "confirm-before-dispatch"
	stepConfirm  = "confirm-order"
)

func nextStep(ctx *workflow.WorkflowContext, s *saga.Saga, orderID string) error {
	if !ctx.IsPatched(patchConfirm) {
		return nil
	}
	return s.Do(stepConfirm, orderID, nil)
}

func (s *Service) registerNext(r *workflow.Registry) error {
	return r.AddActivityN(stepConfirm, s.confirmOrder)
}

// confirmOrder looks once more whether there is an order to find a courier for, and says so in the log.
func (s *Service) confirmOrder(ctx workflow.ActivityContext) (any, error) {
	o, err := s.orderOf(ctx)
	if err != nil {
		return nil, err
	}
	s.log.Info("confirmed before dispatch", "order", o.ID, "accepted", o.Status == orderapi.Accepted)
	return nil, nil
}
