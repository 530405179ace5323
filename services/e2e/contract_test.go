package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Settings of the contract test.
const (
	contractSeconds = "CONTRACT_SECONDS" // how long the fuzzer may take; default 60
	contractSeed    = "CONTRACT_SEED"    // what the cases are drawn from, a number or "random"; default 1, so that a test repeats
)

// checks are what each answer is held against. Left out are those that take what belongs to the platform's state for a
// fault of the contract: positive_data_acceptance (a body of the right form may still be refused: a dish that is sold
// out, an address in use), ensure_resource_availability and use_after_free (what was made with one role's account is
// nobody else's business).
const checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance," +
	"response_schema_conformance,negative_data_rejection,missing_required_header,unsupported_method," +
	"allow_header_conformance,ignored_auth"

// Every operation of openapi.yaml is driven against a running gateway: no 5xx, no answer that the document does not
// have, nothing in an answer that its schema does not allow, nothing taken that the schema refuses.
func TestContract(t *testing.T) {
	program, err := schemathesis()
	if err != nil {
		t.Skip(err)
	}
	seconds, err := strconv.Atoi(cmp.Or(os.Getenv(contractSeconds), "60"))
	if err != nil || seconds < 1 {
		t.Fatalf("%s=%q: want a number of seconds", contractSeconds, os.Getenv(contractSeconds))
	}
	seed := cmp.Or(os.Getenv(contractSeed), "1")
	if seed == "random" {
		seed = strconv.Itoa(rand.IntN(1_000_000))
	}
	if _, err := strconv.ParseUint(seed, 10, 32); err != nil {
		t.Fatalf("%s=%q: want a number or \"random\"", contractSeed, seed)
	}

	// A platform of its own, for the cases change menus, opening hours and capacities. Its limits are set for one client
	// that sends all it can, and its live streams end by themselves.
	s := newSite(filepath.Join(programs, "dishmesh"), filepath.Join(t.TempDir(), "data"), "--time-scale", "0",
		"--set", "gateway.RATE_LIMIT=100000", "--set", "gateway.RATE_LIMIT_BURST=100000", "--set", "gateway.CREDENTIAL_RATE_LIMIT=100000",
		"--set", "gateway.CREDENTIAL_RATE_LIMIT_BURST=100000", "--set", "gateway.LIVE_STREAM_AGE=1s")
	t.Cleanup(func() {
		if err := s.down(); err != nil {
			t.Error(err)
		}
	})
	if err := s.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	// What the fuzzer found comes after the platform's logs, where it is read first.
	var found string
	t.Cleanup(func() {
		if found != "" {
			t.Log(found)
		}
	})
	s.use(t)

	t.Logf("seed %s; the same cases again: make fuzz SEED=%s", seed, seed)
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds)*time.Second+2*time.Minute)
	defer cancel()
	folder, err := filepath.Abs("contract")
	if err != nil {
		t.Fatal(err)
	}
	// One worker: a seed then gives the same cases in the same order. With two, Python's parser of its own source, by which the
	// fuzzer describes what it does, has failed (3.11, "AST constructor recursion depth mismatch"): its depth is counted for all
	// threads together.
	cmd := exec.CommandContext(ctx, program, "--config-file", filepath.Join(folder, "schemathesis.toml"), "run", s.url+"/openapi.yaml",
		"--no-color", "--seed", seed, "--max-time", strconv.Itoa(seconds),
		"--workers", "1", "--phases", "examples,coverage,fuzzing,stateful", "--checks", checks, "--request-timeout", "20")
	cmd.Dir = t.TempDir() // it leaves its caches where it runs
	cmd.Env = append(os.Environ(), "SCHEMATHESIS_HOOKS=hooks", "PYTHONPATH="+folder, "PYTHONDONTWRITEBYTECODE=1", "PYTHONUTF8=1",
		"CONTRACT_URL="+s.url, "CONTRACT_ACCOUNTS="+filepath.Join(s.data, "accounts.json"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		found = fmt.Sprintf("%v; the same cases again: make fuzz SEED=%s\n%s", err, seed, lastOf(longLine.ReplaceAll(out, []byte("$1 …")), 30_000))
		t.FailNow()
	}
	for _, want := range []string{"Selected: ", "Tested: ", "generated, "} {
		if !bytes.Contains(out, []byte(want)) {
			t.Errorf("the fuzzer says nothing of %q:\n%s", want, lastOf(out, 4_000))
		}
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "generated, ") || strings.Contains(line, "Selected: ") || strings.Contains(line, "Tested: ") {
			t.Log(strings.TrimSpace(line))
		}
	}
}

// schemathesis finds the fuzzer: in the environment that .ci/run makes, or on the path.
func schemathesis() (string, error) {
	if cache, err := os.UserCacheDir(); err == nil {
		program := filepath.Join(cache, "dishmesh", "schemathesis", "bin", "schemathesis")
		if _, err := os.Stat(program); err == nil {
			return program, nil
		}
	}
	program, err := exec.LookPath("schemathesis")
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("schemathesis is not installed; `make fuzz-tool` installs it (Python 3.10 or later, services/e2e/contract/requirements.txt)")
	}
	return program, err
}

// longLine is a line of the fuzzer that would hide the others: what it sends can be large.
var longLine = regexp.MustCompile(`(?m)^(.{1000}).+$`)

func lastOf(b []byte, most int) []byte { return b[max(0, len(b)-most):] }
