// Command pricing runs the pricing service beside its sidecar; pricing --help lists its settings.
package main

import (
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/pricing"
)

func main() { run.Main("pricing", pricing.New) }
