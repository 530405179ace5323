package sbom

import (
	"bytes"
	"os"
	"runtime/debug"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-cmp/cmp"
)

func TestDocument(t *testing.T) {
	bom := document(&debug.BuildInfo{
		GoVersion: "go1.26.4",
		Deps: []*debug.Module{
			{Path: "github.com/gorilla/mux", Version: "v1.8.1", Sum: "h1:abc="},
			{Path: "example.com/old", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/new", Version: "v2.0.0+incompatible", Sum: "h1:def="}},
		},
		Settings: []debug.BuildSetting{{Key: "-trimpath", Value: "true"}, {Key: "vcs.time", Value: "now"}},
	}, "order", "v1")
	var got []string
	for _, c := range *bom.Components {
		got = append(got, c.PackageURL)
	}
	want := []string{"pkg:golang/std@1.26.4", "pkg:golang/github.com/gorilla/mux@v1.8.1", "pkg:golang/example.com/new@v2.0.0%2Bincompatible"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("components (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&[]cdx.Property{{Name: "go:build:-trimpath", Value: "true"}}, bom.Metadata.Component.Properties); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(&[]cdx.Property{{Name: "go:sum", Value: "h1:abc="}}, (*bom.Components)[1].Properties); diff != "" {
		t.Errorf("hash (-want +got):\n%s", diff)
	}
}

// The test program itself is a Go program.
func TestWriteIsReproducible(t *testing.T) {
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var first, second bytes.Buffer
	for _, b := range []*bytes.Buffer{&first, &second} {
		if err := Write(b, program, "order", "v1"); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Contains(first.Bytes(), []byte(`"bomFormat": "CycloneDX"`)) || !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Errorf("two documents of the same program differ, or are none:\n%s", first.Bytes())
	}
}

func TestWriteNoProgram(t *testing.T) {
	if err := Write(new(bytes.Buffer), "sbom.go", "x", "v1"); err == nil {
		t.Error("a text was taken for a program")
	}
}
