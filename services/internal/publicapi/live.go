package publicapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// ErrStop ends Live without an error when the function that gets the events returns it.
var ErrStop = errors.New("stop")

const (
	maxLine = 1 << 20
	// silence is how long a stream may be without a sign of life; the gateway sends a comment every 15 s.
	silence = 45 * time.Second
)

// Event is a live update.
type Event struct {
	Type       string          // such as order.accepted, without the domain
	ID         string          // of the stored event
	LastID     string          // where to resume; "" when the stream can't be resumed
	Subject    string          // the id of what it is about
	Sequence   int64           // within the subject
	Time       time.Time       // when it happened
	DataSchema string          // names the message and version of the payload, see package contract
	Data       json.RawMessage // the payload
}

// Payload decodes the payload by the contract of its owner, whichever version was written.
func (e Event) Payload(events *contract.Set) (proto.Message, error) {
	return events.Decode(cloudevent.Event{ID: e.ID, Type: cloudevent.Prefix + e.Type, DataSchema: e.DataSchema, Data: e.Data})
}

// eventDocument is the wire form; the sequence is a string as in CloudEvents, or a number.
type eventDocument struct {
	Type       string          `json:"type"`
	ID         string          `json:"id"`
	Subject    string          `json:"subject"`
	Sequence   json.RawMessage `json:"sequence"`
	Time       time.Time       `json:"time"`
	DataSchema string          `json:"dataschema"`
	Data       json.RawMessage `json:"data"`
}

type live struct {
	connected func()
	silence   time.Duration
}

// LiveOption changes a live stream.
type LiveOption func(*live)

// OnConnect is called each time the stream is open, before its first event. Streams that can't be resumed lose
// what happens while they are down: this is the moment to look.
func OnConnect(f func()) LiveOption { return func(l *live) { l.connected = f } }

// SilenceAtMost replaces the 45 s after which a stream without a sign of life is taken for dead.
func SilenceAtMost(d time.Duration) LiveOption { return func(l *live) { l.silence = d } }

// Live follows the server-sent events at path from after lastID ("": from now on) and hands them to fn, one at
// a time. A stream that breaks off is opened again, with growing, jittered pauses, from after the last event.
// Live returns when ctx is done, when fn returns an error (nil for ErrStop), or when the stream is refused for
// good, as with 403 or 404.
func (c *Client) Live(ctx context.Context, path, lastID string, fn func(Event) error, opts ...LiveOption) error {
	l := live{connected: func() {}, silence: silence}
	for _, opt := range opts {
		opt(&l)
	}
	pause := backoff{first: 100 * time.Millisecond, most: 3 * time.Second}
	for {
		began := c.now()
		err := c.stream(ctx, path, &lastID, l, fn)
		var stopped *stopError
		switch {
		case errors.As(err, &stopped):
			if errors.Is(stopped.err, ErrStop) {
				return nil
			}
			return stopped.err
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && problem.Permanent(err):
			return err
		case err == nil && c.now().Sub(began) > pause.most:
			pause.reset()
		}
		if !Sleep(ctx, pause.next()) {
			return ctx.Err()
		}
	}
}

// stopError carries the error of the function that gets the events.
type stopError struct{ err error }

// Error implements error.
func (e *stopError) Error() string { return e.err.Error() }

// stream opens the stream once and reads it to its end. A stream that was open ends without an error.
func (c *Client) stream(ctx context.Context, path string, lastID *string, l live, fn func(Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watchdog := time.AfterFunc(l.silence, cancel)
	defer watchdog.Stop()

	header := http.Header{"Accept": {"text/event-stream"}}
	if *lastID != "" {
		header.Set("Last-Event-ID", *lastID)
	}
	resp, err := c.send(ctx, http.MethodGet, path, nil, header)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	if resp.StatusCode != http.StatusOK {
		return problem.Read(resp)
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err != nil || kind != "text/event-stream" {
		return problem.New(problem.Unavailable, "GET %s: the answer is no event stream", path)
	}
	l.connected()
	err = readEvents(resp.Body, func() { watchdog.Reset(l.silence) }, func(e Event) error {
		if e.LastID != "" {
			*lastID = e.LastID
		}
		return fn(e)
	})
	var stopped *stopError
	if errors.As(err, &stopped) {
		return err
	}
	return nil // broken off: open it again
}

// readEvents reads server-sent events (WHATWG HTML, section 9.2). alive is called for every line, fn for every
// event; a comment is a line.
func readEvents(r io.Reader, alive func(), fn func(Event) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4<<10), maxLine)
	var name, id string
	var data bytes.Buffer
	for lines.Scan() {
		alive()
		line := lines.Text()
		if line == "" {
			if data.Len() > 0 {
				e, err := decodeEvent(name, id, data.Bytes())
				if err != nil {
					return &stopError{err} // it would come again
				}
				if err := fn(e); err != nil {
					return &stopError{err}
				}
			}
			name, id = "", ""
			data.Reset()
			continue
		}
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "id":
			id = value
		case "data":
			if data.Len() > 0 {
				data.WriteByte('\n')
			}
			data.WriteString(value)
		}
	}
	return lines.Err()
}

func decodeEvent(name, id string, data []byte) (Event, error) {
	var d eventDocument
	if err := json.Unmarshal(data, &d); err != nil {
		return Event{}, fmt.Errorf("live event %q: %w", name, err)
	}
	if name == "" {
		name = d.Type
	}
	sequence, _ := strconv.ParseInt(string(bytes.Trim(d.Sequence, `"`)), 10, 64) // absent where there is none
	return Event{
		Type: strings.TrimPrefix(name, "fooddelivery."), ID: d.ID, LastID: id,
		Subject: d.Subject, Sequence: sequence, Time: d.Time, DataSchema: d.DataSchema, Data: d.Data,
	}, nil
}
