// Package cloudevent is the envelope of every event: CloudEvents 1.0 in its JSON format, with the extensions
// partitionkey, sequence, trail, correlationid and traceparent.
package cloudevent

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// ContentType tells the sidecar that the data is an event already, to be passed on as it is.
const ContentType = "application/cloudevents+json"

// Prefix starts the name of every topic and every event type.
const Prefix = "fooddelivery."

// Event is a CloudEvents 1.0 event whose data is JSON.
type Event struct {
	SpecVersion     string          `json:"specversion"`
	ID              string          `json:"id"` // <stream>/<aggregate>/<sequence>
	Source          string          `json:"source"`
	Type            string          `json:"type"`
	Subject         string          `json:"subject"` // the aggregate's id, also the partition key
	Time            time.Time       `json:"time"`
	DataContentType string          `json:"datacontenttype"`
	DataSchema      string          `json:"dataschema,omitempty"` // names the message and version of the data, see package contract
	Sequence        string          `json:"sequence,omitempty"`   // within the aggregate, from 1
	Trail           string          `json:"trail,omitempty"`      // what came before it in the stream, see trail.go
	CorrelationID   string          `json:"correlationid,omitempty"`
	TraceParent     string          `json:"traceparent,omitempty"`
	Data            json.RawMessage `json:"data"`
}

// Topic is the topic of an aggregate type: "order" gives "fooddelivery.order". All events of an aggregate go to
// one topic, so that a broker with partitions keeps their order.
func Topic(entity string) string { return Prefix + entity }

// Name is the event's type without the prefix that all types share: "order.placed".
func (e Event) Name() string { return strings.TrimPrefix(e.Type, Prefix) }

// Seq is the sequence as a number, 0 if it has none.
func (e Event) Seq() int {
	n, _ := strconv.Atoi(e.Sequence)
	return n
}

// Into decodes the data.
func (e Event) Into(v any) error {
	if err := json.Unmarshal(e.Data, v); err != nil {
		return fmt.Errorf("event %s of type %s: %w", e.ID, e.Type, err)
	}
	return nil
}

// Validate reports what an event lacks (CloudEvents 1.0, section 3.1, and what this platform needs beyond).
func (e Event) Validate() error {
	var errs []error
	for _, attr := range []struct{ name, value string }{{"id", e.ID}, {"source", e.Source}, {"type", e.Type}, {"subject", e.Subject}} {
		if attr.value == "" {
			errs = append(errs, fmt.Errorf("%s is missing", attr.name))
		}
	}
	if e.SpecVersion != "1.0" {
		errs = append(errs, fmt.Errorf("specversion is %q, not 1.0", e.SpecVersion))
	}
	if !strings.HasPrefix(e.Type, Prefix) {
		errs = append(errs, fmt.Errorf("type %q does not start with %s", e.Type, Prefix))
	}
	if len(e.Data) == 0 {
		errs = append(errs, errors.New("data is missing"))
	}
	return errors.Join(errs...)
}
