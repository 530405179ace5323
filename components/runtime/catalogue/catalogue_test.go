package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// TestTheCatalogueIsOfThisRuntime fails when Dapr or its components have changed and the catalogue was not written
// again.
func TestTheCatalogueIsOfThisRuntime(t *testing.T) {
	t.Chdir("..")
	want, err := catalogue()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("..", "..", "services", "internal", "profile", "catalogue.json")
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(bytes.TrimSpace(got), want) {
		t.Errorf("%s is not of this runtime: write it again with the command in catalogue/main.go", file)
	}
}
