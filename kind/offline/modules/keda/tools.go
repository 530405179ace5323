//go:build tools

// Package tools pins KEDA: its operator, and the adapter that gives Kubernetes' autoscaler what the operator has measured.
package tools

import (
	_ "github.com/kedacore/keda/v2/cmd/adapter"
	_ "github.com/kedacore/keda/v2/cmd/operator"
)
