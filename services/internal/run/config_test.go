package run_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/run"
)

type config struct {
	Common
	Public  string        `env:"PUBLIC_ADDR" required:"true" help:"where the public API listens"`
	Port    int           `env:"PORT" default:"8080" help:"a port"`
	Big     int64         `env:"BIG" help:"a large number"`
	Share   float64       `env:"SHARE" default:"0.5" help:"a share"`
	On      bool          `env:"ON" default:"true" help:"a switch"`
	Wait    time.Duration `env:"WAIT" default:"5s" help:"a time"`
	Key     string        `env:"KEY" secret:"true" required:"true" help:"the acquirer's key"`
	Pin     int           `env:"PIN" secret:"true" help:"a number that is a secret"`
	Private string        // not set from outside
}

// Common is embedded.
type Common struct {
	Level string `env:"LEVEL" default:"info" help:"how much is logged"`
}

func env(m map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		v, ok := m[name]
		return v, ok
	}
}

func TestLoad(t *testing.T) {
	var got config
	err := run.Load(&got, env(map[string]string{"PUBLIC_ADDR": ":80", "KEY": "k", "BIG": "9007199254740993", "ON": "false", "WAIT": "1m30s", "PORT": ""}))
	if err != nil {
		t.Fatal(err)
	}
	want := config{Common: Common{"info"}, Public: ":80", Port: 8080, Big: 9007199254740993, Share: 0.5, Wait: 90 * time.Second, Key: "k"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if err := run.Load(&got, env(map[string]string{"LEVEL": "debug", "PUBLIC_ADDR": ":80", "KEY": "k"})); err != nil || got.Level != "debug" {
		t.Errorf("embedded: %+v, %v", got, err)
	}
}

// All faults are reported together, and secrets are not told.
func TestLoadFaults(t *testing.T) {
	var c config
	err := run.Load(&c, env(map[string]string{"PORT": "http", "BIG": "1e3", "SHARE": "half", "ON": "yes", "WAIT": "-5s", "PIN": "hunter2"}))
	if err == nil {
		t.Fatal("no error")
	}
	want := []string{
		"PUBLIC_ADDR is not set: where the public API listens",
		`PORT="http": must be an integer`,
		`BIG="1e3": must be an integer`,
		`SHARE="half": must be a number`,
		`ON="yes": must be true or false`,
		`WAIT="-5s": must be a duration such as 30s or 5m`,
		"KEY is not set: the acquirer's key",
		`PIN="******": must be an integer`,
	}
	if diff := cmp.Diff(want, strings.Split(err.Error(), "\n")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestLoadUnsupportedType(t *testing.T) {
	var c struct {
		List []string `env:"LIST" help:"a list"`
	}
	if err := run.Load(&c, env(map[string]string{"LIST": "a"})); err == nil || !strings.Contains(err.Error(), "[]string") {
		t.Errorf("%v, want an error that names the type", err)
	}
}

func TestMasked(t *testing.T) {
	c := config{Public: ":80", Key: "hunter2", Wait: time.Second}
	got := run.Masked(&c)
	if got["KEY"] != "******" || got["PUBLIC_ADDR"] != ":80" || got["WAIT"] != "1s" {
		t.Errorf("masked: %v", got)
	}
	for name, v := range got {
		if strings.Contains(v, "hunter2") {
			t.Errorf("%s tells the secret", name)
		}
	}
}

func TestHelp(t *testing.T) {
	var b strings.Builder
	run.Help(&b, "gateway", &config{})
	for _, want := range []string{"gateway", "PUBLIC_ADDR", "(required)", "KEY", "(secret)", "5s", "where the public API listens"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("help lacks %q:\n%s", want, b.String())
		}
	}
}

// A port that others can reach asks for a token.
func TestAppHost(t *testing.T) {
	for _, tt := range []struct{ host, token, want string }{
		{"127.0.0.1", "", ""},
		{"::1", "", ""},
		{"0.0.0.0", "secret", ""},
		{"0.0.0.0", "", "set APP_API_TOKEN"},
		{"localhost", "secret", "must be an address"},
	} {
		err := run.Base{AppHost: tt.host, AppToken: tt.token}.Check()
		if got := err == nil; got != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s, token %q: got %v, want %q", tt.host, tt.token, err, tt.want)
		}
	}
}
