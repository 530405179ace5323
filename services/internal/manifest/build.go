package manifest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// Object is a resource that was understood.
type Object struct {
	Document
	Decoded runtime.Object
}

// Resource is a resource of one kind.
type Resource[T runtime.Object] struct {
	Document
	Of T
}

// All are the resources of one type, in their order.
func All[T runtime.Object](objects []Object) []Resource[T] {
	var out []Resource[T]
	for _, o := range objects {
		if decoded, ok := o.Decoded.(T); ok {
			out = append(out, Resource[T]{o.Document, decoded})
		}
	}
	return out
}

// Load decodes and checks the documents of a file, as CheckAll does.
func (s *Schema) Load(file string, raw []byte) ([]Object, []string) {
	docs, err := Parse(file, raw)
	if err != nil {
		return nil, []string{err.Error()}
	}
	return s.CheckAll(docs)
}

// CheckAll checks documents. What was not understood is no object but a violation.
func (s *Schema) CheckAll(docs []Document) ([]Object, []string) {
	var objects []Object
	var violations []string
	for _, d := range docs {
		decoded, found := s.Check(d)
		violations = append(violations, found...)
		if decoded != nil {
			objects = append(objects, Object{d, decoded})
		}
	}
	return objects, violations
}

// Build lets kustomize put together an overlay of the checkout at root, as kubectl apply -k does, and checks what comes
// out of it.
func (s *Schema) Build(root, overlay string) ([]Object, []string) {
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, overlay))
	if err != nil {
		return nil, []string{fmt.Sprintf("%s: kustomize build: %v", overlay, err)}
	}
	var docs []Document
	for _, r := range resources.Resources() {
		raw, err := r.AsYAML()
		if err != nil {
			return nil, []string{fmt.Sprintf("%s: %v", overlay, err)}
		}
		parsed, err := Parse(overlay, raw)
		if err != nil {
			return nil, []string{err.Error()}
		}
		for _, d := range parsed {
			d.node = nil // a line of what was built helps nobody
			docs = append(docs, d)
		}
	}
	return s.CheckAll(docs)
}

// BuildWith is Build of an overlay with a component added that it does not have by itself.
func (s *Schema) BuildWith(root, overlay, component string) ([]Object, []string) {
	dir, err := os.MkdirTemp("", "overlay")
	if err != nil {
		return nil, []string{err.Error()}
	}
	defer os.RemoveAll(dir)
	relative := func(folder string) string {
		rel, err := filepath.Rel(dir, filepath.Join(root, folder))
		if err != nil {
			return folder
		}
		return filepath.ToSlash(rel)
	}
	text := fmt.Sprintf("resources: [%q]\ncomponents: [%q]\n", relative(overlay), relative(component))
	if err := os.WriteFile(filepath.Join(dir, kustomizationFile), []byte(text), 0o600); err != nil {
		return nil, []string{err.Error()}
	}
	objects, violations := s.Build(dir, ".")
	for i := range objects {
		objects[i].File = overlay + " with " + component
	}
	for i, v := range violations {
		violations[i] = component + strings.TrimPrefix(v, ".")
	}
	return objects, violations
}

// Lay puts resources over others, as applying them does: one of the same kind, namespace and name replaces the other.
func Lay(under, over []Object) []Object {
	key := func(o Object) [3]string { return [3]string{o.Kind, o.Namespace, o.Name} }
	replaced := map[[3]string]bool{}
	for _, o := range over {
		replaced[key(o)] = true
	}
	return append(slices.DeleteFunc(slices.Clone(under), func(o Object) bool { return replaced[key(o)] }), over...)
}
