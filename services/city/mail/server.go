// Package mail is the mail server of the outside world: it takes every mail for everybody, keeps it in a file
// of JSON lines, and delivers it nowhere.
package mail

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/dishmesh/dishmesh/services/city/journal"
)

const (
	maxMessage    = 1 << 20
	maxRecipients = 50
	idle          = time.Minute
	remembered    = 100
)

// Server receives mail over SMTP (RFC 5321). Make one with Open.
type Server struct {
	journal *journal.Journal
	ring    *journal.Ring[Message]
	smtp    *smtp.Server
	log     *slog.Logger
	now     func() time.Time
}

// Open opens the file at path, which is made if it is missing, and remembers the latest mails in it.
func Open(path string, log *slog.Logger, now func() time.Time) (*Server, error) {
	s := &Server{ring: journal.NewRing[Message](remembered), log: log, now: now}
	j, torn, err := journal.OpenInto(path, journal.Buffered, s.ring)
	if err != nil {
		return nil, err
	}
	if torn > 0 {
		log.Warn("the mail file ended in a torn line: cut off", "file", path, "bytes", torn)
	}
	s.journal = j
	s.smtp = smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) {
		return &session{server: s}, nil
	}))
	s.smtp.Domain = "city.dishmesh.local"
	s.smtp.MaxMessageBytes = maxMessage
	s.smtp.MaxRecipients = maxRecipients
	s.smtp.ReadTimeout = idle
	s.smtp.WriteTimeout = idle
	s.smtp.EnableSMTPUTF8 = true
	s.smtp.ErrorLog = slog.NewLogLogger(log.Handler(), slog.LevelWarn)
	return s, nil
}

// Serve receives mail until ctx is done or the listener fails.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	stop := context.AfterFunc(ctx, func() {
		_ = s.smtp.Close() // the sessions are cut: who was not answered sends again
	})
	defer stop()
	err := s.smtp.Serve(l)
	if ctx.Err() != nil || errors.Is(err, smtp.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("mail: %w", err)
}

// Close closes the file. Serve has to have returned.
func (s *Server) Close() error { return s.journal.Close() }

// Latest gives up to n mails, newest first, and how many there ever were.
func (s *Server) Latest(n int) ([]Message, int) { return s.ring.Latest(n) }

// session is one SMTP conversation.
type session struct {
	server *Server
	from   string
	to     []string
}

// Reset implements smtp.Session.
func (s *session) Reset() { s.from, s.to = "", nil }

// Logout implements smtp.Session.
func (s *session) Logout() error { return nil }

// Mail implements smtp.Session.
func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.from = from
	return nil
}

// Rcpt implements smtp.Session.
func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

// Data implements smtp.Session: once it returns nil, the mail is in the file.
func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err // too large, or the sender has gone: go-smtp says so
	}
	m, err := parse(raw)
	if err != nil {
		return &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 6, 0}, Message: "this is no mail (RFC 5322)"}
	}
	m.Time, m.From, m.To = s.server.now().UTC(), s.from, s.to
	if err := s.server.journal.Write(m); err != nil {
		s.server.log.Error("a mail could not be kept", "err", err)
		return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "no room to keep the mail, try later"}
	}
	s.server.ring.Add(m)
	return nil
}
