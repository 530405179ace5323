// Command user runs the user service.
package main

import (
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/user"
)

func main() { run.Main("user", user.New) }
