// Command daprd is Dapr's own sidecar program with three components that its stable set leaves out.
package main

import "github.com/dapr/dapr/cmd/daprd/app"

func main() { app.Run() }
