// Package arch holds the structure of the repository: which package may know which, what the subscriptions say
// against what the code does, and which files may lie where. It is tests only. Each rule is a function from facts to
// violations, so that it is seen to fail on made-up facts before it is trusted on the real ones.
package arch

import (
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/platform"
)

const module = "github.com/dishmesh/dishmesh"

// services are the Dapr app ids, which are also the folders of the services.
var services = platform.Apps()

func isService(name string) bool { return slices.Contains(services, name) }

// root is the top of the checkout.
func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "go.mod")); err != nil {
		t.Fatalf("the top of the checkout is not where it should be: %v", err)
	}
	return dir
}

// tracked lists the files that git knows and that are there, with slashes, from the top of the checkout.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z")
	cmd.Dir = root(t)
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	var files []string
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if _, err := os.Lstat(filepath.Join(cmd.Dir, name)); err == nil {
			files = append(files, name)
		} else if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return files
}

// report fails the test with each violation of a rule.
func report(t *testing.T, violations []string) {
	t.Helper()
	for _, v := range violations {
		t.Error(v)
	}
}

// same compares the violations that a rule found in made-up facts with those that it must find, in any order.
func same(t *testing.T, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("violations (-want +got):\n%s", diff)
	}
}
