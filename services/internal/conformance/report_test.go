package conformance_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/conformance"
)

// result makes the result of a check that exists.
func result(t *testing.T, name string, v conformance.Verdict, figure, reason string) conformance.Result {
	t.Helper()
	checks, err := conformance.Select([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	c := checks[0]
	return conformance.Result{Name: c.Name, Area: c.Area, Promise: c.Promise, ReliedOn: c.ReliedOn, Seconds: 1.5,
		Outcome: conformance.Outcome{Verdict: v, Did: "what was done", Figure: figure, Reason: reason, Figures: map[string]float64{"n": 1}}}
}

func report(profile string, day int, results ...conformance.Result) conformance.Report {
	r := conformance.Report{Profile: profile, OK: true, Began: time.Date(2026, 11, day, 12, 0, 0, 0, time.UTC), Seconds: 12,
		Versions: map[string]string{"Dapr": "1.18.0", "Server": "7.0"}, Results: results}
	for _, x := range results {
		r.OK = r.OK && !x.Broken()
	}
	return r
}

func TestBroken(t *testing.T) {
	for _, c := range []struct {
		check   string
		verdict conformance.Verdict
		want    bool
	}{
		{"etag", conformance.Kept, false},
		{"etag", conformance.KeptOnTop, false},
		{"etag", conformance.NotApplicable, false},
		{"etag", conformance.NotKept, true},
		{"etag", conformance.Unknown, true},
		{"no-blocking", conformance.NotKept, false}, // nothing relies on it
		{"no-blocking", conformance.Unknown, false},
	} {
		if got := result(t, c.check, c.verdict, "", "").Broken(); got != c.want {
			t.Errorf("%s %s: broken = %v, want %v", c.check, c.verdict, got, c.want)
		}
	}
}

func TestPrint(t *testing.T) {
	r := report("redis", 22,
		result(t, "order-one-key", conformance.KeptOnTop, "300 events, 2 reordered", "our consumer restores it"),
		result(t, "etag", conformance.NotKept, "3 of 40 stale writes got through", "a write with a stale ETag gave <nil>"),
		result(t, "store-crash", conformance.NotApplicable, "–", "no server"),
	)
	var got strings.Builder
	if err := r.Print(&got, conformance.Plain); err != nil {
		t.Fatal(err)
	}
	want := `
events
  + order-one-key  kept by us on top  300 events, 2 reordered
                   our consumer restores it

state
  ✗ etag           not kept           3 of 40 stale writes got through
                   a write with a stale ETag gave <nil>
  – store-crash    not applicable     –
                   no server

profile redis (Dapr 1.18.0, Server 7.0), 3 checks in 12 s
broken: etag: a write or deletion with a stale ETag is refused. The services rely on it: every update of an aggregate is conditional on what was read
`
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
}

func TestPrintColoursByVerdict(t *testing.T) {
	var got strings.Builder
	paint := func(v conformance.Verdict, text string) string { return "<" + string(v) + ">" + text }
	if err := report("x", 1, result(t, "ttl", conformance.Kept, "2 s", "")).Print(&got, paint); err != nil {
		t.Fatal(err)
	}
	if want := "<kept>✓ ttl  <kept>kept "; !strings.Contains(got.String(), want) {
		t.Errorf("%q is not in %q", want, got.String())
	}
}

// The keys of --json are stable: whoever reads them must not be surprised.
func TestJSON(t *testing.T) {
	b, err := json.Marshal(report("redis", 22, result(t, "ttl", conformance.NotKept, "late", "still there")))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"profile":"redis","ok":false,"quick":false,"began":"2026-11-22T12:00:00Z","seconds":12,"versions":{"Dapr":"1.18.0","Server":"7.0"},` +
		`"results":[{"name":"ttl","area":"state","promise":"a key with a time to live is forgotten after it, others are not",` +
		`"relied_on":"refresh tokens are kept for as long as they are good","verdict":"not_kept","did":"what was done","figure":"late",` +
		`"figures":{"n":1},"reason":"still there","seconds":1.5}],"interrupted":false}`
	if diff := cmp.Diff(want, string(b)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func page(t *testing.T, text []byte) *conformance.Page {
	t.Helper()
	p, err := conformance.ParsePage(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPage(t *testing.T) {
	first := page(t, nil)
	first.Put(report("redis", 20, result(t, "etag", conformance.Kept, "0 | 40", ""), result(t, "ttl", conformance.NotKept, "late", "still\nthere")))
	text := first.Markdown()

	// Written, read and written again it is the same.
	if diff := cmp.Diff(string(text), string(page(t, text).Markdown())); diff != "" {
		t.Errorf("a second writing differs:\n%s", diff)
	}
	// Another profile leaves this one as it is, and comes before it.
	second := page(t, text)
	second.Put(report("kafka", 21, result(t, "etag", conformance.KeptOnTop, "x", "y")))
	both := string(second.Markdown())
	for _, want := range []string{
		"| guarantee | check | kafka | redis |",
		"| **a write or deletion with a stale ETag is refused** | etag | kept by us on top | kept |",
		"| **a key with a time to live is forgotten after it, others are not** | ttl |  | not kept |",
		"| an event that fails does not hold up those of other keys | no-blocking |  |  |",
		"\n## kafka\nWith Dapr 1.18.0, Server 7.0.\n",
		"| `etag` | kept | 0 \\| 40 |  | what was done | 2026-11-20 |",
		"| `ttl` | not kept | late | still there | what was done | 2026-11-20 |",
		"- etag: every update of an aggregate is conditional on what was read\n",
	} {
		if !strings.Contains(both, want) {
			t.Errorf("%q is not in\n%s", want, both)
		}
	}
	// A later run replaces what it has done and keeps the rest; the order of runs does not matter.
	third := page(t, []byte(both))
	later := report("redis", 22, result(t, "ttl", conformance.Kept, "2 s", ""))
	later.Quick = true
	third.Put(later)
	now := string(third.Markdown())
	for _, want := range []string{"| `ttl` | kept | 2 s |  | what was done | 2026-11-22, quick |", "| `etag` | kept | 0 \\| 40 |  | what was done | 2026-11-20 |"} {
		if !strings.Contains(now, want) {
			t.Errorf("%q is not in\n%s", want, now)
		}
	}
	if strings.Contains(now, "still there") {
		t.Error("the earlier result is still there")
	}
	other := page(t, nil)
	other.Put(report("kafka", 21, result(t, "etag", conformance.KeptOnTop, "x", "y")))
	other.Put(report("redis", 20, result(t, "ttl", conformance.NotKept, "late", "still\nthere"), result(t, "etag", conformance.Kept, "0 | 40", "")))
	other.Put(later)
	if diff := cmp.Diff(now, string(other.Markdown())); diff != "" {
		t.Errorf("another order of runs gives another page:\n%s", diff)
	}
}

func TestBrokenPage(t *testing.T) {
	for name, text := range map[string]string{
		"no page":       "# Something else\n",
		"a column less": "## kafka\n| `etag` | kept | x | y | z |\n",
	} {
		if _, err := conformance.ParsePage([]byte(text)); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
