package city_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/smtp"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/city"
	"github.com/dishmesh/dishmesh/services/city/acquirer"
	"github.com/dishmesh/dishmesh/services/city/actor/actortest"
)

func config(t *testing.T) city.Config {
	t.Helper()
	return city.Config{
		Dir: filepath.Join(t.TempDir(), "city"), Gateway: "http://127.0.0.1:1",
		Listen: "127.0.0.1:0", SMTPListen: "127.0.0.1:0", NoActors: true, APIKey: "key",
	}
}

func request(t *testing.T, method, url, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestTheOutsideWorldReceivesAndShowsIt(t *testing.T) {
	cfg := config(t)
	c, err := city.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	base := "http://" + c.Addr()

	if status, body := request(t, "GET", base+"/healthz", ""); status != http.StatusOK {
		t.Errorf("healthz: got %d %s", status, body)
	}
	status, body := request(t, "POST", base+"/acquirer/v1/authorizations",
		`{"amount":2350,"currency":"EUR","card":"card_ok","merchant_reference":"ord_1"}`,
		"Authorization", "Bearer key", "Idempotency-Key", "ord_1/authorize")
	if status != http.StatusCreated {
		t.Errorf("authorization: got %d %s", status, body)
	}
	for _, channel := range []string{"sms", "push"} {
		if status, body := request(t, "POST", base+"/"+channel, `{"notification_id":"ntf_1","to":"+491","text":"a <b>`+channel+`</b>"}`); status != http.StatusAccepted {
			t.Errorf("%s: got %d %s", channel, status, body)
		}
	}
	err = smtp.SendMail(c.SMTPAddr(), nil, "a@example.org", []string{"b@example.org"},
		[]byte("Subject: <script>\r\n\r\n<p>a mail</p>\r\n"))
	if err != nil {
		t.Error(err)
	}
	status, page := request(t, "GET", base+"/", "")
	for _, want := range []string{"23.50 EUR", "ord_1", "a &lt;b&gt;sms&lt;/b&gt;", "a &lt;b&gt;push", "&lt;script&gt;", "<td>a mail</td>"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%d %s", want, status, page)
		}
	}
	if status, _ := request(t, "GET", base+"/nothing", ""); status != http.StatusNotFound {
		t.Errorf("nothing: got %d, want 404", status)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	ops, err := acquirer.ReadBook(filepath.Join(cfg.Dir, city.BookFile))
	if err != nil || len(ops) != 1 || ops[0].MerchantReference != "ord_1" {
		t.Errorf("the book: got %+v, %v", ops, err)
	}
	for _, name := range []string{city.MailFile, city.SMSFile, city.PushFile} {
		if b, err := os.ReadFile(filepath.Join(cfg.Dir, name)); err != nil || strings.Count(string(b), "\n") != 1 {
			t.Errorf("%s: got %q, %v; want one line", name, b, err)
		}
	}
}

func TestActorsGoToWork(t *testing.T) {
	g := actortest.New(t)
	cfg := config(t)
	cfg.NoActors, cfg.Gateway, cfg.Couriers = false, g.URL, 1
	cfg.Accounts = filepath.Join(t.TempDir(), "accounts.json")
	err := os.WriteFile(cfg.Accounts, []byte(`[
		{"email":"operator@example.org","password":"p","role":"operator"},
		{"email":"k@example.org","password":"p","role":"kitchen","restaurant_id":"rst_01"},
		{"email":"c@example.org","password":"p","role":"courier"}]`), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	g.On("GET /v1/restaurants?limit=100", func([]byte) (any, error) {
		return map[string]any{"restaurants": []any{map[string]any{"id": "rst_01", "lat": 52.5, "lon": 13.4}}}, nil
	})
	c, err := city.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	for _, path := range []string{"/v1/restaurants/rst_01/live", "/v1/couriers/me/live"} {
		actortest.Eventually(t, "somebody follows "+path, func() bool { return g.Followed(path) })
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	taken, err := city.New(config(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, test := range []struct {
		name   string
		change func(*city.Config)
		says   []string
		config bool
	}{
		{"faults together", func(c *city.Config) { c.APIKey, c.Dir, c.TimeScale, c.NoActors = "", "", -1, false },
			[]string{"ACQUIRER_API_KEY", "--data", "--time-scale", "--accounts"}, true},
		{"a busy port", func(c *city.Config) { c.Listen = taken.Addr() }, []string{"--listen", "free the port"}, false},
		{"no file of accounts", func(c *city.Config) { c.NoActors, c.Accounts = false, "nowhere.json" }, []string{"nowhere.json"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			cfg := config(t)
			test.change(&cfg)
			_, err := city.New(cfg)
			var bad *city.ConfigError
			if err == nil || errors.As(err, &bad) != test.config {
				t.Fatalf("got %v", err)
			}
			for _, want := range test.says {
				if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
					t.Errorf("got %q, want one line with %q", err, want)
				}
			}
		})
	}
}
