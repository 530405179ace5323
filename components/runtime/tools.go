//go:build tools

// Package runtime pins the programs of the Dapr runtime that the platform runs beside daprd, so that one go.sum says
// exactly what is built. Nothing here is compiled into a service.
package runtime

import (
	_ "github.com/dapr/dapr/cmd/placement"
	_ "github.com/dapr/dapr/cmd/scheduler"
	_ "github.com/dapr/dapr/cmd/sentry"
)
