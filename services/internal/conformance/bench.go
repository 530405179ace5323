package conformance

import (
	"context"
	"errors"
	"net/http"

	"github.com/dapr/durabletask-go/workflow"

	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// Bench is where checks run: sidecars with an application behind each, and the servers under them.
type Bench interface {
	// Node starts an application with its sidecar and returns when both are ready. The caller closes it.
	Node(ctx context.Context, spec NodeSpec) (Node, error)
	// Shared gives a node without an application of interest, started at the first call and kept: a publisher, a
	// reader of state. Nobody but the bench closes it.
	Shared(ctx context.Context, app string, instance int) (Node, error)
	// Broker is the server that holds the events, Store the one that holds the state. ErrNoServer: there is none of
	// its own.
	Broker() (Server, error)
	Store() (Server, error)
	// Versions says what was tested, by program.
	Versions() map[string]string
	// Close ends everything. It may be called twice.
	Close()
}

// ErrNoServer says that a part of the profile lives in the sidecar's process.
var ErrNoServer = errors.New("there is no server of its own")

// NodeSpec describes a node.
type NodeSpec struct {
	// App is the Dapr app id. It is that of a service, because the components of a profile name who may use them.
	App string
	// Instance tells replicas of one app apart.
	Instance int
	// Topics are subscribed to; Handler gets their deliveries at topic.Path, and calls of other nodes.
	Topics  []string
	Handler http.Handler
	// Workflows are worked for, where it is set.
	Workflows *workflow.Registry
}

// Node is an application and its sidecar.
type Node interface {
	sidecar.Publisher
	sidecar.Invoker
	// State is the app's own store.
	State() sidecar.Store
	// Engine drives the workflows of the app.
	Engine() Engine
	// WorkflowWorkers is how many workers the sidecar's workflow engine serves.
	WorkflowWorkers(ctx context.Context) (int, error)
	// KillSidecar kills it with SIGKILL; StartSidecar starts it again and returns when it is ready.
	KillSidecar() error
	StartSidecar(ctx context.Context) error
	// KillApp breaks off everything that the application does and cuts its connections, as SIGKILL does; StartApp has
	// it back.
	KillApp() error
	StartApp(ctx context.Context) error
	// Close ends both in good order.
	Close()
}

// Engine is the part of the workflow client that checks use.
type Engine interface {
	ScheduleWorkflow(ctx context.Context, name string, opts ...workflow.NewWorkflowOptions) (string, error)
	RaiseEvent(ctx context.Context, id, eventName string, opts ...workflow.RaiseEventOptions) error
	FetchWorkflowMetadata(ctx context.Context, id string, opts ...workflow.FetchWorkflowMetadataOptions) (*workflow.WorkflowMetadata, error)
}

// Server is a broker or a database of the profile.
type Server interface {
	Name() string
	// Kill kills it with SIGKILL; Start starts it again on the same data and returns when it is ready.
	Kill() error
	Start(ctx context.Context) error
}

// Platform runs the whole platform on the profile, in a folder of its own.
type Platform interface {
	// Orders places n orders of all kinds, waits for their ends and has the audit look at the result.
	Orders(ctx context.Context, n int, say func(string)) (OrdersReport, error)
}

// OrdersReport is the result of the order suite.
type OrdersReport struct {
	Placed, Ended, Stuck, Refused, Unexpected int
	PerSecond                                 float64
	// Broken names the invariants of the audit that do not hold, with a violation each.
	Broken []string
	// Held is how many do.
	Held int
}
