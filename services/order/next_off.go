//go:build !next

package order

import (
	"github.com/dapr/durabletask-go/workflow"

	"github.com/dishmesh/dishmesh/services/internal/saga"
)

// nextStep is where the build with the tag next has a step more.
func nextStep(*workflow.WorkflowContext, *saga.Saga, string) error { return nil }

func (s *Service) registerNext(*workflow.Registry) error { return nil }
