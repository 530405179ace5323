// Command gateway runs the platform's public edge.
package main

import (
	"github.com/dishmesh/dishmesh/services/gateway"
	"github.com/dishmesh/dishmesh/services/internal/run"
)

func main() { run.Main("gateway", gateway.New) }
