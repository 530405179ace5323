package main

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// entries reads a tar file: the bytes of each regular file and the kind of all others, by name.
func entries(t *testing.T, r io.Reader) map[string]string {
	t.Helper()
	got := map[string]string{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return got
		}
		if err != nil {
			t.Fatal(err)
		}
		switch h.Typeflag {
		case tar.TypeReg:
			b, err := io.ReadAll(tr)
			if err != nil {
				t.Fatal(err)
			}
			got[h.Name] = string(b)
		case tar.TypeDir:
			got[h.Name] = "folder"
		default:
			got[h.Name] = "-> " + h.Linkname
		}
		if !h.ModTime.IsZero() && h.ModTime.Unix() != 0 {
			t.Errorf("%s carries the time %v", h.Name, h.ModTime)
		}
	}
}

func put(t *testing.T, root string, files map[string]string) string {
	t.Helper()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if target, ok := strings.CutPrefix(content, "-> "); ok {
			if err := os.Symlink(target, path); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestLayer(t *testing.T) {
	base := map[string]string{"etc/passwd": "root", "bin/sh": "shell", "lib/so": "-> so.1", "var/lib/dpkg/info/x": "a"}
	tests := []struct {
		name  string
		files map[string]string
		layer layer
		want  map[string]string
	}{
		{"whole", map[string]string{"a/b": "x", "c": "-> a/b", "var/lib/dpkg/status": "b"}, layer{},
			map[string]string{"a/": "folder", "a/b": "x", "c": "-> a/b", "var/": "folder", "var/lib/": "folder", "var/lib/dpkg/": "folder", "var/lib/dpkg/status": "b"}},
		{"a Debian root", map[string]string{"usr/share/doc/x": "x", "usr/bin/y": "y", "var/lib/dpkg/info/x": "b", "var/lib/dpkg/status": "b"}, layer{debian: true},
			map[string]string{"usr/": "folder", "usr/share/": "folder", "usr/share/doc/": "folder", "usr/bin/": "folder", "usr/bin/y": "y",
				"var/": "folder", "var/lib/": "folder", "var/lib/dpkg/": "folder", "var/lib/dpkg/info/": "folder", "var/lib/dpkg/status": "b"}},
		{"beyond a base", map[string]string{"etc/passwd": "ROOT", "bin/sh": "shell", "lib/so": "-> so.2", "bin/new": "new", "var/lib/dpkg/info/x": "b"},
			layer{debian: true, base: put(t, t.TempDir(), base)},
			map[string]string{"etc/passwd": "ROOT", "lib/so": "-> so.2", "bin/new": "new"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.layer.folder = put(t, t.TempDir(), tt.files)
			file := filepath.Join(t.TempDir(), "layer.tar")
			sum, err := writeLayer(file, tt.layer)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if want := sha256.Sum256(b); sum != hex.EncodeToString(want[:]) {
				t.Errorf("the layer is named %s, its digest is %x", sum, want)
			}
			got := entries(t, strings.NewReader(string(b)))
			for name, want := range tt.want {
				if got[name] != want {
					t.Errorf("%s: got %q, want %q", name, got[name], want)
				}
				delete(got, name)
			}
			for name := range got {
				t.Errorf("%s should not be there", name)
			}
		})
	}
}

func TestHardLinksStayLinks(t *testing.T) {
	root := put(t, t.TempDir(), map[string]string{"a": "same"})
	if err := os.Link(filepath.Join(root, "a"), filepath.Join(root, "b")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "layer.tar")
	if _, err := writeLayer(file, layer{folder: root}); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if got := entries(t, f); got["a"] != "same" || got["b"] != "-> a" {
		t.Errorf("got %v", got)
	}
}

// TestArchive checks what an engine reads: the manifest names the configuration and the layers, each by its digest, and
// the same folders give the same bytes whenever they were written.
func TestArchive(t *testing.T) {
	var archives []string
	for i := range 2 {
		root := put(t, t.TempDir(), map[string]string{"app": "program"})
		when := time.Unix(int64(i)*1e6, 0)
		if err := os.Chtimes(filepath.Join(root, "app"), when, when); err != nil {
			t.Fatal(err)
		}
		out := filepath.Join(t.TempDir(), "image.tar")
		if err := run([]string{"-ref", "example/app:1", "-o", out, "-user", "65532:65532", "-env", "A=b", "-entrypoint", "/app", "-label", "x=y", root}); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		archives = append(archives, string(b))
	}
	if archives[0] != archives[1] {
		t.Error("the same content gave two different archives")
	}
	got := entries(t, strings.NewReader(archives[0]))
	var manifests []manifest
	if err := json.Unmarshal([]byte(got["manifest.json"]), &manifests); err != nil {
		t.Fatal(err)
	}
	if len(manifests) != 1 || len(manifests[0].RepoTags) != 1 || manifests[0].RepoTags[0] != "example/app:1" || len(manifests[0].Layers) != 1 {
		t.Fatalf("manifest %+v", manifests)
	}
	var conf imageConfig
	if err := json.Unmarshal([]byte(got[manifests[0].Config]), &conf); err != nil {
		t.Fatal(err)
	}
	if conf.Config.User != "65532:65532" || conf.Config.Labels["x"] != "y" || len(conf.Config.Entrypoint) != 1 {
		t.Errorf("configuration %+v", conf.Config)
	}
	if want := "sha256:" + strings.TrimSuffix(manifests[0].Layers[0], ".tar"); len(conf.RootFS.DiffIDs) != 1 || conf.RootFS.DiffIDs[0] != want {
		t.Errorf("layers %v, want %s", conf.RootFS.DiffIDs, want)
	}
}

func TestBadInput(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"nothing", nil, "name the image"},
		{"no layer", []string{"-ref", "a:1", "-o", "x"}, "at least one folder"},
		{"label", []string{"-ref", "a:1", "-o", "x", "-label", "y", "."}, "not KEY=VALUE"},
		{"missing folder", []string{"-ref", "a:1", "-o", filepath.Join(t.TempDir(), "x"), "/does/not/exist"}, "no such file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := run(tt.args); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
