// Package eventstore keeps aggregates as streams of events on the Dapr state API: one key per event, a head key
// with the version and the state at that version, one transaction per append that also writes the outbox slot.
// The head makes every load one read; the events are the audit trail, from which any version can be rebuilt.
package eventstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// Options describe a kind of aggregate.
type Options[S any] struct {
	Name   string        // of the stream, such as "order"; keys start with it
	Source string        // of the events, such as "dishmesh/order"
	Topic  string        // where events go; "": nowhere
	Events *contract.Set // what the payloads are, and in which version they are written
	// Apply gives the state after an event. It must be pure: the same events give the same state, always.
	Apply func(s S, e cloudevent.Event) (S, error)
}

// Event is an event to be appended: its type (without the common prefix) and its payload, in the newest version.
type Event struct {
	Type  string
	Data  proto.Message
	Topic string // instead of the stream's; "": the stream's
}

// Change is what a decision comes to: events to append, and effects and further writes in the same transaction.
// Effects are done after the events are published.
type Change struct {
	Events      []Event
	Effects     []outbox.Effect
	Ops         []sidecar.Op
	Correlation string // correlationid of the events; "": the aggregate's id
}

// Store keeps the aggregates of one kind.
type Store[S any] struct {
	state  sidecar.Store
	outbox *outbox.Outbox
	opt    Options[S]
	locks  [64]sync.Mutex
}

// New makes a store.
func New[S any](state sidecar.Store, ob *outbox.Outbox, opt Options[S]) *Store[S] {
	return &Store[S]{state: state, outbox: ob, opt: opt}
}

type head[S any] struct {
	Version int       `json:"version"`
	At      time.Time `json:"at"`
	State   S         `json:"state"`
	Trail   string    `json:"trail,omitempty"` // of the next event; a head from before there were trails has none
}

func (s *Store[S]) headKey(id string) string { return s.opt.Name + "/" + id }
func (s *Store[S]) eventKey(id string, seq int) string {
	return s.opt.Name + "/" + id + "/" + fmt.Sprintf("%06d", seq)
}

// Load gives the state and version of an aggregate; version 0 and the zero state if there is none.
func (s *Store[S]) Load(ctx context.Context, id string) (S, int, error) {
	h, _, err := s.load(ctx, id)
	return h.State, h.Version, err
}

func (s *Store[S]) load(ctx context.Context, id string) (head[S], string, error) {
	var h head[S]
	item, err := s.state.Get(ctx, s.headKey(id))
	if err != nil || !item.Exists() {
		return h, "", err
	}
	if err := json.Unmarshal(item.Value, &h); err != nil {
		return h, "", fmt.Errorf("%s %s: head: %w", s.opt.Name, id, err)
	}
	return h, item.ETag, nil
}

// attempts bounds the tries of an Update against other writers.
const attempts = 8

// Update loads an aggregate, lets decide say what follows from its state, and appends that; it starts over when
// somebody else wrote in between. A Change without events and ops writes nothing. It returns the state after.
// decide may run several times and must have no side effects.
func (s *Store[S]) Update(ctx context.Context, id string, decide func(state S, version int) (Change, error)) (S, int, error) {
	lock := &s.locks[stripe(id, len(s.locks))] // writers of this process take turns instead of conflicting
	lock.Lock()
	defer lock.Unlock()
	for try := 1; ; try++ {
		h, etag, err := s.load(ctx, id)
		if err != nil {
			return h.State, 0, err
		}
		change, err := decide(h.State, h.Version)
		if err != nil {
			return h.State, h.Version, err
		}
		if len(change.Events) == 0 && len(change.Ops) == 0 && len(change.Effects) == 0 {
			return h.State, h.Version, nil
		}
		next, err := s.append(ctx, id, h, etag, change)
		if err == nil {
			return next.State, next.Version, nil
		}
		if !errors.Is(err, sidecar.ErrConflict) || errors.Is(err, inbox.ErrTaken) {
			return h.State, h.Version, err
		}
		if try == attempts {
			return h.State, h.Version, problem.Wrap(err, problem.WriteConflict, "%s %s is being written by others", s.opt.Name, id).After(time.Second)
		}
		select {
		case <-ctx.Done():
			return h.State, h.Version, ctx.Err()
		case <-time.After(time.Duration(rand.IntN(10*try)+1) * time.Millisecond):
		}
	}
}

func (s *Store[S]) append(ctx context.Context, id string, h head[S], etag string, c Change) (head[S], error) {
	now := time.Now().UTC()
	ops := make([]sidecar.Op, 0, len(c.Events)+len(c.Ops)+2)
	effects := make([]outbox.Effect, 0, len(c.Events)+len(c.Effects))
	correlationID := c.Correlation
	if correlationID == "" {
		correlationID = id
	}
	for _, e := range c.Events {
		schema, data, err := s.opt.Events.Encode(e.Type, e.Data)
		if err != nil {
			return h, fmt.Errorf("%s %s: event %s: %w", s.opt.Name, id, e.Type, err)
		}
		h.Version++
		ev := cloudevent.Event{
			SpecVersion: "1.0", ID: s.opt.Name + "/" + id + "/" + strconv.Itoa(h.Version), Source: s.opt.Source,
			Type: cloudevent.Prefix + e.Type, Subject: id, Time: now, DataContentType: "application/json", DataSchema: schema,
			Sequence: strconv.Itoa(h.Version), Trail: h.Trail, CorrelationID: correlationID,
			TraceParent: correlation.From(ctx).TraceParent, Data: data,
		}
		if h.State, err = s.opt.Apply(h.State, ev); err != nil {
			return h, fmt.Errorf("%s %s: apply %s: %w", s.opt.Name, id, e.Type, err)
		}
		value, err := json.Marshal(ev)
		if err != nil {
			return h, fmt.Errorf("%s %s: event %s: %w", s.opt.Name, id, e.Type, err)
		}
		ops = append(ops, sidecar.Op{Key: s.eventKey(id, h.Version), Value: value})
		topic := e.Topic
		if topic == "" {
			topic = s.opt.Topic
		}
		action := cloudevent.Action(e.Type)
		if topic == "" || topic != s.opt.Topic {
			action = cloudevent.Elsewhere
		}
		h.Trail = cloudevent.ExtendTrail(h.Trail, action)
		if topic != "" {
			effect, err := outbox.Publish(topic, ev)
			if err != nil {
				return h, err
			}
			effects = append(effects, effect)
		}
	}
	h.At = now
	value, err := json.Marshal(h)
	if err != nil {
		return h, fmt.Errorf("%s %s: head: %w", s.opt.Name, id, err)
	}
	if len(c.Events) > 0 || etag != "" {
		// Without events only the ETag is checked and moved: the decision still holds at the commit.
		ops = append(ops, sidecar.Op{Key: s.headKey(id), Value: value, ETag: etag, Create: etag == ""})
	}
	ops = append(ops, c.Ops...)
	return h, s.outbox.Commit(ctx, id, append(effects, c.Effects...), ops...)
}

// History gives the events after a version, in order.
func (s *Store[S]) History(ctx context.Context, id string, after int) ([]cloudevent.Event, error) {
	events, _, err := s.history(ctx, id, after, math.MaxInt)
	return events, err
}

// history gives at most limit events after a version, and the version that the aggregate has.
func (s *Store[S]) history(ctx context.Context, id string, after, limit int) ([]cloudevent.Event, int, error) {
	_, version, err := s.Load(ctx, id)
	if err != nil || version <= after {
		return nil, version, err
	}
	n := min(limit, version-after)
	keys := make([]string, n)
	for i := range keys {
		keys[i] = s.eventKey(id, after+1+i)
	}
	items, err := s.state.GetBulk(ctx, keys)
	if err != nil {
		return nil, version, err
	}
	events := make([]cloudevent.Event, len(items))
	for i, item := range items {
		if !item.Exists() {
			return nil, version, fmt.Errorf("%s %s: event %d is missing", s.opt.Name, id, after+1+i)
		}
		if err := json.Unmarshal(item.Value, &events[i]); err != nil {
			return nil, version, fmt.Errorf("%s %s: event %d: %w", s.opt.Name, id, after+1+i, err)
		}
	}
	return events, version, nil
}

// At rebuilds the state at a version from the events alone.
func (s *Store[S]) At(ctx context.Context, id string, version int) (S, error) {
	var state S
	events, err := s.History(ctx, id, 0)
	if err != nil {
		return state, err
	}
	if version < 1 || version > len(events) {
		return state, problem.New(problem.NotFound, "%s %s has versions 1 to %d", s.opt.Name, id, len(events))
	}
	for _, e := range events[:version] {
		if state, err = s.opt.Apply(state, e); err != nil {
			return state, fmt.Errorf("%s %s: apply %s: %w", s.opt.Name, id, e.ID, err)
		}
	}
	return state, nil
}

func stripe(id string, n int) int {
	h := fnv.New32a()
	h.Write([]byte(id))
	return int(h.Sum32() % uint32(n))
}
