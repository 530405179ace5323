package cli_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/cli"
	"github.com/dishmesh/dishmesh/services/internal/platform"
)

func run(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errOut bytes.Buffer
	code = cli.Main(args, &out, &errOut)
	return code, out.String(), errOut.String()
}

func TestExitCodesAndOneLineErrors(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	for name, c := range map[string]struct {
		args []string
		code int
		// stderr must hold this, in one line.
		stderr string
	}{
		"unknown command":      {[]string{"upp"}, cli.ExitUsage, `unknown command "upp"`},
		"unknown flag":         {[]string{"up", "--fast"}, cli.ExitUsage, "see `dishmesh up --help`"},
		"argument of up":       {[]string{"up", "now"}, cli.ExitUsage, "now"},
		"time scale":           {[]string{"up", "--data", data, "--time-scale", "-1"}, cli.ExitUsage, "give 0 or more"},
		"time scale no number": {[]string{"up", "--time-scale", "fast"}, cli.ExitUsage, "fast"},
		"port":                 {[]string{"up", "--data", data, "--port", "70000"}, cli.ExitUsage, "--port 70000"},
		"set":                  {[]string{"up", "--data", data, "--set", "order"}, cli.ExitUsage, "service.KEY=VALUE"},
		"profile":              {[]string{"up", "--data", data, "--profile", "moon"}, cli.ExitFailed, "embedded"},
		"status of nothing":    {[]string{"status", "--data", data}, cli.ExitFailed, "dishmesh up"},
		"down of nothing":      {[]string{"down", "--data", data}, cli.ExitOK, ""},
		"logs of nothing":      {[]string{"logs", "--data", data}, cli.ExitFailed, "dishmesh up"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := run(t, c.args...)
			if code != c.code {
				t.Errorf("exit code %d, want %d (%s)", code, c.code, stderr)
			}
			if !strings.Contains(stderr, c.stderr) {
				t.Errorf("stderr %q, want %q in it", stderr, c.stderr)
			}
			if n := strings.Count(stderr, "\n"); n > 1 {
				t.Errorf("stderr has %d lines, want one: %q", n, stderr)
			}
		})
	}
}

func TestHelpListsGroups(t *testing.T) {
	code, out, _ := run(t, "--help")
	if code != cli.ExitOK {
		t.Fatalf("exit code %d", code)
	}
	for _, want := range []string{"The platform:", "  up ", "  down ", "  status ", "  logs ", "  doctor ", "Exit codes:"} {
		if !strings.Contains(out, want) {
			t.Errorf("help lacks %q", want)
		}
	}
	if strings.Contains(out, "  broker ") {
		t.Error("help shows the hidden broker")
	}
}

func TestStatusJSONOfNothing(t *testing.T) {
	code, out, _ := run(t, "status", "--json", "--data", t.TempDir())
	if code != cli.ExitFailed {
		t.Errorf("exit code %d, want %d", code, cli.ExitFailed)
	}
	var s struct {
		Ready     bool  `json:"ready"`
		Healthy   bool  `json:"healthy"`
		Processes []any `json:"processes"`
	}
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if s.Ready || s.Healthy || s.Processes == nil || len(s.Processes) != 0 {
		t.Errorf("got %s, want nothing ready and an empty list", out)
	}
}

func TestProcessKeys(t *testing.T) {
	b, err := json.Marshal(platform.Process{})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"name", "pid", "healthy", "restarts", "rss_bytes"} {
		if !strings.Contains(string(b), `"`+key+`":`) {
			t.Errorf("status lacks the key %s: %s", key, b)
		}
	}
}

func TestLogs(t *testing.T) {
	data := t.TempDir()
	if err := os.Mkdir(filepath.Join(data, "logs"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"order":       `{"time":"2026-11-22T12:00:00Z","level":"INFO","msg":"starting","service":"order","port":1}` + "\nplain words\n",
		"order-daprd": `{"app_id":"order","instance":"host","level":"warning","msg":"it rains","scope":"dapr.runtime","time":"2026-11-22T12:00:00Z","type":"log","ver":"1"}` + "\n",
	} {
		if err := os.WriteFile(filepath.Join(data, "logs", name+".log"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	code, out, stderr := run(t, "logs", "--data", data, "order")
	if code != cli.ExitOK {
		t.Fatal(stderr)
	}
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 2 || !strings.HasSuffix(lines[0], " INFO  starting port=1") || lines[1] != "plain words" {
		t.Errorf("got %q", lines)
	}
	_, out, _ = run(t, "logs", "--data", data)
	if !strings.Contains(out, "order-daprd") || !strings.Contains(out, "WARNING it rains scope=dapr.runtime") {
		t.Errorf("all logs: got %q", out)
	}
	_, out, _ = run(t, "logs", "--data", data, "--json", "-n", "1", "order")
	if diff := cmp.Diff("plain words\n", out); diff != "" {
		t.Errorf("last raw line (-want +got):\n%s", diff)
	}
	code, _, stderr = run(t, "logs", "--data", data, "ordr")
	if code != cli.ExitUsage || !strings.Contains(stderr, "order, order-daprd") {
		t.Errorf("unknown process: exit code %d, %q", code, stderr)
	}
}

func TestDoctorJSON(t *testing.T) {
	_, out, _ := run(t, "doctor", "--json", "--data", filepath.Join(t.TempDir(), "data"))
	var answer struct {
		OK     bool
		Checks []struct {
			Name, Detail, Mend string
			OK, Must           bool
		}
	}
	if err := json.Unmarshal([]byte(out), &answer); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	want := []string{"checkout", "go", "runtime", "disk", "memory", "data folder", "gateway port", "city port", "open files"}
	var got []string
	for _, c := range answer.Checks {
		got = append(got, c.Name)
		if c.Detail == "" || (!c.OK && c.Mend == "") {
			t.Errorf("%s says too little: %+v", c.Name, c)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
}
