// Package services carries the platform's public contracts, so that the gateway can serve them.
package services

import "embed"

// Contracts holds openapi.yaml, the public API, and asyncapi.yaml, the topics.
//
//go:embed *.yaml
var Contracts embed.FS
