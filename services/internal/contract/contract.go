// Package contract says what an event's payload looks like, version by version. An owner declares its events as a
// Set beside their protobuf definitions (services/<name>/<name>api/events.proto); writers encode by it and readers
// decode by it, so that a reader always gets the newest version that it knows, whichever was written.
//
// A payload travels as protobuf JSON with the field names of the definition. The attribute dataschema names its
// message; an event without one was written before there were definitions and is version 1.
package contract

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// SchemaPrefix makes the full name of a message the absolute URI that CloudEvents 1.0 wants of dataschema.
const SchemaPrefix = "proto:"

// Version is one version of a payload, and how it becomes the next one.
type Version struct {
	message func() protoreflect.MessageType   // asked for late: sets are declared before the generated types are ready
	up      func(proto.Message) proto.Message // to the next version, nil for the newest
	down    func(proto.Message) proto.Message // from the next version
}

// Newest is the version that writers build and readers get.
func Newest[M proto.Message]() Version {
	return Version{message: sync.OnceValue(func() protoreflect.MessageType {
		var m M
		return m.ProtoReflect().Type()
	})}
}

// Older is a version that the next one has replaced. up is the upcaster, for readers; down gives the older form of a
// newer payload, for writers that are told to write the older version while there still are readers of it.
func Older[Old, New proto.Message](up func(Old) New, down func(New) Old) Version {
	v := Newest[Old]()
	v.up = func(m proto.Message) proto.Message { return up(m.(Old)) }
	v.down = func(m proto.Message) proto.Message { return down(m.(New)) }
	return v
}

// Schema is the value of dataschema for the version.
func (v Version) Schema() string { return SchemaPrefix + string(v.message().Descriptor().FullName()) }

// Message is the version's protobuf message.
func (v Version) Message() protoreflect.MessageType { return v.message() }

// Event is a type of event with all versions of its payload that were ever released.
type Event struct {
	Name     string    // without the common prefix, such as order.placed
	Entity   string    // names its topic: cloudevent.Topic(Entity); "": what stands before the first dot of Name
	Versions []Version // oldest first: the first is version 1
}

// One is an event whose payload has one version.
func One[M proto.Message](name string) Event {
	return Event{Name: name, Versions: []Version{Newest[M]()}}
}

// Topic is where the event is published.
func (e Event) Topic() string {
	entity := e.Entity
	if entity == "" {
		entity, _, _ = strings.Cut(e.Name, ".")
	}
	return cloudevent.Topic(entity)
}

// check reports a declaration that can't hold.
func (e Event) check() error {
	if len(e.Versions) == 0 {
		return fmt.Errorf("event %s has no version", e.Name)
	}
	for i, v := range e.Versions {
		if newest := i == len(e.Versions)-1; newest != (v.up == nil) {
			return fmt.Errorf("event %s: version %d of %d: every version but the newest needs an upcaster", e.Name, i+1, len(e.Versions))
		}
	}
	return nil
}

// Set is the events of one owner, or of several. It is never changed.
type Set struct {
	events map[string]Event
	write  map[string]int // index of the version to write, where it is not the newest
}

// Must makes a Set of declarations. It panics on a faulty one: declarations are fixed in the code.
func Must(events ...Event) *Set {
	s := &Set{events: make(map[string]Event, len(events))}
	for _, e := range events {
		if err := e.check(); err != nil {
			panic(err)
		}
		if _, ok := s.events[e.Name]; ok {
			panic(fmt.Errorf("event %s is declared twice", e.Name))
		}
		s.events[e.Name] = e
	}
	return s
}

// Union is the events of several owners, for who reads them all.
func Union(sets ...*Set) *Set {
	var all []Event
	for _, s := range sets {
		all = append(all, s.Events()...)
	}
	return Must(all...)
}

// Events lists the events by name.
func (s *Set) Events() []Event {
	all := make([]Event, 0, len(s.events))
	for _, name := range slices.Sorted(maps.Keys(s.events)) {
		all = append(all, s.events[name])
	}
	return all
}

// Knows tells whether an event is in the Set, in whatever version.
func (s *Set) Knows(name string) bool {
	_, ok := s.events[name]
	return ok
}

// Writing gives a Set that writes older versions of some events, as spec says: "order.delivered=1", several parted by
// commas. It is for the time in which readers of the older version are still about.
func (s *Set) Writing(spec string) (*Set, error) {
	out := &Set{events: s.events, write: map[string]int{}}
	var errs []error
	for part := range strings.SplitSeq(spec, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		name, version, _ := strings.Cut(part, "=")
		e, ok := s.events[name]
		if !ok {
			errs = append(errs, fmt.Errorf("%q: there is no event %q here, only %s", part, name, strings.Join(slices.Sorted(maps.Keys(s.events)), ", ")))
			continue
		}
		n, err := strconv.Atoi(version)
		if err != nil || n < 1 || n > len(e.Versions) {
			errs = append(errs, fmt.Errorf("%q: %s has versions 1 to %d, so say %s=%d", part, name, len(e.Versions), name, len(e.Versions)))
			continue
		}
		out.write[name] = n - 1
	}
	return out, errors.Join(errs...)
}

var marshal = protojson.MarshalOptions{UseProtoNames: true}

// Encode gives dataschema and data for an event. m is the payload in its newest version.
func (s *Set) Encode(name string, m proto.Message) (schema string, data []byte, err error) {
	e, ok := s.events[name]
	if !ok {
		return "", nil, fmt.Errorf("event %s is in no contract", name)
	}
	i := len(e.Versions) - 1
	if m == nil || m.ProtoReflect().Descriptor() != e.Versions[i].message().Descriptor() {
		return "", nil, fmt.Errorf("event %s takes a %s, not a %T", name, e.Versions[i].message().Descriptor().FullName(), m)
	}
	to, ok := s.write[name]
	for ok && i > to {
		i--
		m = e.Versions[i].down(m)
	}
	if data, err = marshal.Marshal(m); err != nil {
		return "", nil, fmt.Errorf("event %s: %w", name, err)
	}
	return e.Versions[i].Schema(), data, nil
}

var unmarshal = protojson.UnmarshalOptions{DiscardUnknown: true}

// Decode gives the payload of an event in the newest version that is known here. A version that is not known, and
// data that are not of their version, are problems that no repetition mends: a subscriber parks such an event.
func (s *Set) Decode(e cloudevent.Event) (proto.Message, error) {
	known, i, err := s.version(e)
	if err != nil {
		return nil, err
	}
	m := known.Versions[i].message().New().Interface()
	if err := read(e, m); err != nil {
		return nil, err
	}
	return upcast(known, i, m), nil
}

// Into decodes the payload into m, which is of the newest version. Fields of m that the payload lacks are reset.
func (s *Set) Into(e cloudevent.Event, m proto.Message) error {
	known, i, err := s.version(e)
	if err != nil {
		return err
	}
	newest := known.Versions[len(known.Versions)-1]
	if m.ProtoReflect().Descriptor() != newest.message().Descriptor() {
		return fmt.Errorf("event %s is read as %s, not as %T", e.Name(), newest.message().Descriptor().FullName(), m)
	}
	if i == len(known.Versions)-1 {
		return read(e, m)
	}
	old := known.Versions[i].message().New().Interface()
	if err := read(e, old); err != nil {
		return err
	}
	proto.Reset(m)
	proto.Merge(m, upcast(known, i, old))
	return nil
}

// version finds the version in which an event was written.
func (s *Set) version(e cloudevent.Event) (Event, int, error) {
	known, ok := s.events[e.Name()]
	if !ok {
		return known, 0, problem.New(problem.UnknownVersion, "event %s is of type %s, which is not known here", e.ID, e.Type)
	}
	if e.DataSchema == "" {
		return known, 0, nil
	}
	for i, v := range known.Versions {
		if v.Schema() == e.DataSchema {
			return known, i, nil
		}
	}
	return known, 0, problem.New(problem.UnknownVersion, "event %s has the schema %s; known here are the versions of %s up to %s",
		e.ID, e.DataSchema, e.Type, known.Versions[len(known.Versions)-1].Schema())
}

func read(e cloudevent.Event, m proto.Message) error {
	if err := unmarshal.Unmarshal(e.Data, m); err != nil {
		return problem.Wrap(err, problem.MalformedJSON, "the data of event %s are no %s", e.ID, m.ProtoReflect().Descriptor().FullName())
	}
	return nil
}

func upcast(e Event, from int, m proto.Message) proto.Message {
	for _, v := range e.Versions[from : len(e.Versions)-1] {
		m = v.up(m)
	}
	return m
}
