// Command analytics keeps the read models of the operations console.
package main

import (
	"github.com/dishmesh/dishmesh/services/analytics"
	"github.com/dishmesh/dishmesh/services/internal/run"
)

func main() { run.Main(analytics.Name, analytics.New) }
