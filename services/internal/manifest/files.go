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

// Use is what a file is for, where no kustomization says it.
type Use int

// Resources are applied as they are; a Part is laid over a resource by something else than kustomize; what is Apart has
// another reader, such as Helm.
const (
	Resources Use = iota
	Part
	Apart
)

// CheckFiles reads every file as what it is: a kustomization, a resource or patch of one, or what use says; nothing is
// passed over. What a kustomization puts together is whole only when it is built, so its parts are decoded here, and
// validated by Build.
func (s *Schema) CheckFiles(fsys fs.FS, files []string, use func(file string) Use) ([]Object, []string) {
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
		case path.Base(file) == kustomizationFile, use(file) == Apart:
		case parts[file] == patch, use(file) == Part:
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
		for _, r := range slices.Concat(k.Resources, k.Components) {
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

// Kustomizations are the folders that something is built from: those that no other kustomization takes in. Components are
// those that can be added to one, and no kustomization does. A file that lies in the folder of a kustomization and is
// named by none is a violation: it would never be applied.
// A file that is Apart may lie there.
func Kustomizations(fsys fs.FS, files []string, use func(file string) Use) (folders, components, violations []string) {
	parts := map[string]role{}
	own := map[string]bool{}
	for _, file := range files {
		if path.Base(file) == kustomizationFile {
			violations = append(violations, readKustomization(fsys, file, parts)...)
			own[path.Dir(file)] = true
		}
	}
	for _, file := range files {
		folder := path.Dir(file)
		switch {
		case !own[folder]:
		case path.Base(file) != kustomizationFile:
			if parts[file] == 0 && use(file) != Apart {
				violations = append(violations, file+": the kustomization beside it does not name it")
			}
		case parts[folder] != 0:
		case isComponent(fsys, file):
			components = append(components, folder)
		default:
			folders = append(folders, folder)
		}
	}
	return folders, components, violations
}

func isComponent(fsys fs.FS, file string) bool {
	docs, err := Read(fsys, file)
	return err == nil && len(docs) > 0 && docs[0].Kind == types.ComponentKind
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
