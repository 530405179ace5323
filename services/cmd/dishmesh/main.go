// Command dishmesh runs the platform on one machine, places orders and checks what happened.
package main

import (
	"os"

	"github.com/dishmesh/dishmesh/services/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}
