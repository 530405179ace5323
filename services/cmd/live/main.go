// Command live runs a service in a container so that its program can be replaced under it.
package main

import "github.com/dishmesh/dishmesh/services/internal/live"

func main() { live.Main() }
