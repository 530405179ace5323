// Package sink stands for the providers of SMS and push messages: an HTTP endpoint that takes what it is sent,
// keeps it in a file of JSON lines, and delivers it nowhere.
package sink

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/dishmesh/dishmesh/services/city/journal"
)

const (
	maxBody    = 64 << 10
	remembered = 100
)

// Message is what was received, one line of city/sms.jsonl or city/push.jsonl.
type Message struct {
	Time           time.Time       `json:"time"`
	NotificationID string          `json:"notification_id,omitempty"` // of the payload: equal ids are duplicates
	To             string          `json:"to"`                        // of the payload: a phone number, or a device or user
	Title          string          `json:"title,omitempty"`           // of the payload; push only
	Text           string          `json:"text"`                      // of the payload: text, or body
	IdempotencyKey string          `json:"idempotency_key,omitempty"` // the header, where one was sent
	Payload        json.RawMessage `json:"payload"`                   // all of it, as received
}

// payload holds the fields of a request that the sink looks at.
type payload struct {
	NotificationID string `json:"notification_id"`
	To             string `json:"to"`
	Title          string `json:"title"`
	Text           string `json:"text"`
	Body           string `json:"body"`
}

// Sink takes messages of one channel. Make one with Open; serve it as an http.Handler.
type Sink struct {
	channel string
	journal *journal.Journal
	ring    *journal.Ring[Message]
	log     *slog.Logger
	now     func() time.Time
}

// Open opens the file at path, which is made if it is missing, and remembers the latest messages in it.
func Open(channel, path string, log *slog.Logger, now func() time.Time) (*Sink, error) {
	ring := journal.NewRing[Message](remembered)
	j, torn, err := journal.OpenInto(path, journal.Buffered, ring)
	if err != nil {
		return nil, err
	}
	if torn > 0 {
		log.Warn("the file of a sink ended in a torn line: cut off", "file", path, "bytes", torn)
	}
	return &Sink{channel: channel, journal: j, ring: ring, log: log, now: now}, nil
}

// Close closes the file.
func (s *Sink) Close() error { return s.journal.Close() }

// Latest gives up to n messages, newest first, and how many there ever were.
func (s *Sink) Latest(n int) ([]Message, int) { return s.ring.Latest(n) }

// ServeHTTP takes POST {notification_id, to, text | title, body} and answers 202 once the message is kept.
func (s *Sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		refuse(w, http.StatusMethodNotAllowed, "send messages with POST")
		return
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		refuse(w, http.StatusRequestEntityTooLarge, "a message may have "+strconv.Itoa(maxBody)+" bytes")
		return
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "the body broke off")
		return
	}
	m, err := s.read(raw)
	if err != nil {
		refuse(w, http.StatusBadRequest, err.Error())
		return
	}
	m.IdempotencyKey = r.Header.Get("Idempotency-Key")
	if err := s.journal.Write(m); err != nil {
		s.log.Error("a message could not be kept", "channel", s.channel, "err", err)
		refuse(w, http.StatusInsufficientStorage, "the message could not be kept")
		return
	}
	s.ring.Add(m)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusAccepted)
	_, _ = io.WriteString(w, `{"status":"accepted"}`+"\n")
}

func (s *Sink) read(raw []byte) (Message, error) {
	var p payload
	if err := json.Unmarshal(raw, &p); err != nil {
		return Message{}, fmt.Errorf("the body is not the JSON that is expected: %w", err)
	}
	if p.To == "" {
		return Message{}, errors.New("to is missing")
	}
	if p.Text == "" {
		p.Text = p.Body
	}
	return Message{
		Time: s.now().UTC(), NotificationID: p.NotificationID, To: p.To, Title: p.Title, Text: p.Text, Payload: raw,
	}, nil
}

func refuse(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail,
	})
	if err != nil {
		body = []byte("{}")
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the sender has gone
}
