package deadletter

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

const (
	// inFlight bounds the replays that run side by side.
	inFlight = 16
	// attemptTimeout bounds one replay, partTime after what time a part begins no other: together they stay below the
	// 5 s that a public request may take (components/resiliency).
	attemptTimeout, partTime = 3 * time.Second, 1200 * time.Millisecond
	// settleTimeout bounds how long the outcome of a part is tried to be written, even if nobody waits for it any more.
	settleTimeout = 10 * time.Second
	// partBytes bounds the originals of a part that are read at once.
	partBytes = 4 << 20
)

// Edit puts a changed body beside the original; a replay takes it.
func (b *Box) Edit(ctx context.Context, by, id string, body json.RawMessage) (Letter, error) {
	l, err := b.open(ctx, id)
	if err != nil {
		return Letter{}, err
	}
	if err := l.sameEvent(body); err != nil {
		return Letter{}, problem.New(problem.InvalidRequest, "1 faulty field(s)").WithFields(problem.Field{Name: "body", Reason: err.Error()})
	}
	var edited stored
	err = b.change(ctx, []string{letterKey(id), pageKey(pageOf(l.Seq))}, func(c *change) error {
		if edited, err = c.letter(id); err != nil {
			return err
		}
		if err := here(id, edited); err != nil {
			return err
		}
		page, at, err := c.find(edited.Seq, id)
		if err != nil || at < 0 {
			return errors.Join(err, notFound(id))
		}
		now := b.now().UTC()
		edited.Edit = &Edit{Body: body, By: by, At: now}
		edited.Edits++
		page.value[at], page.changed = edited.listed(), true
		return errors.Join(c.write(edited), c.record(Record{At: now, By: by, Action: ActionEdit, Operation: ids.New("dlo"), Phase: PhaseDone,
			Done: 1, Letters: []Outcome{{ID: id, Event: edited.Event}}}))
	})
	return edited.shown(), err
}

// one acts on a letter alone.
func (b *Box) one(ctx context.Context, id string, o order) (Result, error) {
	l, err := b.open(ctx, id)
	if err != nil {
		return Result{}, err
	}
	if err := b.announce(ctx, o, nil, 1, []Outcome{{ID: id, Event: l.Event}}); err != nil {
		return Result{}, err
	}
	out, _, err := b.carryOut(ctx, o, []Entry{l.Entry})
	out.Operation, out.Matched = o.operation, 1
	return out, err
}

// order is who wants what done.
type order struct {
	by, action, operation, reason string
}

// announce records that an order was given, before anything of it is done.
func (b *Box) announce(ctx context.Context, o order, f *Filter, matched int, letters []Outcome) error {
	return b.change(ctx, nil, func(c *change) error {
		return c.record(Record{At: b.now().UTC(), By: o.by, Action: o.action, Operation: o.operation, Phase: PhaseRequested,
			Reason: o.reason, Filter: f, Matched: matched, Letters: letters})
	})
}

// carryOut does a part of an order and records what came of it, even if nobody waits for it any more. left is the number
// of the first letter that the time was too short for, 0 if it came to all.
func (b *Box) carryOut(ctx context.Context, o order, entries []Entry) (out Result, left int, err error) {
	ctx = context.WithoutCancel(ctx)
	var attempts []attempt
	if o.action == ActionReplay {
		if attempts, left, err = b.replay(ctx, entries); err != nil {
			return Result{Failed: []Failure{}}, 0, err
		}
	} else {
		for _, e := range entries {
			attempts = append(attempts, attempt{entry: e})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	out, err = b.settle(ctx, o, attempts)
	return out, left, err
}

// attempt is what came of one letter.
type attempt struct {
	entry Entry
	err   error
	at    time.Time
}

// replay delivers letters once more. Those of one subject follow each other in the order in which they came; others go
// side by side.
func (b *Box) replay(ctx context.Context, entries []Entry) (done []attempt, left int, err error) {
	bySubject, err := b.lanes(ctx, entries)
	if err != nil {
		return nil, 0, err
	}
	var mu sync.Mutex
	var running sync.WaitGroup
	queue := make(chan []stored)
	until := time.Now().Add(partTime)
	for range min(inFlight, len(bySubject)) {
		running.Go(func() {
			for letters := range queue {
				for _, l := range letters {
					late := time.Now().After(until)
					var a attempt
					if !late {
						a = b.deliver(ctx, l)
					}
					mu.Lock()
					switch {
					case !late:
						done = append(done, a)
					case left == 0 || l.Seq < left:
						left = l.Seq
					}
					mu.Unlock()
				}
			}
		})
	}
	for _, letters := range bySubject {
		queue <- letters
	}
	close(queue)
	running.Wait()
	slices.SortFunc(done, func(a, b attempt) int { return a.entry.Seq - b.entry.Seq })
	return done, left, nil
}

// lanes reads letters and puts those of one subject together. Letters that somebody else has dealt with are left out.
func (b *Box) lanes(ctx context.Context, entries []Entry) ([][]stored, error) {
	keys := make([]string, len(entries))
	for i, e := range entries {
		keys[i] = letterKey(e.ID)
	}
	items, err := b.state.GetBulk(ctx, keys)
	if err != nil {
		return nil, err
	}
	var lanes [][]stored
	at := map[[2]string]int{}
	for i, item := range items {
		d, err := decode[stored](keys[i], item)
		if err != nil {
			return nil, err
		}
		l := d.value
		if l.ID == "" || l.Gone != nil {
			continue
		}
		key := [2]string{l.Topic, l.Subject}
		n, ok := at[key]
		if !ok {
			n = len(lanes)
			at[key], lanes = n, append(lanes, nil)
		}
		lanes[n] = append(lanes[n], l)
	}
	return lanes, nil
}

func (b *Box) deliver(ctx context.Context, l stored) attempt {
	body, err := l.body()
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
		defer cancel()
		_, err = b.subscriber.Redeliver(ctx, l.Topic, body) // had it been taken in before, nothing is left to do
	}
	return attempt{entry: l.Entry, err: err, at: b.now().UTC()}
}

// settle writes what came of letters, in one transaction: those that are dealt with leave the index, the others keep
// their new cause, and the trail gets a record.
func (b *Box) settle(ctx context.Context, o order, attempts []attempt) (Result, error) {
	out := Result{Failed: []Failure{}}
	if len(attempts) == 0 {
		return out, nil
	}
	var keys []string
	for _, a := range attempts {
		keys = append(keys, pageKey(pageOf(a.entry.Seq)))
		if a.err != nil {
			keys = append(keys, letterKey(a.entry.ID))
		}
	}
	slices.Sort(keys)
	var topics map[[2]string]int
	err := b.change(ctx, slices.Compact(keys), func(c *change) error {
		out.Done, out.Failed, topics = 0, []Failure{}, map[[2]string]int{}
		now := b.now().UTC()
		r := Record{At: now, By: o.by, Action: o.action, Operation: o.operation, Phase: PhaseDone, Reason: o.reason}
		for _, a := range attempts {
			page, at, err := c.find(a.entry.Seq, a.entry.ID)
			switch {
			case err != nil:
				return err
			case at < 0: // somebody else was faster: it is gone
				if a.err == nil {
					out.Done++
				}
				continue
			}
			outcome := Outcome{ID: a.entry.ID, Event: a.entry.Event}
			if a.err != nil {
				outcome.Cause = cut(a.err.Error(), listedCause)
				out.Failed = append(out.Failed, Failure(outcome))
				topics[[2]string{a.entry.Topic, "failed"}]++
				err = c.failed(page, at, a)
			} else {
				out.Done++
				topics[[2]string{a.entry.Topic, past[o.action]}]++
				err = c.end(page, at, o, now)
			}
			if err != nil {
				return err
			}
			r.Letters = append(r.Letters, outcome)
		}
		if len(r.Letters) == 0 {
			return nil
		}
		r.Done, r.Failed = len(r.Letters)-len(out.Failed), len(out.Failed)
		return c.record(r)
	})
	if err != nil {
		return Result{Failed: []Failure{}}, err
	}
	for t, n := range topics {
		b.handled.WithLabelValues(t[0], t[1]).Add(float64(n))
	}
	return out, nil
}

// end takes a letter out of the index. What remains of it tells a repetition from a new failure.
func (c *change) end(page *document[[]Entry], at int, o order, now time.Time) error {
	e := page.value[at]
	page.value, page.changed = slices.Delete(page.value, at, at+1), true
	return c.write(stored{Entry: Entry{ID: e.ID, App: e.App, Topic: e.Topic, Event: e.Event, Last: e.Last}, Gone: &gone{How: o.action, By: o.by, At: now}})
}

// failed notes a further failure of a letter.
func (c *change) failed(page *document[[]Entry], at int, a attempt) error {
	l, err := c.letter(a.entry.ID)
	if err != nil {
		return err
	}
	l.Cause, l.Attempts, l.Replays = cut(a.err.Error(), maxCause), l.Attempts+1, l.Replays+1
	if a.at.After(l.Last) {
		l.Last = a.at
	}
	page.value[at], page.changed = l.listed(), true
	return c.write(l)
}
