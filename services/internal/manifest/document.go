package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	yamlv3 "gopkg.in/yaml.v3"
	"sigs.k8s.io/yaml"
)

// Document is one YAML document, before anybody has said what it is.
type Document struct {
	// File is the path from the top of the checkout, or how the document came to be.
	File string
	// Comment is what stands above the first line of the document.
	Comment string
	// JSON is the same document as the API server gets it. Keys that stand twice were refused.
	JSON []byte

	APIVersion, Kind, Namespace, Name string

	node *yamlv3.Node
}

// Read splits a file into its documents; empty ones are left out. The error names file and line.
func Read(fsys fs.FS, file string) ([]Document, error) {
	raw, err := fs.ReadFile(fsys, file)
	if err != nil {
		return nil, err
	}
	return Parse(file, raw)
}

// Parse splits what was read from a file into its documents.
func Parse(file string, raw []byte) ([]Document, error) {
	dec := yamlv3.NewDecoder(bytes.NewReader(raw))
	var out []Document
	for {
		var node yamlv3.Node
		err := dec.Decode(&node)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if len(node.Content) == 0 || node.Content[0].Tag == "!!null" {
			continue
		}
		d, err := document(file, &node)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, d)
	}
}

func document(file string, node *yamlv3.Node) (Document, error) {
	d := Document{File: file, node: node.Content[0]}
	d.Comment = strings.TrimSpace(node.HeadComment + "\n" + d.node.HeadComment)
	if d.Comment == "" && len(d.node.Content) > 0 {
		d.Comment = strings.TrimSpace(d.node.Content[0].HeadComment)
	}
	var v any
	if err := node.Decode(&v); err != nil { // a key that stands twice, with its line
		return d, err
	}
	raw, err := yamlv3.Marshal(flat(d.node))
	if err != nil {
		return d, err
	}
	if d.JSON, err = yaml.YAMLToJSONStrict(raw); err != nil {
		return d, err
	}
	var head struct {
		APIVersion, Kind string
		Metadata         struct{ Name, Namespace string }
	}
	if err := yaml.Unmarshal(d.JSON, &head); err == nil { // a list, such as a patch, has none of it
		d.APIVersion, d.Kind = head.APIVersion, head.Kind
		d.Name, d.Namespace = head.Metadata.Name, head.Metadata.Namespace
	}
	return d, nil
}

// flat is a node without anchors, aliases and merges (<<), which the strict readers take for keys that stand twice.
func flat(node *yamlv3.Node) *yamlv3.Node {
	if node.Kind == yamlv3.AliasNode {
		return flat(node.Alias)
	}
	out := *node
	out.Anchor, out.Content = "", nil
	if node.Kind != yamlv3.MappingNode {
		for _, c := range node.Content {
			out.Content = append(out.Content, flat(c))
		}
		return &out
	}
	own := map[string]bool{}
	var merged []*yamlv3.Node
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], flat(node.Content[i+1])
		switch {
		case key.Tag != "!!merge":
			own[key.Value] = true
			out.Content = append(out.Content, flat(key), value)
		case value.Kind == yamlv3.SequenceNode:
			merged = append(merged, value.Content...)
		default:
			merged = append(merged, value)
		}
	}
	for _, m := range merged {
		for i := 0; i+1 < len(m.Content); i += 2 {
			if key := m.Content[i].Value; !own[key] {
				own[key] = true
				out.Content = append(out.Content, m.Content[i], m.Content[i+1])
			}
		}
	}
	return &out
}

// At says where a field is, as "file:line: kind name: "; path is as Kubernetes writes it (spec.ports[0].name). Of a
// field that is not there, the line of what should hold it is told.
func (d Document) At(path string) string {
	where := d.File
	if d.node != nil {
		where += ":" + strconv.Itoa(lineOf(d.node, path))
	}
	if d.Kind == "" {
		return where + ": "
	}
	return strings.TrimRight(where+": "+d.Kind+" "+d.Name, " ") + ": "
}

func lineOf(node *yamlv3.Node, path string) int {
	line := node.Line
	for step := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		var next *yamlv3.Node
		switch node.Kind {
		case yamlv3.MappingNode:
			for i := 0; i+1 < len(node.Content); i += 2 {
				if node.Content[i].Value == step {
					line, next = node.Content[i].Line, node.Content[i+1]
				}
			}
		case yamlv3.SequenceNode:
			if i, err := strconv.Atoi(step); err == nil && i < len(node.Content) {
				line, next = node.Content[i].Line, node.Content[i]
			}
		}
		if next == nil {
			return line
		}
		node = next
	}
	return line
}

// Files lists the YAML files below the folders, sorted.
func Files(fsys fs.FS, folders ...string) ([]string, error) {
	var out []string
	for _, folder := range folders {
		err := fs.WalkDir(fsys, folder, func(path string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if ext := filepath.Ext(path); !e.IsDir() && (ext == ".yaml" || ext == ".yml") {
				out = append(out, path)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(out)
	return out, nil
}
