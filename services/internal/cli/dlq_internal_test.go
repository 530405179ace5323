package cli

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/deadletter"
)

// Wrong flags and arguments are refused before anybody is asked, in one line.
func TestDLQRefusals(t *testing.T) {
	const id = "payment_00000000000000000000000000"
	for _, tt := range []struct{ args, want string }{
		{"dlq replay", "which letters?"},
		{"dlq drop --reason x", "which letters?"},
		{"dlq replay " + id + " --all", "not both"},
		{"dlq replay --all --json", "--json with a filter wants --yes or --dry-run"},
		{"dlq replay --all --part 501", "--part is 1 to 500"},
		{"dlq replay nonsense", "is no dead letter's id"},
		{"dlq show ../x_1", "is no dead letter's id"},
		{"dlq list --limit 0", "--limit is 1 to 500"},
		{"dlq list --since yesterday", "--since \"yesterday\" is neither"},
		{"dlq audit --limit 999", "--limit is 1 to 500"},
		{"dlq edit " + id + " --body /no/such/file", "--body: open"},
		{"dlq show", "accepts 1 arg"},
	} {
		var stdout, stderr bytes.Buffer
		if code := Main(append(strings.Fields(tt.args), "--data", t.TempDir()), &stdout, &stderr); code != ExitUsage || !strings.Contains(stderr.String(), tt.want) || strings.Count(stderr.String(), "\n") != 1 {
			t.Errorf("%s: exit code %d, %q; want %d, %q", tt.args, code, stderr.String(), ExitUsage, tt.want)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"dlq", "list", "--data", t.TempDir()}, &stdout, &stderr); code != ExitNotRunning {
		t.Errorf("nothing runs: exit code %d, %q", code, stderr.String())
	}
}

func TestLetterFilter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	got, err := letterFilter{topic: "order", kind: "fooddelivery.order.delivered", since: "90m", until: "2026-11-22T11:00:00Z"}.filter(now)
	want := deadletter.Filter{Topic: "fooddelivery.order", Type: "fooddelivery.order.delivered", Since: now.Add(-90 * time.Minute), Until: now.Add(-time.Hour)}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

// What can't be an event is refused with the place of the fault.
func TestCheckEvent(t *testing.T) {
	for body, want := range map[string]string{
		"{\n \"a\": 1,\n}":             "in, line 3: no JSON",
		"[1]":                          "in is no event",
		"{}":                           "in is no event: id is missing, source is missing",
		strings.Repeat(" ", maxBody+1): "in has more than",
	} {
		if err := checkEvent("in", []byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.20q: %v, want %q", body, err, want)
		}
	}
}
