package audit

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
)

// Subscription says that an app owes it to take in the events of some types of a stream, as its inbox shows.
type Subscription struct {
	App    string // the consumer
	Stream string // such as "order"
	Types  []string
}

// stored is an event of a stream, as far as messages are concerned.
type stored struct {
	stream, id string
	seq        int
	event      cloudevent.Event
}

func (s stored) String() string {
	return fmt.Sprintf("%s/%s/%d (%s)", s.stream, s.id, s.seq, s.event.Name())
}

// slot is an outbox slot that holds publications which are not known to be done.
type slot struct {
	app, key string
	at       time.Time
	events   []string // their ids
}

// keepEvents notes the events of a history that consumers are held to. Those from before heads had trails are left
// out: then there were no inboxes either, and nobody can say what became of them.
func (f *facts) keepEvents(s Stream, h history) {
	trail := len(strings.Fields(h.trail))
	for _, e := range h.events {
		if seq := e.Seq(); seq > 0 && (trail >= cloudevent.TrailLength || seq > h.version-trail) {
			f.stored = append(f.stored, stored{s.Name, h.id, seq, e})
		}
	}
}

// readMessages reads the outbox slots of the apps that publish, and then the inboxes of those that consume: what was
// published before the slots were read must be in them.
func (f *facts) readMessages(ctx context.Context) error {
	publishers := map[string]bool{}
	for _, s := range append([]Stream{f.cfg.Streams.Order, f.cfg.Streams.Payment, f.cfg.Streams.Ticket, f.cfg.Streams.Delivery}, f.cfg.Streams.Others...) {
		publishers[s.App] = true
	}
	for _, app := range sorted(publishers) {
		if err := f.from(ctx, app, "outbox/", f.takeSlot); err != nil {
			return err
		}
	}
	inboxes, err := f.readInboxes(ctx)
	f.inboxes = inboxes
	return err
}

// readInboxes reads what every consumer has taken in, by app and <stream>/<id>.
func (f *facts) readInboxes(ctx context.Context) (map[string]map[string]inbox.State, error) {
	all := map[string]map[string]inbox.State{}
	for _, s := range f.cfg.Subscriptions {
		if all[s.App] != nil {
			continue
		}
		one := map[string]inbox.State{}
		all[s.App] = one
		if err := f.from(ctx, s.App, "inbox/", func(app, key string, value []byte) error {
			stream := strings.TrimPrefix(key, "inbox/")
			if !strings.Contains(stream, "/") {
				return nil // a person's list of notifications
			}
			var state inbox.State
			if err := json.Unmarshal(value, &state); err != nil {
				return fmt.Errorf("%s of %s is damaged: %w", key, app, err)
			}
			one[stream] = state
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// from visits the keys of an app's store. An app that never stored anything has none.
func (f *facts) from(ctx context.Context, app, prefix string, visit func(app, key string, value []byte) error) (err error) {
	snapshot, err := f.cfg.Stores.Open(ctx, app)
	if errors.Is(err, ErrNoStore) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, snapshot.Close()) }()
	return snapshot.Each(ctx, prefix, func(key string, value []byte) error { return visit(app, key, value) })
}

func (f *facts) takeSlot(app, key string, value []byte) error {
	if strings.HasSuffix(key, "/lease") {
		return nil
	}
	var entry struct {
		At      time.Time       `json:"at"`
		Effects []outbox.Effect `json:"effects"`
	}
	if err := json.Unmarshal(value, &entry); err != nil {
		return fmt.Errorf("%s of %s is damaged: %w", key, app, err)
	}
	s := slot{app: app, key: key, at: entry.At}
	for _, e := range entry.Effects {
		if e.Name != outbox.PublishEffect {
			continue
		}
		var p outbox.Publication
		if err := json.Unmarshal(e.Data, &p); err != nil {
			return fmt.Errorf("%s of %s is damaged: %w", key, app, err)
		}
		s.events = append(s.events, p.Event.ID)
		f.unpublished[p.Event.ID] = true
	}
	if len(s.events) > 0 {
		f.slots = append(f.slots, s)
	}
	return nil
}

// late reports whether a message of a time should have arrived. Right after the stores were read, even the strict
// grant what is done twice a second.
func (f *facts) late(at time.Time) bool {
	age := f.cfg.Now().Sub(at)
	return age > f.cfg.Patience || f.cfg.Strict && age > sweepTime
}

// sweepTime is how long a slot whose events are published, or an event that is being handled, may look undone.
const sweepTime = 5 * time.Second

// sequenced is invariant 5: the stored sequences have no gap and no duplicate, and what is stored was published.
func (f *facts) sequenced() Invariant {
	v := invariant(5, "event sequences have no gap and no duplicate, and every event was published", "events")
	v.Checked = f.events
	for _, gap := range f.gaps {
		v.violate("%s", gap)
	}
	// What a consumer has, its stream must have: otherwise a store has lost it, head and events together. Of a stream of which
	// there is nothing, that holds if it belongs to an order: what belongs to nothing, somebody else has published.
	for _, app := range sorted(f.known) {
		for _, stream := range sorted(f.known[app]) {
			_, id, _ := strings.Cut(stream, "/")
			if last := f.known[app][stream].Last; last > f.ends[stream] && (f.ends[stream] > 0 || f.ends[f.cfg.Streams.Order.Name+"/"+id] > 0) {
				v.violate("%s: %s took in event %d, but the stream ends at %d", stream, app, last, f.ends[stream])
			}
		}
	}
	for _, s := range f.slots {
		if f.late(s.at) {
			v.violate("%s: %s has not published %s since %s", s.key, s.app, strings.Join(s.events, ", "), s.at.Format(time.RFC3339))
		} else if f.cfg.Now().Sub(s.at) > sweepTime {
			f.pending++
		}
	}
	return v
}

// arrived is invariant 6: an event ends with each of its consumers as taken in, dead-lettered or on its way.
func (f *facts) arrived() Invariant {
	v := invariant(6, "no message vanishes: taken in, dead-lettered or on its way", "messages")
	byStream := map[string][]stored{}
	for _, e := range f.stored {
		byStream[e.stream] = append(byStream[e.stream], e)
	}
	parked := map[string]int{}
	for _, s := range f.cfg.Subscriptions {
		for _, e := range byStream[s.Stream] {
			if !slices.Contains(s.Types, e.event.Name()) {
				continue
			}
			v.Checked++
			box := f.inboxes[s.App][e.stream+"/"+e.id]
			switch {
			case slices.Contains(box.Parked, e.seq):
				parked[s.App]++
			case box.Last >= e.seq:
			case f.unpublished[e.event.ID]:
				f.pending++
			case f.late(e.event.Time):
				v.violate("%s: never took in %s of %s; its inbox ends at %d", s.App, e, e.event.Time.Format(time.RFC3339), box.Last)
			default:
				f.pending++
			}
		}
	}
	for _, app := range sorted(parked) {
		f.notes = append(f.notes, fmt.Sprintf("%s: messages with the dead letters: %d", app, parked[app]))
	}
	return v
}

// byTime sorts events as they happened.
func byTime(events []stored) {
	slices.SortStableFunc(events, func(a, b stored) int {
		return cmp.Or(a.event.Time.Compare(b.event.Time), cmp.Compare(a.seq, b.seq))
	})
}
