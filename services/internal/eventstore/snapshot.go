package eventstore

import "context"

// Snapshot is an aggregate as it was read: something slow can be done about it, such as a call to the outside
// world, before Append writes what came of that.
type Snapshot[S any] struct {
	ID   string
	head head[S]
	etag string
}

// State is the aggregate's state, the zero state if there is none yet.
func (s Snapshot[S]) State() S { return s.head.State }

// Version is the sequence of the last event, 0 if there is none yet.
func (s Snapshot[S]) Version() int { return s.head.Version }

// Snapshot reads an aggregate to be written later. No lock is held in between.
func (s *Store[S]) Snapshot(ctx context.Context, id string) (Snapshot[S], error) {
	h, etag, err := s.load(ctx, id)
	return Snapshot[S]{ID: id, head: h, etag: etag}, err
}

// Append writes a change on top of a snapshot in one transaction, without reading again. It returns
// sidecar.ErrConflict, and has written nothing, if somebody wrote since the snapshot was taken.
func (s *Store[S]) Append(ctx context.Context, on Snapshot[S], c Change) (Snapshot[S], error) {
	h, err := s.append(ctx, on.ID, on.head, on.etag, c)
	if err != nil {
		return on, err
	}
	return Snapshot[S]{ID: on.ID, head: h}, nil // its ETag is the store's secret until it is read again
}
