package main

import (
	"github.com/dapr/components-contrib/bindings/smtp"
	"github.com/dapr/components-contrib/nameresolution/sqlite"
	"github.com/dapr/components-contrib/pubsub/jetstream"
	bindings "github.com/dapr/dapr/pkg/components/bindings"
	names "github.com/dapr/dapr/pkg/components/nameresolution"
	pubsub "github.com/dapr/dapr/pkg/components/pubsub"
	state "github.com/dapr/dapr/pkg/components/state"

	"github.com/dishmesh/dishmesh/components/runtime/daprd/rabbitconfirmed"
	"github.com/dishmesh/dishmesh/components/runtime/daprd/redisatomic"
)

// init registers, beside Dapr's stable components (build tag stablecomponents), those that a profile uses beyond
// them. Add a line here to use another one.
func init() {
	bindings.DefaultRegistry.RegisterOutputBinding(smtp.NewSMTP, "smtp")
	names.DefaultRegistry.RegisterComponent(sqlite.NewResolver, "sqlite")
	pubsub.DefaultRegistry.RegisterComponent(jetstream.NewJetStream, "jetstream")
	// Two of Dapr's own that keep what they promise; each says in its package what was broken.
	pubsub.DefaultRegistry.RegisterComponent(rabbitconfirmed.New, "rabbitmq-confirmed")
	state.DefaultRegistry.RegisterComponent(redisatomic.New, "redis-atomic")
}
