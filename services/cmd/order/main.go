// Command order runs the order service.
package main

import (
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/order"
)

func main() { run.Main("order", order.New) }
