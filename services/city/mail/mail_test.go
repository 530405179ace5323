package mail_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/smtp"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/dishmesh/dishmesh/services/city/mail"
)

func now() time.Time { return time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC) }

// serve starts a mail server and returns its address and what stops it.
func serve(t *testing.T, path string) (*mail.Server, string, func()) {
	t.Helper()
	s, err := mail.Open(path, slog.New(slog.DiscardHandler), now)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	return s, l.Addr().String(), func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestMailsAreKeptAsReceived(t *testing.T) {
	path := filepath.Join(t.TempDir(), "city", "mail.jsonl")
	s, addr, stop := serve(t, path)
	for _, test := range []struct {
		name, raw string
		want      mail.Message
	}{
		{
			// What Dapr's SMTP binding sends: no Message-Id, HTML, quoted-printable, an encoded subject.
			name: "of the binding",
			raw: "Mime-Version: 1.0\r\nDate: Sun, 22 Nov 2026 18:00:00 +0000\r\n" +
				"From: \"Dishmesh\" <orders@dishmesh.local>\r\nTo: ada@example.org\r\nX-priority: 3\r\n" +
				"Subject: =?UTF-8?q?Dein_Essen_ist_unterwegs_=E2=80=93_guten_Appetit?=\r\n" +
				"Content-Type: text/html; charset=UTF-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n" +
				"<p data-notification-id=3D\"ntf_01\">F=C3=BCr Ada</p>\r\n",
			want: mail.Message{
				HeaderTo: "ada@example.org", Subject: "Dein Essen ist unterwegs – guten Appetit",
				NotificationID: "ntf_01", Body: "<p data-notification-id=\"ntf_01\">Für Ada</p>\r\n",
			},
		},
		{
			name: "with ids in headers",
			raw: "From: a@example.org\r\nTo: ada@example.org\r\nSubject: s\r\nMessage-Id: <m1@example.org>\r\n" +
				"X-Notification-Id: ntf_02\r\n\r\nplain\r\n",
			want: mail.Message{
				HeaderTo: "ada@example.org", Subject: "s", MessageID: "m1@example.org", NotificationID: "ntf_02", Body: "plain\r\n",
			},
		},
		{
			name: "in parts",
			raw: "To: ada@example.org\r\nSubject: s\r\nContent-Type: multipart/alternative; boundary=B\r\n\r\n" +
				"--B\r\nContent-Type: text/plain\r\nContent-Transfer-Encoding: base64\r\n\r\naGVsbG8=\r\n--B--\r\n",
			want: mail.Message{HeaderTo: "ada@example.org", Subject: "s", Body: "hello"},
		},
		{
			name: "with the id in a meta element",
			raw:  "To: ada@example.org\r\nSubject: s\r\n\r\n<meta name=\"notification-id\" content=\"ntf_03\">\r\n",
			want: mail.Message{
				HeaderTo: "ada@example.org", Subject: "s", NotificationID: "ntf_03",
				Body: "<meta name=\"notification-id\" content=\"ntf_03\">\r\n",
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := smtp.SendMail(addr, nil, "orders@dishmesh.local", []string{"ada@example.org"}, []byte(test.raw)); err != nil {
				t.Fatal(err)
			}
			got, _ := s.Latest(1)
			test.want.Time, test.want.From, test.want.To = now(), "orders@dishmesh.local", []string{"ada@example.org"}
			if diff := cmp.Diff([]mail.Message{test.want}, got, cmpopts.IgnoreFields(mail.Message{}, "Bytes")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	before, n := s.Latest(10)
	stop()

	s, _, stop = serve(t, path)
	defer stop()
	after, m := s.Latest(10)
	if diff := cmp.Diff(before, after); diff != "" || n != m {
		t.Errorf("after a restart %d mails, want %d; -want +got:\n%s", m, n, diff)
	}
}

func TestBadMailsAreRefused(t *testing.T) {
	s, addr, stop := serve(t, filepath.Join(t.TempDir(), "mail.jsonl"))
	defer stop()
	for _, test := range []struct{ name, raw, says string }{
		{"no mail", "no colon here\r\n\r\n", "554"},
		{"too large", "Subject: s\r\n\r\n" + strings.Repeat(strings.Repeat("x", 70)+"\r\n", 1<<14+2000), "552"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := smtp.SendMail(addr, nil, "a@example.org", []string{"b@example.org"}, []byte(test.raw))
			if err == nil || !strings.Contains(fmt.Sprint(err), test.says) {
				t.Errorf("got %v, want %s", err, test.says)
			}
		})
	}
	if _, n := s.Latest(1); n != 0 {
		t.Errorf("got %d mails, want none", n)
	}
}
