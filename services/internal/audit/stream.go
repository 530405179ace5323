package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
)

// Stream is a kind of aggregate that is stored as package eventstore does: a head at <name>/<id>, and events at
// <name>/<id>/<six digits>.
type Stream struct {
	App  string // whose store it is in
	Name string
	// Replay gives the state that follows from events, which must be the head's. Nil: heads are not compared.
	Replay func([]cloudevent.Event) (any, error)

	since time.Time // aggregates that have not changed since are left out
}

// history is one aggregate as it is stored.
type history struct {
	id      string
	hasHead bool
	old     bool // nothing happened to it since: no more than its version is known
	version int
	at      time.Time
	trail   string
	state   json.RawMessage
	events  []cloudevent.Event
}

type storedHead struct {
	Version int             `json:"version"`
	At      time.Time       `json:"at"`
	State   json.RawMessage `json:"state"`
	Trail   string          `json:"trail"`
}

// each visits the histories of a stream one by one. A value that can't be read is an error: nothing can be said
// about a store that is damaged.
func (s Stream) each(ctx context.Context, from Snapshot, visit func(history) error) error {
	var current *history
	left := "" // id that is left out
	flush := func() error {
		if current == nil {
			return nil
		}
		return visit(*current)
	}
	err := from.Each(ctx, s.Name+"/", func(key string, value []byte) error {
		id, seq, isEvent := split(strings.TrimPrefix(key, s.Name+"/"))
		if isEvent && id == left {
			return nil
		}
		if current == nil || current.id != id {
			if err := flush(); err != nil {
				return err
			}
			current = &history{id: id}
		}
		if !isEvent {
			var h storedHead
			if err := json.Unmarshal(value, &h); err != nil {
				return fmt.Errorf("%s: the head is damaged: %w", key, err)
			}
			if h.At.Before(s.since) {
				left, current = id, nil
				return visit(history{id: id, old: true, version: h.Version})
			}
			current.hasHead, current.version, current.at, current.state, current.trail = true, h.Version, h.At, h.State, h.Trail
			return nil
		}
		var e cloudevent.Event
		if err := json.Unmarshal(value, &e); err != nil {
			return fmt.Errorf("%s: the event is damaged: %w", key, err)
		}
		if e.Seq() != seq {
			e.Sequence = strconv.Itoa(-seq) // told by check
		}
		current.events = append(current.events, e)
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}

// split takes a key apart: <id> or <id>/<six digits>.
func split(rest string) (id string, seq int, isEvent bool) {
	i := strings.LastIndexByte(rest, '/')
	if i < 0 || len(rest)-i-1 < 6 {
		return rest, 0, false
	}
	n, err := strconv.Atoi(rest[i+1:])
	if err != nil {
		return rest, 0, false
	}
	return rest[:i], n, true
}

// gaps lists what is wrong with the sequence of a history: invariant 5.
func (s Stream) gaps(h history) []string {
	var faults []string
	say := func(format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s/%s: ", s.Name, h.id)+fmt.Sprintf(format, args...))
	}
	if !h.hasHead {
		say("%d events, but no head", len(h.events))
	}
	next := 1
	for _, e := range h.events {
		switch seq := e.Seq(); {
		case seq < 0:
			say("the event at %06d says another sequence", -seq)
			next = -seq + 1
			continue
		case seq > next+1:
			say("events %d to %d are missing", next, seq-1)
		case seq == next+1:
			say("event %d is missing", next)
		}
		next = e.Seq() + 1
		if want := s.Name + "/" + h.id + "/" + e.Sequence; e.ID != want {
			say("event %s has the id %s", e.Sequence, e.ID)
		}
		if e.Subject != h.id {
			say("event %s is about %s", e.Sequence, e.Subject)
		}
	}
	if h.hasHead && h.version != next-1 {
		say("the head has version %d, the last event is %d", h.version, next-1)
	}
	return faults
}

// replayed reports whether the events give the head: part of invariant 3.
func (s Stream) replayed(h history) error {
	if s.Replay == nil || !h.hasHead {
		return nil
	}
	state, err := s.Replay(h.events)
	if err != nil {
		return fmt.Errorf("%s/%s: the events can't be replayed: %w", s.Name, h.id, err)
	}
	replayed, err := json.Marshal(state)
	if err != nil {
		return fmt.Errorf("%s/%s: %w", s.Name, h.id, err)
	}
	if path := difference("", plain(h.state), plain(replayed)); path != "" {
		return fmt.Errorf("%s/%s: the head differs from its events at %s", s.Name, h.id, path)
	}
	return nil
}

// plain decodes JSON without what means nothing: nulls, and empty lists and objects.
func plain(raw []byte) any {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return string(raw)
	}
	return prune(v)
}

func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, e := range v {
			if e = prune(e); e == nil {
				delete(v, k)
			} else {
				v[k] = e
			}
		}
		if len(v) == 0 {
			return nil
		}
		return v
	case []any:
		if len(v) == 0 {
			return nil
		}
		for i := range v {
			v[i] = prune(v[i])
		}
		return v
	default:
		return v
	}
}

// difference is the path at which two plain values first differ, "" if they don't.
func difference(path string, a, b any) string {
	ma, aok := a.(map[string]any)
	mb, bok := b.(map[string]any)
	if aok && bok {
		for k := range mb {
			if _, ok := ma[k]; !ok {
				return path + "." + k
			}
		}
		for k := range ma {
			if d := difference(path+"."+k, ma[k], mb[k]); d != "" {
				return d
			}
		}
		return ""
	}
	if reflect.DeepEqual(a, b) {
		return ""
	}
	if path == "" {
		return "its root"
	}
	return path
}
