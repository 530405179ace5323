package audit

import (
	"context"
	"fmt"
)

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

// ByApp picks for each app the stores that hold its state, where a profile keeps not all in one place.
type ByApp map[string]Stores

// Open implements Stores.
func (b ByApp) Open(ctx context.Context, app string) (Snapshot, error) {
	stores, ok := b[app]
	if !ok {
		return nil, fmt.Errorf("the profile has no store of %s", app)
	}
	return stores.Open(ctx, app)
}
