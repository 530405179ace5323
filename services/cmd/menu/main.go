// Command menu runs the menu service beside its sidecar; menu --help lists its settings.
package main

import (
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/menu"
)

func main() { run.Main("menu", menu.New) }
