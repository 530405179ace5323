package proof_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/proof"
)

var update = flag.Bool("update", false, "write testdata anew")

func TestMarkdown(t *testing.T) {
	var b proof.Book
	add(t, &b, proof.Entry{Subject: "canary", Test: "TestCanaryEastWest", Claim: "A tenth of the calls goes to the canary.",
		Files: []string{"mesh/canary.yaml", "k8s/components/canary"}, Outcome: proof.Passed, Took: 4321 * time.Millisecond,
		Saw:     []string{"by header all 20 calls went to pricing/v2"},
		Figures: []proof.Figure{{"90/10 of 400 calls", "361 : 39", "19 to 61 of 400"}, {What: "50/50 of 400 calls", Value: "204 : 196"}}})
	add(t, &b, proof.Entry{Subject: "something new", Test: "TestNew", Claim: "It is new.", Outcome: proof.Skipped, Why: []string{"there is no KEDA here"}})
	add(t, &b, proof.Entry{Subject: "orders", Test: "TestOrders", Claim: "Orders end.", Outcome: proof.Failed, Took: 83 * time.Second,
		Why: []string{"order ord_1 | stuck:\n  it waits" + strings.Repeat(" on", 400)}})
	if b.Count(proof.Passed) != 1 || b.Count(proof.Failed) != 1 || b.Count(proof.Skipped) != 1 {
		t.Error("the outcomes are not counted")
	}
	got := b.Markdown(proof.Run{
		Began: time.Date(2026, 11, 22, 18, 0, 0, 0, time.FixedZone("", 3600)), Took: 17*time.Minute + 3*time.Second, Commit: "v0-12-gabc",
		Place: []proof.Figure{{What: "machine", Value: "2 cores, 24 GiB"}, {What: "Kubernetes", Value: "v1.36.3"}}, Command: "make test-cluster",
	}, []string{"orders", "canary"})
	golden := filepath.Join("testdata", "proof.md")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("document (-want +got), -update writes it anew:\n%s", diff)
	}
}

func TestEmptyBook(t *testing.T) {
	var b proof.Book
	got := b.Markdown(proof.Run{Commit: "abc", Command: "make x"}, nil)
	want := "# What was seen on the cluster\n\nWritten by `make x` from one run, and not by hand.\n\n" +
		"Run of 0001-01-01 00:00 UTC, commit abc, 0.0 s. 0 tests: 0 passed, 0 failed, 0 skipped.\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
}

func TestAddAtOnce(t *testing.T) {
	var b proof.Book
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() { add(t, &b, proof.Entry{Outcome: proof.Passed}) })
	}
	all.Wait()
	if got := b.Count(proof.Passed); got != 50 {
		t.Errorf("%d entries, want 50", got)
	}
}

func add(t *testing.T, b *proof.Book, e proof.Entry) {
	t.Helper()
	if err := b.Add(e); err != nil {
		t.Error(err)
	}
}

// TestKept is a book that goes on where earlier runs ended: of each test the last run counts, and what was not run is named.
func TestKept(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kept")
	at := time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)
	runs := []proof.Entry{
		{Subject: "orders", Test: "TestOrders", Claim: "Orders end.", Outcome: proof.Failed, Why: []string{"stuck"}, Began: at, Commit: "one"},
		{Subject: "canary", Test: "TestCanary", Claim: "It sings.", Outcome: proof.Passed, Began: at.Add(time.Minute), Commit: "one"},
		{Subject: "orders", Test: "TestOrders", Claim: "Orders end.", Outcome: proof.Passed, Began: at.Add(time.Hour), Took: time.Minute, Commit: "two"},
	}
	var last *proof.Book
	for _, e := range runs {
		last = &proof.Book{}
		if err := last.Open(file); err != nil {
			t.Fatal(err)
		}
		add(t, last, e)
	}
	if got := last.Count(proof.Passed); got != 1 {
		t.Errorf("%d entries of this run, want 1", got)
	}
	got := last.Markdown(proof.Run{Began: at, Command: "make x", Tests: []string{"TestOrders", "TestCanary", "TestFaults"}}, nil)
	for _, want := range []string{
		"run one by one on one cluster",
		"Runs from 2026-11-22 18:01 to 19:01 UTC. 2 tests: 2 passed, 0 failed, 0 skipped.",
		"**Not run, so not proven here** (1 of 3): `TestFaults`.",
		"| canary | `TestCanary` | It sings. | passed | 0.0 s | 18:01 | one |  |",
		"| orders | `TestOrders` | Orders end. | passed | 1 min 0 s | 19:00 | two | 1 |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the document lacks %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "stuck") {
		t.Errorf("the document has a run that was repeated:\n%s", got)
	}
	if err := os.WriteFile(file, []byte("nonsense"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := new(proof.Book).Open(file); err == nil {
		t.Error("a file that is no book is taken")
	}
}
