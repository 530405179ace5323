package topic

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

func inboxKey(stream, id string) string { return inbox.Key(stream, id) }

// The outcomes of taking an event in, as they are counted.
const (
	outcomeOK        = "ok"
	outcomeDuplicate = "duplicate"
)

// rounds bounds how often an attempt starts over because another replica took an event of the stream in meanwhile.
const rounds = 8

// take handles an event in its place: after all that it owes to those before it, and not again. fresh says that it may
// well be the first of its stream: then the inbox is taken to be empty instead of being read, where the trail says so.
// The transaction fails if that is wrong.
func (s *Subscriber) take(ctx context.Context, d *delivery, fresh bool) (string, error) {
	if d.key == "" || s.store == nil {
		return outcomeOK, s.perform(ctx, d)
	}
	seq := d.event.Seq()
	for round := 1; ; round++ {
		entry := inbox.Assume(d.key)
		if owes, known := d.event.Owes(d.sub.Types, 0); round > 1 || !fresh || d.inOrder || owes || !known {
			var err error
			if entry, err = s.look(ctx, d); err != nil {
				d.away = isAway(err)
				return "", err
			}
		}
		switch {
		case seq == entry.Last && !entry.IsParked(seq) && entry.Hash != "" && entry.Hash != d.hash:
			return "", problem.New(problem.InvalidRequest, "event %s was taken in with another content before", d.event.ID)
		case seq < entry.Last && !entry.IsParked(seq) && !d.sub.handles(d.event.Name()):
			return "", d.refusal // those after it came first and passed it over; a repetition adds to the same letter
		case seq <= entry.Last: // or it is with the dead letters
			return outcomeDuplicate, nil
		}
		gone, err := s.catchUp(ctx, d, entry)
		if err != nil {
			return "", err
		}
		if gone {
			continue // what was missing was taken in, so look again
		}
		err = s.effect(ctx, d, entry.Take(seq, d.hash))
		if err == nil {
			return outcomeOK, nil
		}
		if !errors.Is(err, inbox.ErrTaken) || round == rounds {
			return "", err
		}
		d.reached = false
	}
}

// effect has the event handled and its receipt written, with the handler's transaction or alone.
func (s *Subscriber) effect(ctx context.Context, d *delivery, receipt *inbox.Receipt) error {
	d.reached = true
	if err := s.perform(inbox.With(ctx, receipt), d); err != nil {
		return err
	}
	if receipt.Done() {
		return nil
	}
	return s.record(ctx, receipt, d.event.Time)
}

func (s *Subscriber) perform(ctx context.Context, d *delivery) error {
	if d.refusal != nil {
		return d.refusal
	}
	return s.attempt(ctx, d.sub.Handler, d.event)
}

// park marks the event as one that is with the dead letters.
func (s *Subscriber) park(ctx context.Context, d *delivery) error {
	for round := 1; ; round++ {
		entry, err := s.look(ctx, d)
		if err != nil {
			return err
		}
		if d.event.Seq() <= entry.Last {
			return nil // somebody else took it in or parked it
		}
		err = s.record(ctx, entry.Park(d.event.Seq(), d.hash), d.event.Time)
		if err == nil || !errors.Is(err, inbox.ErrTaken) || round == rounds {
			return err
		}
	}
}

const (
	// maxTogether bounds how many inboxes are read or written at once.
	maxTogether = 32
	// storeTimeout bounds one such read or transaction.
	storeTimeout = 5 * time.Second
)

// reading asks for one inbox.
type reading struct {
	key   string
	entry inbox.Entry
}

// look reads the event's inbox, together with those that others ask for while the read before is on its way.
func (s *Subscriber) look(ctx context.Context, d *delivery) (inbox.Entry, error) {
	r := &reading{key: d.key}
	if err := s.reads.Do(ctx, r, d.event.Time); err != nil {
		return inbox.Entry{}, err
	}
	return r.entry, nil
}

func (s *Subscriber) readTogether(all []*reading) []error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	keys := make([]string, len(all))
	for i, r := range all {
		keys[i] = r.key
	}
	errs := make([]error, len(all))
	entries, err := inbox.ReadMany(ctx, s.store, keys)
	var damaged *json.SyntaxError
	for i, r := range all {
		switch {
		case err == nil:
			r.entry = entries[i]
		case len(all) > 1 && errors.As(err, &damaged): // not the fault of the others
			errs[i] = s.readTogether(all[i : i+1])[0]
		default:
			errs[i] = err
		}
	}
	return errs
}

// record writes a receipt by itself: nothing else was to be written. ErrTaken says that it can't be.
func (s *Subscriber) record(ctx context.Context, r *inbox.Receipt, at time.Time) error {
	return s.records.Do(ctx, r, at)
}

func (s *Subscriber) recordTogether(all []*inbox.Receipt) []error {
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	errs := make([]error, len(all))
	ops := make([]sidecar.Op, 0, len(all))
	for i, r := range all {
		op, pending, err := r.Op()
		if errs[i] = err; pending {
			ops = append(ops, op)
		}
	}
	if len(ops) == 0 {
		return errs
	}
	err := s.store.Transact(ctx, ops...)
	for i, r := range all {
		switch {
		case errs[i] != nil:
		case err == nil:
			r.Written()
		case errors.Is(err, sidecar.ErrConflict) && len(all) > 1:
			errs[i] = s.recordTogether(all[i : i+1])[0]
		case errors.Is(err, sidecar.ErrConflict):
			errs[i] = inbox.ErrTaken
		default:
			errs[i] = err
		}
	}
	return errs
}
