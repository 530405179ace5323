package deadletter

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/correlation"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

const (
	// maxOriginal bounds the kept original in bytes, so that a letter fits into one call to the sidecar.
	maxOriginal = 640 << 10
	// maxCause bounds a kept cause in bytes, listedCause the one in the index.
	maxCause, listedCause = 8 << 10, 300
	// maxName bounds the attributes of the event that the index repeats, in bytes.
	maxName = 200
	// goneFor is how long it is remembered that a letter was dealt with, so that a repetition by the broker does not
	// bring it back.
	goneFor = 30 * 24 * time.Hour
)

// stored is a letter as it is kept. A letter that was dealt with leaves only what tells a repetition of it from a new
// failure of the same event.
type stored struct {
	Entry
	CorrelationID string `json:"correlation_id,omitempty"`
	TraceParent   string `json:"traceparent,omitempty"`
	Original      []byte `json:"original,omitempty"`
	Cut           int    `json:"cut,omitempty"`
	Edit          *Edit  `json:"edit,omitempty"`
	Gone          *gone  `json:"gone,omitempty"`
}

// gone is the end of a letter.
type gone struct {
	How string    `json:"how"` // ActionReplay or ActionDrop
	By  string    `json:"by"`
	At  time.Time `json:"at"`
}

// body is what a replay delivers.
func (l stored) body() ([]byte, error) {
	switch {
	case l.Edit != nil:
		return l.Edit.Body, nil
	case l.Cut > 0:
		return nil, fmt.Errorf("the last %d bytes of the original were not kept: edit the letter first", l.Cut)
	}
	return l.Original, nil
}

// listed is the entry that goes into the index.
func (l stored) listed() Entry {
	e := l.Entry
	e.Cause = cut(e.Cause, listedCause)
	return e
}

func (l stored) shown() Letter {
	out := Letter{Entry: l.Entry, CorrelationID: l.CorrelationID, TraceID: correlation.TraceID(l.TraceParent), Cut: l.Cut, Edit: l.Edit}
	if utf8.Valid(l.Original) {
		out.Original = string(l.Original)
	} else {
		out.OriginalBase64 = l.Original
	}
	return out
}

// cut shortens a text to at most n bytes.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[:n-len("…")]
	for len(s) > 0 && !utf8.ValidString(s[max(0, len(s)-utf8.UTFMax):]) {
		s = s[:len(s)-1]
	}
	return s + "…"
}

// opened takes a delivery apart: the sidecar wraps what is on a dead-letter topic, whatever it is, as base64 (rawPayload
// in components/subscriptions).
func opened(body []byte) []byte {
	var wrapped struct {
		Data *string `json:"data_base64"`
	}
	if json.Unmarshal(body, &wrapped) != nil || wrapped.Data == nil {
		return body
	}
	raw, err := base64.StdEncoding.DecodeString(*wrapped.Data)
	if err != nil {
		return body
	}
	return raw
}

// read makes a letter of what came on the dead-letter topic of t. It never fails: what is no dead letter is one now, so
// that nothing on such a topic can hold it up or come round again.
func (b *Box) read(t string, raw []byte) stored {
	var e cloudevent.Event
	var d topic.DeadLetter
	err := json.Unmarshal(raw, &e)
	if err == nil {
		err = e.Into(&d)
	}
	if err == nil && len(d.Original) == 0 && d.Cause == "" {
		err = errors.New("it has neither a cause nor an original")
	}
	now := b.now().UTC()
	if err != nil {
		d = topic.DeadLetter{Cause: "no dead letter, but something else on its topic: " + err.Error(), Attempts: 1, First: now, Last: now, Original: raw}
		e = cloudevent.Event{}
	}
	l := stored{Original: d.Original, Cut: d.Cut, CorrelationID: cut(e.CorrelationID, maxName), TraceParent: e.TraceParent}
	l.Entry = Entry{App: b.app, Topic: t, Cause: cut(strings.ToValidUTF8(d.Cause, "\uFFFD"), maxCause), Attempts: max(1, d.Attempts), First: d.First.UTC(), Last: d.Last.UTC()}
	if l.Last.IsZero() || l.Last.After(now) {
		l.Last = now
	}
	if l.First.IsZero() || l.First.After(l.Last) {
		l.First = l.Last
	}
	if extra := len(l.Original) - maxOriginal; extra > 0 {
		l.Original, l.Cut = l.Original[:maxOriginal], l.Cut+extra
	}
	l.Size = len(l.Original)
	var original cloudevent.Event
	if json.Unmarshal(l.Original, &original) != nil {
		id, _ := strings.CutSuffix(e.ID, "/dead/"+b.app) // the envelope knows what can't be read
		if original = (cloudevent.Event{Subject: e.Subject}); !strings.HasPrefix(id, "unknown/") {
			original.ID = id
		}
	}
	if original.TraceParent != "" {
		l.TraceParent = original.TraceParent
	}
	l.Event, l.Type, l.Subject = cut(original.ID, maxName), cut(original.Type, maxName), cut(original.Subject, maxName)
	sum := sha256.Sum256(l.Original)
	l.ID = ids.Derive(b.app, t, original.ID, string(sum[:]))
	return l
}

// sameEvent refuses an edit that is no event, or another event.
func (l stored) sameEvent(body []byte) error {
	var e cloudevent.Event
	if err := json.Unmarshal(body, &e); err != nil {
		return fmt.Errorf("is no event: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if err := e.Validate(); err != nil {
		return errors.New("is no event: " + string(bytes.ReplaceAll([]byte(err.Error()), []byte("\n"), []byte(", "))))
	}
	if l.Event != "" && cut(e.ID, maxName) != l.Event {
		return fmt.Errorf("is another event: its id is %s and must stay %s", cut(e.ID, maxName), l.Event)
	}
	return nil
}
