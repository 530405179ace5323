package cli_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/cli"
	"github.com/dishmesh/dishmesh/services/internal/probe"
)

// probing runs a probe command with standard input.
func probing(t *testing.T, in string, args ...string) (stdout string) {
	t.Helper()
	root := cli.Root()
	var out bytes.Buffer
	root.SetArgs(append([]string{"probe"}, args...))
	root.SetIn(strings.NewReader(in))
	root.SetOut(&out)
	root.SetErr(&out)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestProbeCommand(t *testing.T) {
	s := httptest.NewServer(probe.NewEcho("callee"))
	defer s.Close()

	var one probe.Answer
	var echo probe.Echo
	out := probing(t, "", "call", "--method", "PUT", "-H", "x-word: yes", s.URL+"/a")
	if err := json.Unmarshal([]byte(out), &one); err != nil {
		t.Fatal(err, out)
	}
	if err := json.Unmarshal([]byte(one.Body), &echo); err != nil || one.Status != http.StatusOK || echo.Header["X-Word"] != "yes" || echo.Method != "PUT" {
		t.Errorf("call: %s", out)
	}

	var sum probe.Summary
	out = probing(t, "", "call", "--count", "7", "--tally", "content-type", s.URL)
	if err := json.Unmarshal([]byte(out), &sum); err != nil || sum.Calls != 7 || sum.Tally["application/json"] != 7 {
		t.Errorf("call --count: %v %s", err, out)
	}

	// Standard input that ends at once ends it, too.
	out = probing(t, "", "call", "--until-eof", s.URL)
	sum = probe.Summary{}
	if err := json.Unmarshal([]byte(out), &sum); err != nil || sum.Bad != 0 {
		t.Errorf("call --until-eof: %v %s", err, out)
	}

	out = probing(t, `{"url":"`+s.URL+`"}`+"\n"+`{"url":"tcp://`+s.Listener.Addr().String()+`"}`+"\n", "each")
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 2 || !strings.Contains(lines[0], `"status":200`) || !strings.Contains(lines[1], `"status":0`) {
		t.Errorf("each: %s", out)
	}
}

func TestProbeCommandRefuses(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"call pricing", `"pricing" is no address: give one such as http://pricing:8080/healthz or tcp://redis:6379`},
		{"call --header x http://a", `--header "x": give it as name: value`},
		{"call --timeout 0s http://a", "--timeout must be more than 0"},
		{"call --cert a http://a", "--cert and --key are given together"},
		{"call --ca /nowhere http://a", "--ca: open /nowhere: no such file or directory"},
		{"call --count -1 http://a", "--count, --rate and --for must not be negative, and --concurrency at least 1"},
	} {
		var out, errOut bytes.Buffer
		code := cli.Main(append([]string{"probe"}, strings.Fields(tt.args)...), &out, &errOut)
		if want := "dishmesh: " + tt.want + "\n"; code != cli.ExitUsage || errOut.String() != want {
			t.Errorf("%s: exit code %d, %q, want %d, %q", tt.args, code, errOut.String(), cli.ExitUsage, want)
		}
	}
}
