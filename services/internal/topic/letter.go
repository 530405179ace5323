package topic

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
)

// DeadLetterTopic is where app puts what it can't handle of topic.
func DeadLetterTopic(topic, app string) string { return topic + ".dlq." + app }

// DeadLetter is the data of an event on a dead-letter topic.
type DeadLetter struct {
	Topic    string    `json:"topic"`
	App      string    `json:"app"`
	Cause    string    `json:"cause"`
	Attempts int       `json:"attempts"`
	First    time.Time `json:"first_failure"`
	Last     time.Time `json:"last_failure"`
	Original []byte    `json:"original"`      // the bytes as they came, base64 in JSON
	Cut      int       `json:"cut,omitempty"` // how many bytes are missing at its end
}

// maxOriginal bounds the original in a dead letter, in bytes. In base64 and with the rest it stays below the 1 MiB
// that a broker takes; a dead letter that can't be written would hold up its partition for ever.
const maxOriginal = 640 << 10

// bury writes the dead letter of an event and then, if the failure was the event's own, marks its sequence as parked,
// so that the next event of its stream is no gap. In this order: killed in between, the event is delivered and
// dead-lettered again, under the same id. Without a letter the event goes back to the broker, and so it does without a
// letter when the store could not take the mark. A live event, which nobody keeps, is counted and dropped.
func (s *Subscriber) bury(ctx context.Context, d *delivery, cause error, attempts int) string {
	if d.sub.Live {
		return s.drop(d, cause)
	}
	if d.reached {
		if _, err := s.look(ctx, d); isAway(err) {
			return s.sendBack(d, cause)
		}
	}
	e, topic := d.event, d.sub.Topic
	now := time.Now().UTC()
	letter := DeadLetter{Topic: topic, App: s.app, Cause: cause.Error(), Attempts: attempts, First: d.first, Last: now, Original: d.body}
	if len(d.body) > maxOriginal {
		letter.Original, letter.Cut = d.body[:maxOriginal], len(d.body)-maxOriginal
	}
	data, err := json.Marshal(letter)
	if err == nil {
		id, subject := e.ID, e.Subject
		if id == "" {
			id = "unknown/" + strconv.FormatInt(now.UnixNano(), 36)
		}
		if subject == "" {
			subject = "unknown"
		}
		err = s.pub.Publish(ctx, DeadLetterTopic(topic, s.app), cloudevent.Event{
			SpecVersion: "1.0", ID: id + "/dead/" + s.app, Source: sourcePrefix + s.app, Type: cloudevent.Prefix + "dead-letter",
			Subject: subject, Time: now, DataContentType: "application/json", CorrelationID: e.CorrelationID, TraceParent: e.TraceParent, Data: data,
		})
	}
	if err == nil && d.reached {
		err = s.park(ctx, d)
	}
	if err != nil {
		s.log.Error("dead letter not written, the broker delivers the event again", "event", e.ID, "cause", cause, "error", err)
		s.handled.WithLabelValues(topic, "retry").Inc()
		return giveBack
	}
	s.log.Error("event dead-lettered", "event", e.ID, "topic", topic, "attempts", attempts, "cause", cause)
	s.handled.WithLabelValues(topic, "dead").Inc()
	return success
}
