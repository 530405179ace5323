package manifest_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/dishmesh/dishmesh/services/internal/manifest"
)

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

// testNames are the tests that the repository has.
func testNames(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(filepath.Join(root(t), "services"), func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		raw, err := os.ReadFile(path)
		for _, m := range testFunc.FindAllSubmatch(raw, -1) {
			out = append(out, string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestComments(t *testing.T) {
	top, files := yamlFiles(t)
	report(t, manifest.Comments(top, files, testNames(t)))
}

func TestCommentsIsSeenToFail(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"right", "# What order may ask of menu.\n# Shown by: TestA and TestB\nkind: A\n", ""},
		{"none", "kind: A\n", "f.yaml:1: say in a comment what it does"},
		{"next to none", "# order\nkind: A\n", "f.yaml:1: say in a comment what it does"},
		{"test that is gone", "# What order may ask of menu.\n# Shown by: TestA, TestC\nkind: A\n", "f.yaml: it is shown by TestC, and there is no such test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			files := fstest.MapFS{"f.yaml": {Data: []byte(tt.file)}}
			one(t, manifest.Comments(files, []string{"f.yaml"}, []string{"TestA", "TestB"}), tt.want)
		})
	}
}
