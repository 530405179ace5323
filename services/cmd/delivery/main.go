// Command delivery runs the delivery service: couriers, their dispatch, tracking.
package main

import (
	"github.com/dishmesh/dishmesh/services/delivery"
	"github.com/dishmesh/dishmesh/services/internal/run"
)

func main() { run.Main("delivery", delivery.New) }
