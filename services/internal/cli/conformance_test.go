package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/cli"
	"github.com/dishmesh/dishmesh/services/internal/conformance"
)

func TestConformanceBadUsage(t *testing.T) {
	for name, c := range map[string]struct {
		args   []string
		stderr string
	}{
		"unknown check":    {[]string{"--only", "speed"}, `no check "speed": choose from first-subscription`},
		"unknown skip":     {[]string{"--skip", "speed"}, `no check "speed"`},
		"nothing left":     {[]string{"--only", "ttl", "--skip", "ttl"}, "leaves no check"},
		"unknown profile":  {[]string{"--profile", "moon"}, `no profile "moon": choose one of embedded`},
		"negative outage":  {[]string{"--long-outage", "-1s"}, "must not be negative"},
		"negative orders":  {[]string{"--orders", "-1"}, "--orders"},
		"all and one":      {[]string{"--all", "--profile", "kafka"}, "leave --profile out"},
		"no duration":      {[]string{"--short-outage", "soon"}, "soon"},
		"argument":         {[]string{"kafka"}, "kafka"},
		"unknown flag":     {[]string{"--fast"}, "see `dishmesh conformance --help`"},
		"outage as number": {[]string{"--short-outage", "5"}, "missing unit"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := run(t, append([]string{"conformance"}, c.args...)...)
			if code != cli.ExitUsage || !strings.Contains(stderr, c.stderr) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("exit code %d, %q; want %d and %q in one line", code, stderr, cli.ExitUsage, c.stderr)
			}
		})
	}
}

func TestConformanceList(t *testing.T) {
	code, out, _ := run(t, "conformance", "--list")
	if code != cli.ExitOK {
		t.Fatalf("exit code %d", code)
	}
	for _, c := range conformance.Checks() {
		if !strings.Contains(out, c.Name) || !strings.Contains(out, c.Promise) || !strings.Contains(out, c.ReliedOn) {
			t.Errorf("%s is not listed as it should be", c.Name)
		}
	}
	code, out, _ = run(t, "conformance", "--list", "--json", "--only", "no-blocking,etag")
	var rows []map[string]string
	if err := json.Unmarshal([]byte(out), &rows); code != cli.ExitOK || err != nil || len(rows) != 2 {
		t.Fatalf("exit code %d, %v: %s", code, err, out)
	}
	if rows[0]["name"] != "no-blocking" || rows[0]["relied_on"] != "" || rows[1]["relied_on"] == "" {
		t.Errorf("got %v", rows)
	}
}
