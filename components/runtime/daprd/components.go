package main

import (
	"github.com/dapr/components-contrib/bindings/http"
	"github.com/dapr/components-contrib/bindings/smtp"
	"github.com/dapr/components-contrib/nameresolution/kubernetes"
	"github.com/dapr/components-contrib/nameresolution/mdns"
	namessqlite "github.com/dapr/components-contrib/nameresolution/sqlite"
	pubsubmemory "github.com/dapr/components-contrib/pubsub/in-memory"
	"github.com/dapr/components-contrib/pubsub/kafka"
	"github.com/dapr/components-contrib/pubsub/rabbitmq"
	pubsubredis "github.com/dapr/components-contrib/pubsub/redis"
	secretskubernetes "github.com/dapr/components-contrib/secretstores/kubernetes"
	"github.com/dapr/components-contrib/secretstores/local/env"
	"github.com/dapr/components-contrib/secretstores/local/file"
	"github.com/dapr/components-contrib/state/cockroachdb"
	statememory "github.com/dapr/components-contrib/state/in-memory"
	"github.com/dapr/components-contrib/state/mongodb"
	"github.com/dapr/components-contrib/state/mysql"
	"github.com/dapr/components-contrib/state/postgresql/v2"
	stateredis "github.com/dapr/components-contrib/state/redis"
	"github.com/dapr/components-contrib/state/sqlite"
	"github.com/dapr/dapr/pkg/components"
	bindings "github.com/dapr/dapr/pkg/components/bindings"
	names "github.com/dapr/dapr/pkg/components/nameresolution"
	pubsub "github.com/dapr/dapr/pkg/components/pubsub"
	secrets "github.com/dapr/dapr/pkg/components/secretstores"
	state "github.com/dapr/dapr/pkg/components/state"

	"github.com/dishmesh/dishmesh/components/runtime/daprd/rabbitconfirmed"
	"github.com/dishmesh/dishmesh/components/runtime/daprd/readable"
	"github.com/dishmesh/dishmesh/components/runtime/daprd/redisatomic"
)

// init registers the components that the profiles use, and those that Dapr counts on wherever it runs. Dapr's whole
// stable set has a quarter more packages to build. Add a line here to use another one, or put a daprd with all
// components on PATH.
//
// Some are Dapr's own that keep what they promise: their packages say what was broken.
func init() {
	bindings.DefaultRegistry.RegisterOutputBinding(http.NewHTTP, "http")
	bindings.DefaultRegistry.RegisterOutputBinding(smtp.NewSMTP, "smtp")
	names.DefaultRegistry.RegisterComponent(kubernetes.NewResolver, "kubernetes")
	names.DefaultRegistry.RegisterComponent(mdns.NewResolver, "mdns")
	names.DefaultRegistry.RegisterComponent(namessqlite.NewResolver, "sqlite")
	pubsub.DefaultRegistry.RegisterComponent(readable.Of(pubsubmemory.New), "in-memory")
	pubsub.DefaultRegistry.RegisterComponent(readable.Of(kafka.NewKafka), "kafka")
	pubsub.DefaultRegistry.RegisterComponent(readable.Of(rabbitmq.NewRabbitMQ), "rabbitmq")
	pubsub.DefaultRegistry.RegisterComponent(readable.Of(rabbitconfirmed.New), "rabbitmq-confirmed")
	pubsub.DefaultRegistry.RegisterComponent(readable.Of(pubsubredis.NewRedisStreams), "redis")
	secrets.DefaultRegistry.RegisterComponent(secretskubernetes.NewKubernetesSecretStore, "kubernetes")
	secrets.DefaultRegistry.RegisterComponent(env.NewEnvSecretStore, "local.env")
	secrets.DefaultRegistry.RegisterComponent(file.NewLocalSecretStore, "local.file")
	state.DefaultRegistry.RegisterComponent(statememory.NewInMemoryStateStore, "in-memory")
	state.DefaultRegistry.RegisterComponent(mongodb.NewMongoDB, "mongodb")
	state.DefaultRegistry.RegisterComponent(mysql.NewMySQLStateStore, "mysql")
	state.DefaultRegistry.RegisterComponent(stateredis.NewRedisStateStore, "redis")
	state.DefaultRegistry.RegisterComponent(redisatomic.New, "redis-atomic")
	state.DefaultRegistry.RegisterComponent(sqlite.NewSQLiteStateStore, "sqlite")
	state.DefaultRegistry.RegisterComponentWithVersions("postgresql", components.Versioning{
		Preferred: components.VersionConstructor{Version: "v2", Constructor: postgresql.NewPostgreSQLStateStore}, Default: "v2",
	})
	state.DefaultRegistry.RegisterComponentWithVersions("cockroachdb", components.Versioning{
		Preferred: components.VersionConstructor{Version: "v2", Constructor: postgresql.NewPostgreSQLStateStore},
		Others:    []components.VersionConstructor{{Version: "v1", Constructor: cockroachdb.New}}, Default: "v1",
	})
}
