package topic

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
)

// catchUp takes in what is missing between the inbox and the event, in order. It reports whether it did anything, so
// that the inbox must be read again. The trail tells whether something is missing; when it doesn't reach back far
// enough, the owner of the stream is asked.
func (s *Subscriber) catchUp(ctx context.Context, d *delivery, entry inbox.Entry) (bool, error) {
	if d.inOrder {
		return false, nil
	}
	if owes, known := d.event.Owes(d.sub.Types, entry.Last); !owes && known {
		return false, nil
	}
	for after, seq := entry.Last, d.event.Seq(); after < seq; {
		page, err := s.ask(ctx, d, after)
		if err != nil {
			d.away = isAway(err)
			return false, err
		}
		if page.Version < seq {
			return false, problem.New(problem.Unavailable, "sequence %d is ahead of its stream: %s holds %d events of %s",
				seq, d.event.Source, page.Version, d.event.Subject)
		}
		for _, e := range page.Events {
			if after = e.Seq(); after > seq {
				break
			}
			if err := s.missed(ctx, d, e); err != nil {
				return false, err
			}
		}
	}
	d.inOrder = true
	return true, nil
}

// missed takes in an event that its owner told of: one from before d, or d itself.
func (s *Subscriber) missed(ctx context.Context, d *delivery, e cloudevent.Event) error {
	if e.Seq() == d.event.Seq() {
		hash, err := digest(e)
		if err != nil || hash != d.hash {
			return problem.New(problem.InvalidRequest, "event %s is not what %s holds under that id", d.event.ID, d.event.Source)
		}
		return nil
	}
	if !d.sub.handles(e.Name()) {
		return nil
	}
	body, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("event %s: %w", e.ID, err)
	}
	m, err := read(d.sub, cloudevent.ContentType, body, time.Now().UTC())
	if err != nil {
		return fmt.Errorf("event %s, which %s told of: %w", e.ID, d.event.Source, err)
	}
	m.inOrder = true
	s.fetched.WithLabelValues(d.sub.Topic).Inc()
	s.log.Info("event was missing, fetched from its owner", "event", e.ID, "type", e.Type)
	if s.insist(ctx, m) != success {
		return errGiveBack
	}
	return nil
}

// ask fetches a page of the event's stream from the app that owns it.
func (s *Subscriber) ask(ctx context.Context, d *delivery, after int) (eventstore.Page, error) {
	stream, id, _, err := d.event.Position()
	if err != nil {
		return eventstore.Page{}, malformed(err)
	}
	limit := min(d.event.Seq()-after, 100)
	path := eventstore.Path(stream, id) + "?after=" + strconv.Itoa(after) + "&limit=" + strconv.Itoa(limit)
	var page eventstore.Page
	err = s.owners.Invoke(ctx, sidecar.Call{App: d.sub.entity(), Method: http.MethodGet, Path: path, Out: &page})
	switch {
	case err != nil && problem.Of(err) == problem.NotFound:
		return page, problem.New(problem.NotFound, "%s does not own a stream %s/%s", d.event.Source, stream, id)
	case err != nil:
		return page, fmt.Errorf("what comes before event %s can't be fetched: %w", d.event.ID, err)
	case page.Version > after && len(page.Events) == 0:
		return page, errors.New("the owner of the stream answered with nothing")
	}
	return page, nil
}
