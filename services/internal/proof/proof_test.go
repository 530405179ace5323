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
	b.Add(proof.Entry{Subject: "canary", Test: "TestCanaryEastWest", Claim: "A tenth of the calls goes to the canary.",
		Files: []string{"mesh/canary.yaml", "k8s/components/canary"}, Outcome: proof.Passed, Took: 4321 * time.Millisecond,
		Saw:     []string{"by header all 20 calls went to pricing/v2"},
		Figures: []proof.Figure{{"90/10 of 400 calls", "361 : 39", "19 to 61 of 400"}, {What: "50/50 of 400 calls", Value: "204 : 196"}}})
	b.Add(proof.Entry{Subject: "something new", Test: "TestNew", Claim: "It is new.", Outcome: proof.Skipped, Why: []string{"there is no KEDA here"}})
	b.Add(proof.Entry{Subject: "orders", Test: "TestOrders", Claim: "Orders end.", Outcome: proof.Failed, Took: 83 * time.Second,
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
		all.Go(func() { b.Add(proof.Entry{Outcome: proof.Passed}) })
	}
	all.Wait()
	if got := b.Count(proof.Passed); got != 50 {
		t.Errorf("%d entries, want 50", got)
	}
}
