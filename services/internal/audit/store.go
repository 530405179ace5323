package audit

import "context"

// Stores gives the durable state of the services, from wherever a profile keeps it. A database is added by
// implementing it.
type Stores interface {
	// Open takes a snapshot of everything that app has stored. It fails with ErrNoStore if app never stored
	// anything.
	Open(ctx context.Context, app string) (Snapshot, error)
}

// Snapshot is the state of one service at one instant.
type Snapshot interface {
	// Each visits the keys that start with prefix. Keys are those of the service, without what the runtime puts
	// before them. A key that is a prefix of others, up to a slash, comes right before them.
	Each(ctx context.Context, prefix string, visit func(key string, value []byte) error) error
	// Close ends the snapshot.
	Close() error
}
