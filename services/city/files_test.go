package city_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/city"
)

func TestWriteFiles(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{city.BookFile: "a\n", city.MailFile: "b\nc\n", "other": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	if err := city.WriteFiles(&out, dir); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got[h.Name] = string(b)
	}
	if diff := cmp.Diff(map[string]string{city.BookFile: "a\n", city.MailFile: "b\nc\n"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
