// Command restaurant runs the restaurant service: kitchen tickets, opening hours, capacity.
package main

import (
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/restaurant"
)

func main() { run.Main("restaurant", restaurant.New) }
