package sink_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/city/sink"
)

func now() time.Time { return time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC) }

func open(t *testing.T, path string) *sink.Sink {
	t.Helper()
	s, err := sink.Open("sms", path, slog.New(slog.DiscardHandler), now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMessagesAreKeptAsReceived(t *testing.T) {
	path := filepath.Join(t.TempDir(), "city", "sms.jsonl")
	s := open(t, path)
	for _, test := range []struct {
		name, method, body string
		status             int
		want               []sink.Message
	}{
		{"text", "POST", `{"notification_id":"ntf_1","to":"+491","text":"hi","x":1}`, 202, []sink.Message{{
			Time: now(), NotificationID: "ntf_1", To: "+491", Text: "hi", IdempotencyKey: "key",
			Payload: []byte(`{"notification_id":"ntf_1","to":"+491","text":"hi","x":1}`),
		}}},
		{"push", "POST", `{"to":"usr_1","title":"t","body":"b"}`, 202, []sink.Message{{
			Time: now(), To: "usr_1", Title: "t", Text: "b", IdempotencyKey: "key",
			Payload: []byte(`{"to":"usr_1","title":"t","body":"b"}`),
		}}},
		{"nobody", "POST", `{"text":"hi"}`, 400, nil},
		{"not JSON", "POST", `hi`, 400, nil},
		{"not an object", "POST", `[]`, 400, nil},
		{"too large", "POST", `{"to":"` + strings.Repeat("x", 70<<10) + `"}`, 413, nil},
		{"not sent", "GET", ``, 405, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, before := s.Latest(1)
			r := httptest.NewRequest(test.method, "/sms", strings.NewReader(test.body))
			r.Header.Set("Idempotency-Key", "key")
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Code != test.status {
				t.Errorf("got %d %s, want %d", w.Code, w.Body, test.status)
			}
			if w.Code >= http.StatusBadRequest && w.Header().Get("Content-Type") != "application/problem+json" {
				t.Errorf("got %s, want a problem", w.Header().Get("Content-Type"))
			}
			_, after := s.Latest(1)
			got, _ := s.Latest(after - before)
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, path)
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, n := s.Latest(1); n != 2 {
		t.Errorf("after a restart: got %d messages, want 2", n)
	}
}
