package mail

import (
	"encoding/base64"
	"errors"
	"fmt"
	"html"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	netmail "net/mail"
	"regexp"
	"strings"
	"time"
)

// Message is a mail as it was received, one line of city/mail.jsonl.
type Message struct {
	Time           time.Time `json:"time"`
	From           string    `json:"from"`                      // of the envelope
	To             []string  `json:"to"`                        // of the envelope: who gets it
	HeaderTo       string    `json:"header_to,omitempty"`       // of the message: whom it names
	Subject        string    `json:"subject"`                   // decoded (RFC 2047)
	MessageID      string    `json:"message_id,omitempty"`      // as received; Dapr's SMTP binding sends none
	NotificationID string    `json:"notification_id,omitempty"` // from a header or the body: equal ids are duplicates
	Body           string    `json:"body"`                      // decoded; at most maxBody bytes are kept
	Bytes          int       `json:"bytes"`                     // of the whole message
}

const maxBody = 64 << 10

// Dapr's SMTP binding can't set headers, so its mails carry the id in the body, in an attribute
// data-notification-id="…" or in <meta name="notification-id" content="…">.
var (
	inAttribute = regexp.MustCompile(`data-notification-id\s*=\s*["']?([^"'\s>]+)`)
	inMeta      = regexp.MustCompile(`<meta\s+name=["']?notification-id["']?\s+content\s*=\s*["']?([^"'\s>]+)`)
)

// parse reads a message. What can't be understood is kept as it came: a mail server refuses no mail for its style.
func parse(raw []byte) (Message, error) {
	m, err := netmail.ReadMessage(strings.NewReader(string(raw)))
	if err != nil {
		return Message{}, fmt.Errorf("mail: %w", err)
	}
	out := Message{
		Subject:        decodeHeader(m.Header.Get("Subject")),
		HeaderTo:       decodeHeader(m.Header.Get("To")),
		MessageID:      strings.Trim(m.Header.Get("Message-Id"), "<> "),
		NotificationID: m.Header.Get("X-Notification-Id"),
		Bytes:          len(raw),
	}
	body, err := readBody(m.Header.Get("Content-Type"), m.Header.Get("Content-Transfer-Encoding"), m.Body)
	if err != nil {
		return Message{}, fmt.Errorf("mail: %w", err)
	}
	out.Body = strings.ToValidUTF8(body, "\uFFFD")
	for _, find := range []*regexp.Regexp{inMeta, inAttribute} {
		if found := find.FindStringSubmatch(out.Body); out.NotificationID == "" && found != nil {
			out.NotificationID = html.UnescapeString(found[1])
		}
	}
	return out, nil
}

func decodeHeader(s string) string {
	d, err := new(mime.WordDecoder).DecodeHeader(s)
	if err != nil {
		return s // an unknown charset: keep it as it came
	}
	return d
}

// readBody decodes the body, or the first part of a multipart body.
func readBody(contentType, encoding string, r io.Reader) (string, error) {
	kind, params, err := mime.ParseMediaType(contentType)
	if err == nil && strings.HasPrefix(kind, "multipart/") {
		part, err := multipart.NewReader(r, params["boundary"]).NextRawPart()
		if err != nil {
			return "", fmt.Errorf("multipart: %w", err)
		}
		return readBody(part.Header.Get("Content-Type"), part.Header.Get("Content-Transfer-Encoding"), part)
	}
	switch strings.ToLower(encoding) {
	case "quoted-printable":
		r = quotedprintable.NewReader(r)
	case "base64":
		r = base64.NewDecoder(base64.StdEncoding, r)
	}
	b, err := io.ReadAll(io.LimitReader(r, maxBody))
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	return string(b), nil
}
