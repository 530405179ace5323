package topic

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"mime"
	"strconv"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

const (
	// maxEvent bounds an event in bytes; a larger one is dead-lettered.
	maxEvent = 1 << 20
	// maxAhead bounds how far an event's time may lie in the future. Clocks differ by less.
	maxAhead = 24 * time.Hour
)

// delivery is one event on its way in.
type delivery struct {
	sub   Subscription
	event cloudevent.Event
	body  []byte // as it came
	first time.Time

	key     string // of the inbox; "": nothing is kept of it
	hash    string
	refusal error // why it can't be handled, though its place in the stream is clear
	inOrder bool  // all before it was taken in
	reached bool  // its turn came: if it fails now, the failure is its own
	away    bool  // what it needs to get its turn does not answer: the app's store, or the owner of the stream
}

// read makes a delivery of what came. An error says that its place in a stream can't be told, or not be believed.
func read(sub Subscription, contentType string, body []byte, now time.Time) (*delivery, error) {
	d := &delivery{sub: sub, body: body, first: now}
	err := checkContentType(contentType)
	if err == nil {
		err = json.Unmarshal(body, &d.event)
	}
	if err == nil {
		err = d.event.Validate()
	}
	if err != nil {
		if record, why := unreadable(body); why != nil {
			d.body, err = record, why
		}
		return d, malformed(err)
	}
	if len(body) > maxEvent {
		d.refusal = malformed(fmt.Errorf("the event has %d bytes, more than %d", len(body), maxEvent))
	}
	if sub.Live {
		return d, d.refusal
	}
	return d, d.place(now)
}

// unreadable takes out the record that our sidecar (components/runtime/daprd/readable) has put into an envelope because
// it is no JSON, and says why.
func unreadable(body []byte) (record []byte, why error) {
	var wrapped struct {
		Unreadable string
		Data       []byte `json:"data_base64"`
	}
	if json.Unmarshal(body, &wrapped) != nil || wrapped.Unreadable == "" {
		return nil, nil
	}
	return wrapped.Data, errors.New(wrapped.Unreadable)
}

func malformed(err error) error { return fmt.Errorf("malformed: %w", err) }

// place finds out where in which stream the event belongs, and whether it can be handled there.
func (d *delivery) place(now time.Time) error {
	e := d.event
	stream, id, _, err := e.Position()
	if err != nil {
		return malformed(err)
	}
	entity, _, _ := strings.Cut(e.Name(), ".")
	switch {
	case e.Source != d.sub.source():
		return malformed(fmt.Errorf("source %.100q does not own %s: only %s does", e.Source, d.sub.Topic, d.sub.source()))
	case stream != d.sub.StreamName():
		return malformed(fmt.Errorf("%s owns the stream %s, not %.100q", e.Source, d.sub.StreamName(), stream))
	case entity != d.sub.entity():
		return malformed(fmt.Errorf("type %.100q does not belong on %s", e.Type, d.sub.Topic))
	}
	hash, err := digest(e)
	if err != nil {
		return malformed(err)
	}
	d.key, d.hash = inboxKey(stream, id), hash
	switch kind, _, err := mime.ParseMediaType(e.DataContentType); {
	case d.refusal != nil:
	case e.DataContentType != "" && (err != nil || kind != "application/json"):
		d.refusal = malformed(fmt.Errorf("data is %.100q, not application/json", e.DataContentType))
	case e.Time.Sub(now) > maxAhead:
		d.refusal = malformed(fmt.Errorf("time %s is %s ahead of this clock, more than %s", e.Time.Format(time.RFC3339), e.Time.Sub(now).Round(time.Minute), maxAhead))
	case !d.sub.handles(e.Name()):
		d.refusal = problem.New(problem.InvalidRequest, "unknown type %s: this version of the service handles %s", e.Name(), strings.Join(d.sub.Types, ", "))
	}
	return nil
}

func checkContentType(contentType string) error {
	if contentType == "" {
		return nil
	}
	switch kind, _, err := mime.ParseMediaType(contentType); {
	case err != nil:
		return fmt.Errorf("content type %.100q: %w", contentType, err)
	case kind != cloudevent.ContentType && kind != "application/json":
		return fmt.Errorf("content type is %s, not %s", kind, cloudevent.ContentType)
	}
	return nil
}

// digest is a short hash of what an event says. It does not depend on how the JSON is written, because the sidecars
// write it anew.
func digest(e cloudevent.Event) (string, error) {
	var data any
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return "", fmt.Errorf("data: %w", err)
	}
	plain, err := json.Marshal(data)
	if err != nil {
		return "", fmt.Errorf("data: %w", err)
	}
	h := fnv.New64a()
	h.Write([]byte(e.Type))
	h.Write([]byte{0})
	h.Write(plain)
	return strconv.FormatUint(h.Sum64(), 36), nil
}
