//go:build tools

// Package tools pins Helm, which installs the charts of Dapr and Istio.
package tools

import (
	_ "helm.sh/helm/v3/cmd/helm"
)
