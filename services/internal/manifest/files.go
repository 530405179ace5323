package manifest

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

// CheckFiles reads every file as what it is: a kustomization, a resource or patch of one, Helm values, or resources by
// themselves. What it is, the kustomizations and the names say; nothing is passed over. What a kustomization puts
// together is whole only when it is built, so its parts are decoded here, and validated by Build.
func (s *Schema) CheckFiles(fsys fs.FS, files []string) ([]Object, []string) {
	var violations []string
	parts := map[string]role{}
	for _, file := range files {
		if path.Base(file) == kustomizationFile {
			violations = append(violations, readKustomization(fsys, file, parts)...)
		}
	}
	var objects []Object
	for _, file := range files {
		docs, err := Read(fsys, file)
		if err != nil {
			violations = append(violations, err.Error())
			continue
		}
		if len(docs) == 0 {
			violations = append(violations, file+": there is nothing in it")
			continue
		}
		switch {
		case path.Base(file) == kustomizationFile, path.Base(file) == "profile.yaml", isValues(file):
			// kustomization: above. A profile is read by services/internal/profile, values by Values.
		case parts[file] == patch:
			for _, d := range docs {
				violations = append(violations, s.checkPatch(d)...)
			}
		case parts[file] == resource:
			for _, d := range docs {
				decoded, found := s.Decode(d)
				violations = append(violations, found...)
				if decoded != nil {
					objects = append(objects, Object{d, decoded})
				}
			}
		default:
			found, bad := s.CheckAll(docs)
			objects = append(objects, found...)
			violations = append(violations, bad...)
		}
	}
	return objects, violations
}

// isValues tells values of a Helm chart by their name.
func isValues(file string) bool { return strings.Contains(path.Base(file), "values") }

const kustomizationFile = "kustomization.yaml"

// role is what a file is in the kustomization that names it.
type role int

const (
	resource role = iota + 1
	patch
)

// readKustomization reads a kustomization strictly and notes what the files that it names are.
func readKustomization(fsys fs.FS, file string, parts map[string]role) []string {
	docs, err := Read(fsys, file)
	if err != nil {
		return []string{err.Error()}
	}
	var violations []string
	for _, d := range docs {
		var k types.Kustomization
		if err := yaml.UnmarshalStrict(d.JSON, &k); err != nil {
			violations = append(violations, d.At("")+short(err))
			continue
		}
		for _, r := range k.Resources {
			parts[path.Join(path.Dir(file), r)] = resource
		}
		for _, p := range k.Patches {
			if p.Path != "" {
				parts[path.Join(path.Dir(file), p.Path)] = patch
			}
		}
	}
	return violations
}

// checkPatch decodes a part of a resource: it may leave out what the whole must have, but names what exists only.
func (s *Schema) checkPatch(d Document) []string {
	if strings.HasPrefix(string(d.JSON), "[") {
		return checkOperations(d)
	}
	var v map[string]any
	if err := json.Unmarshal(d.JSON, &v); err != nil {
		return []string{d.At("") + err.Error()}
	}
	raw, err := json.Marshal(withoutDirectives(v))
	if err != nil {
		return []string{d.At("") + err.Error()}
	}
	d.JSON = raw
	_, violations := s.Decode(d)
	return violations
}

// checkOperations looks at a JSON patch (RFC 6902). Whether its paths exist, the build tells.
func checkOperations(d Document) []string {
	var operations []struct {
		Op, Path, From string
		Value          any
	}
	if err := yaml.UnmarshalStrict(d.JSON, &operations); err != nil {
		return []string{d.At("") + short(err)}
	}
	var out []string
	for i, o := range operations {
		if !slices.Contains([]string{"add", "remove", "replace", "move", "copy", "test"}, o.Op) || !strings.HasPrefix(o.Path, "/") {
			out = append(out, fmt.Sprintf("%soperation %d: %q on %q is none of RFC 6902", d.At(""), i, o.Op, o.Path))
		}
	}
	return out
}

// withoutDirectives leaves out what tells kustomize how to patch ($patch: delete).
func withoutDirectives(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			if strings.HasPrefix(key, "$") {
				delete(v, key)
			} else {
				v[key] = withoutDirectives(value)
			}
		}
	case []any:
		for i, value := range v {
			v[i] = withoutDirectives(value)
		}
	}
	return v
}
