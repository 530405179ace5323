// Package sidecartest has in-memory stand-ins for what a sidecar gives, for the tests of services. They keep the
// contracts of package sidecar and nothing more.
package sidecartest

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// Store is a state store in memory.
type Store struct {
	// Fail, if set, is asked before each transaction; its error is returned instead of writing.
	Fail func(ops []sidecar.Op) error

	mu    sync.Mutex
	items map[string]sidecar.Item
	etag  int
}

// NewStore makes an empty store.
func NewStore() *Store { return &Store{items: map[string]sidecar.Item{}} }

// Get implements sidecar.Store.
func (s *Store) Get(_ context.Context, key string) (sidecar.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.items[key], nil
}

// GetBulk implements sidecar.Store.
func (s *Store) GetBulk(_ context.Context, keys []string) ([]sidecar.Item, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	items := make([]sidecar.Item, len(keys))
	for i, k := range keys {
		items[i] = s.items[k]
	}
	return items, nil
}

// Transact implements sidecar.Store.
func (s *Store) Transact(_ context.Context, ops ...sidecar.Op) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Fail != nil {
		if err := s.Fail(ops); err != nil {
			return err
		}
	}
	for _, op := range ops {
		have := s.items[op.Key]
		if op.ETag != "" && have.ETag != op.ETag || op.Create && have.Exists() {
			return sidecar.ErrConflict
		}
	}
	for _, op := range ops {
		if op.Delete {
			delete(s.items, op.Key)
			continue
		}
		s.etag++
		s.items[op.Key] = sidecar.Item{Value: append([]byte(nil), op.Value...), ETag: fmt.Sprint(s.etag)}
	}
	return nil
}

// Keys lists what is stored.
func (s *Store) Keys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := make([]string, 0, len(s.items))
	for k := range s.items {
		keys = append(keys, k)
	}
	return keys
}

// Published is one event and its topic.
type Published struct {
	Topic string
	Event cloudevent.Event
}

// Publisher records what is published.
type Publisher struct {
	// Fail, if set, is asked before each publication.
	Fail func(topic string, e cloudevent.Event) error

	mu   sync.Mutex
	sent []Published
}

// Publish implements sidecar.Publisher.
func (p *Publisher) Publish(_ context.Context, topic string, e cloudevent.Event) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Fail != nil {
		if err := p.Fail(topic, e); err != nil {
			return err
		}
	}
	p.sent = append(p.sent, Published{topic, e})
	return nil
}

// Sent lists what was published, in order.
func (p *Publisher) Sent() []Published {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Published(nil), p.sent...)
}

// Types lists the types of what was published, without their common prefix.
func (p *Publisher) Types() []string {
	var types []string
	for _, s := range p.Sent() {
		types = append(types, s.Event.Name())
	}
	return types
}

// Mesh invokes handlers in place of other apps, by app id.
type Mesh map[string]http.Handler

// Invoke implements sidecar.Invoker.
func (m Mesh) Invoke(ctx context.Context, c sidecar.Call) error {
	h, ok := m[c.App]
	if !ok {
		return problem.New(problem.Unavailable, "%s can't be reached", c.App)
	}
	client := &http.Client{Transport: transport{h}}
	return sidecar.Do(ctx, client, "http://"+c.App, c)
}

type transport struct{ h http.Handler }

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body == nil {
		r.Body = http.NoBody
	}
	w := httptest.NewRecorder()
	t.h.ServeHTTP(w, r)
	return w.Result(), r.Context().Err()
}

// Binding answers output bindings with a function.
type Binding func(ctx context.Context, name, operation string, data []byte, metadata map[string]string) (sidecar.BindingResult, error)

// InvokeBinding implements sidecar.Binding.
func (f Binding) InvokeBinding(ctx context.Context, name, operation string, data []byte, metadata map[string]string) (sidecar.BindingResult, error) {
	return f(ctx, name, operation, data, metadata)
}
