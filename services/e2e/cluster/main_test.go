package cluster

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/proof"
)

// What a run is told.
var (
	dataFlag   = flag.String("data", "", "data folder of a cluster that `dishmesh cluster up` made; without it every test is skipped")
	plainFlag  = flag.String("plain", "http://dishmesh.localhost:8080", "address of the ingress without TLS")
	proofFlag  = flag.String("proof", "", "file to write what was seen to, and which tests were not run")
	keepFlag   = flag.String("keep", "", "file that keeps what each test saw; what earlier runs kept there goes into -proof, the latest run of a test counts")
	apartFlag  = flag.String("apart", "", "a service that somebody works on meanwhile: no test waits for it to be well, and the file says so")
	commitFlag = flag.String("commit", "unknown", "commit that is tested, for the file")
)

// whyNot is what a test says when there is no cluster.
const whyNot = "no cluster was asked for: `make test-cluster` makes one, or give -data FOLDER of one that runs"

// book has what the tests of this run have seen.
var book proof.Book

// subjects are the parts of the proof in the order in which people read them.
var subjects = []string{"orders", "ingress", "authorization", "network", "pods", "canary", "faults", "scaling", "change", "kills", "broker", "tracing", "tilt", "cost"}

// reserve is kept of -timeout to write down what there is.
const reserve = 30 * time.Second

func TestMain(m *testing.M) {
	flag.Parse()
	if flag.Lookup("test.list").Value.String() != "" {
		os.Exit(m.Run())
	}
	if *dataFlag == "" {
		fmt.Println("cluster:", whyNot)
		os.Exit(m.Run())
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	began := time.Now()
	var err error
	if *keepFlag != "" {
		if err := book.Open(*keepFlag); err != nil {
			fmt.Fprintln(os.Stderr, "cluster:", err)
			return 1
		}
	}
	if here, err = openSite(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "cluster:", err)
		return 1
	}
	// A test that hangs, or Ctrl-C, must not take with it what the others have seen.
	var once sync.Once
	write := func(why string) {
		once.Do(func() {
			for _, t := range unfinished() {
				t.note(why)
			}
			if err := writeProof(began); err != nil {
				fmt.Fprintln(os.Stderr, "cluster:", err)
			}
			here.close()
		})
	}
	guard := time.AfterFunc(limit()-reserve, func() {
		write("not finished when the time of -timeout was over")
		os.Exit(1)
	})
	defer guard.Stop()
	watching := context.AfterFunc(ctx, func() {
		write("interrupted")
		os.Exit(130)
	})
	defer watching()
	code := m.Run()
	write("")
	fmt.Printf("cluster: %d passed, %d failed, %d skipped in %.0f s\n", book.Count(proof.Passed), book.Count(proof.Failed), book.Count(proof.Skipped), time.Since(began).Seconds())
	return code
}

// limit is the time that the test program has.
func limit() time.Duration {
	d, err := time.ParseDuration(flag.Lookup("test.timeout").Value.String())
	if err != nil || d <= reserve {
		return 24 * time.Hour
	}
	return d
}

// writeProof writes the file, if one is asked for.
func writeProof(began time.Time) error {
	if *proofFlag == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tests, err := allTests(ctx)
	if err != nil {
		return err
	}
	text := book.Markdown(proof.Run{Began: began, Took: time.Since(began), Commit: *commitFlag, Place: here.describe(ctx), Command: "make test-cluster", Tests: tests}, subjects)
	if err := os.WriteFile(*proofFlag, []byte(text), 0o644); err != nil {
		return fmt.Errorf("what was seen can't be written: %w", err)
	}
	fmt.Println("cluster: what was seen is in", filepath.Clean(*proofFlag))
	return nil
}

// allTests are the names of the tests that need a cluster, by what the test program itself lists and doc.go tells.
func allTests(ctx context.Context) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	listed, err := exec.CommandContext(ctx, self, "-test.list", ".").Output()
	if err != nil {
		return nil, fmt.Errorf("the tests can't be listed: %w", err)
	}
	doc, err := os.ReadFile("doc.go")
	if err != nil {
		return nil, err
	}
	var tests []string
	for _, name := range strings.Fields(string(listed)) {
		if regexp.MustCompile(`\b` + name + `\b`).Match(doc) {
			tests = append(tests, name)
		}
	}
	return tests, nil
}
