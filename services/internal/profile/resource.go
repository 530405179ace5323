package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// Resource is one YAML document of a components folder.
type Resource struct {
	Kind, Name string
	// Type and Version are those of a component, such as pubsub.kafka and v1; empty for other kinds.
	Type, Version string
	// Scopes are the apps that load it.
	Scopes []string
	// Metadata are the settings of a component.
	Metadata []Setting
	// File is the path from the folder above components/, and Line the first line of the document in it.
	File string
	Line int
	// Raw is the document as it stands in the file.
	Raw []byte

	// lines are where the parts named in messages stand.
	lines map[string]int
	doc   document
}

// Setting is one entry of a component's metadata.
type Setting struct {
	Name, Value string
	// EnvRef is the variable that the value comes from; empty when it stands in the file.
	EnvRef string
	// SecretRef is the secret that the value comes from; empty when it does not.
	SecretRef string
	Line      int
}

// At is where the resource stands, for messages: file and line.
func (r Resource) At() string { return r.File + ":" + strconv.Itoa(r.Line) }

// Setting returns a setting of a component; ok is false when it has none of that name.
func (r Resource) Setting(name string) (s Setting, ok bool) {
	i := slices.IndexFunc(r.Metadata, func(s Setting) bool { return strings.EqualFold(s.Name, name) })
	if i < 0 {
		return Setting{}, false
	}
	return r.Metadata[i], true
}

func (r Resource) key() string { return r.Kind + "/" + r.Name }

// line is where a part stands, or the resource itself.
func (r Resource) at(part string) string {
	if n, ok := r.lines[part]; ok {
		return r.File + ":" + strconv.Itoa(n)
	}
	return r.At()
}

// document is what is read of any resource. Kinds other than Component keep their spec as it is: Dapr's own types
// check it, in the tests of the module that has them.
type document struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
	Metadata   struct {
		Name        string            `yaml:"name"`
		Namespace   string            `yaml:"namespace"`
		Labels      map[string]string `yaml:"labels"`
		Annotations map[string]string `yaml:"annotations"`
	} `yaml:"metadata"`
	Spec   yaml.Node `yaml:"spec"`
	Auth   yaml.Node `yaml:"auth"`
	Scopes []string  `yaml:"scopes"`
}

// componentSpec is the spec of a component, as Dapr's types have it (pkg/apis/components/v1alpha1).
type componentSpec struct {
	Type         string    `yaml:"type"`
	Version      string    `yaml:"version"`
	IgnoreErrors bool      `yaml:"ignoreErrors"`
	InitTimeout  string    `yaml:"initTimeout"`
	Metadata     []setting `yaml:"metadata"`
}

type setting struct {
	Name         string    `yaml:"name"`
	Value        yaml.Node `yaml:"value"`
	EnvRef       string    `yaml:"envRef"`
	SecretKeyRef struct {
		Name string `yaml:"name"`
		Key  string `yaml:"key"`
	} `yaml:"secretKeyRef"`
}

// readFolder reads every resource of a folder of components/, by file and place.
func readFolder(components, folder string) ([]Resource, error) {
	files, err := filepath.Glob(filepath.Join(components, folder, "*.yaml"))
	if err != nil {
		return nil, err
	}
	var out []Resource
	var faults []error
	for _, file := range files {
		if base := filepath.Base(file); base == descriptorFile || base == kustomizationFile {
			continue
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		resources, err := parseFile(filepath.Join("components", folder, filepath.Base(file)), raw)
		if err != nil {
			faults = append(faults, err)
		}
		out = append(out, resources...)
	}
	return out, errors.Join(faults...)
}

// separator is a line that ends one YAML document and begins the next.
var separator = regexp.MustCompile(`(?m)^---[ \t]*(#.*)?$\n?`)

// parseFile reads the documents of a file.
func parseFile(shown string, raw []byte) ([]Resource, error) {
	var out []Resource
	var faults []error
	line := 1
	rest := raw
	for len(rest) > 0 {
		doc, after := rest, []byte(nil)
		if at := separator.FindIndex(rest); at != nil {
			doc, after = rest[:at[0]], rest[at[1]:]
		}
		if r, err := parseDocument(shown, line, doc); err != nil {
			faults = append(faults, err)
		} else if r != nil {
			out = append(out, *r)
		}
		line += bytes.Count(rest[:len(rest)-len(after)], []byte("\n"))
		rest = after
	}
	return out, errors.Join(faults...)
}

func parseDocument(shown string, first int, raw []byte) (*Resource, error) {
	var node yaml.Node
	if err := yaml.Unmarshal(raw, &node); err != nil {
		return nil, yamlFault(shown, first-1, err)
	}
	if len(node.Content) == 0 {
		return nil, nil // comments only
	}
	var doc document
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	if err := dec.Decode(&doc); err != nil && !errors.Is(err, io.EOF) {
		return nil, yamlFault(shown, first-1, err)
	}
	start := first + node.Content[0].Line - 1
	r := &Resource{Kind: doc.Kind, Name: doc.Metadata.Name, Scopes: doc.Scopes, File: shown, Line: start, Raw: raw, lines: map[string]int{}, doc: doc}
	findLines(node.Content[0], "", first-1, r.lines)
	if doc.Kind != "Component" {
		return r, nil
	}
	var spec componentSpec
	if err := strictNode(&doc.Spec, &spec); err != nil {
		return nil, yamlFault(shown, first+doc.Spec.Line-2, err)
	}
	r.Type, r.Version = spec.Type, spec.Version
	for i, s := range spec.Metadata {
		value := Setting{Name: s.Name, EnvRef: s.EnvRef, SecretRef: s.SecretKeyRef.Name, Line: r.lines["spec.metadata."+strconv.Itoa(i)]}
		if s.Value.Kind == yaml.ScalarNode {
			value.Value = s.Value.Value
		}
		r.Metadata = append(r.Metadata, value)
	}
	return r, nil
}

// strictNode decodes a node and refuses keys that the type does not have; yaml.Node itself has no such mode. The lines
// of its errors count from the node.
func strictNode(node *yaml.Node, into any) error {
	raw, err := yaml.Marshal(node)
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	return dec.Decode(into)
}

// findLines notes where each part of a document stands, by its path.
func findLines(n *yaml.Node, path string, offset int, into map[string]int) {
	join := func(part string) string {
		if path == "" {
			return part
		}
		return path + "." + part
	}
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			part := join(n.Content[i].Value)
			into[part] = n.Content[i].Line + offset
			findLines(n.Content[i+1], part, offset, into)
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			part := join(strconv.Itoa(i))
			into[part] = c.Line + offset
			findLines(c, part, offset, into)
		}
	}
}

var (
	yamlLine  = regexp.MustCompile(`line (\d+): `)
	yamlField = regexp.MustCompile(`field (\S+) not found in type .*`)
)

// yamlFault puts file and line before an error of the YAML decoder, and says what to do about it.
func yamlFault(shown string, offset int, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.TrimPrefix(text, "unmarshal errors:\n  ")
	text, _, _ = strings.Cut(text, "\n")
	line := 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		line, _ = strconv.Atoi(m[1])
		text = strings.Replace(text, m[0], "", 1)
	}
	if m := yamlField.FindStringSubmatch(text); m != nil {
		text = fmt.Sprintf("the key %q is unknown: correct or remove it", m[1])
	} else {
		text += ": correct the YAML"
	}
	return fmt.Errorf("%s:%d: %s", shown, line+offset, text)
}
