package rights_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/broker"
	"github.com/dishmesh/dishmesh/services/internal/rights"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
)

func TestGrants(t *testing.T) {
	subs := []broker.Subscription{
		{PubSub: "events", Topic: "fooddelivery.restaurant", Apps: []string{"delivery"}},
		{PubSub: "events", Topic: "fooddelivery.restaurant.dlq.delivery", Apps: []string{"delivery"}},
		{PubSub: "live", Topic: "fooddelivery.delivery.location", Apps: []string{"gateway"}},
	}
	topics, err := broker.Topics(subs)
	if err != nil {
		t.Fatal(err)
	}
	letters := "fooddelivery.restaurant.dlq.delivery"
	want := []rights.Grant{
		{User: "gateway", Read: []string{"fooddelivery.delivery.location"}, Group: "gateway-", GroupPrefix: true},
		{User: "delivery", Write: []string{"fooddelivery.delivery", "fooddelivery.delivery.location", letters},
			Read: []string{"fooddelivery.restaurant", letters}, Group: "delivery"},
		{User: "analytics", Group: "analytics"},
	}
	if diff := cmp.Diff(want, rights.Grants([]string{"gateway", "delivery", "analytics"}, topics, subs)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestReadPasswords(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"order": "one\n", "..data": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := rights.ReadPasswords(dir); err == nil || !strings.Contains(err.Error(), "admin") {
		t.Errorf("without an administrator: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "admin"), []byte("root"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := rights.ReadPasswords(dir)
	if diff := cmp.Diff(map[string]string{"admin": "root", "order": "one"}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

type server struct{ err func() error }

func (s server) Ensure(context.Context) error { return s.err() }

// Ready is who had everything as declared when it looked last.
func TestKeeper(t *testing.T) {
	down := true
	looked := 0
	k := &rights.Keeper{Every: time.Hour, Log: slog.New(slog.DiscardHandler), Servers: []rights.Server{
		server{func() error {
			if down {
				return errors.New("down")
			}
			return nil
		}},
		server{func() error { looked++; return nil }},
	}}
	ready := func() int {
		w := httptest.NewRecorder()
		k.Routes().ServeHTTP(w, httptest.NewRequest("GET", "/readyz", nil))
		return w.Code
	}
	if err := k.Once(t.Context()); err == nil || ready() != 503 || looked != 1 {
		t.Errorf("one server down: %v, ready %d, the other looked at %d times", err, ready(), looked)
	}
	down = false
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	runtest.Eventually(t, "it is ready", func() bool { return ready() == 204 })
	cancel()
	<-done
}
