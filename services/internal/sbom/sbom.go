// Package sbom lists what a program is made of, as a CycloneDX document (https://cyclonedx.org). The list comes from
// the program itself: the Go linker writes every module with its version and hash into it.
package sbom

import (
	"debug/buildinfo"
	"fmt"
	"io"
	"runtime/debug"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// Write reads a Go program and writes its document. The same program gives the same bytes: there is no time and no
// serial number in it.
func Write(w io.Writer, program, name, version string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return fmt.Errorf("what %s is made of: %w", program, err)
	}
	bom := document(info, name, version)
	enc := cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON)
	enc.SetPretty(true)
	return enc.EncodeVersion(bom, cdx.SpecVersion1_5)
}

func document(info *debug.BuildInfo, name, version string) *cdx.BOM {
	bom := cdx.NewBOM()
	main := &cdx.Component{Type: cdx.ComponentTypeApplication, BOMRef: name, Name: name, Version: version}
	var settings []cdx.Property
	for _, s := range info.Settings {
		if strings.HasPrefix(s.Key, "-") || strings.HasPrefix(s.Key, "GO") || s.Key == "CGO_ENABLED" {
			settings = append(settings, cdx.Property{Name: "go:build:" + s.Key, Value: s.Value})
		}
	}
	if len(settings) > 0 {
		main.Properties = &settings
	}
	bom.Metadata = &cdx.Metadata{Component: main}
	std := purl("std", info.GoVersion)
	components := []cdx.Component{{Type: cdx.ComponentTypeLibrary, BOMRef: std, PackageURL: std, Name: "std", Version: info.GoVersion, Scope: cdx.ScopeRequired}}
	refs := []string{std}
	for _, dep := range info.Deps {
		if dep.Replace != nil {
			dep = dep.Replace
		}
		ref := purl(dep.Path, dep.Version)
		c := cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: ref, PackageURL: ref, Name: dep.Path, Version: dep.Version, Scope: cdx.ScopeRequired}
		if dep.Sum != "" {
			// go.sum's own form: a hash over the module's files and names (golang.org/x/mod/sumdb/dirhash), not of one file.
			c.Properties = &[]cdx.Property{{Name: "go:sum", Value: dep.Sum}}
		}
		components = append(components, c)
		refs = append(refs, ref)
	}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: name, Dependencies: &refs}}
	return bom
}

// purl names a Go module as https://github.com/package-url/purl-spec says.
func purl(path, version string) string {
	if path == "std" {
		return "pkg:golang/std@" + strings.TrimPrefix(version, "go")
	}
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}
