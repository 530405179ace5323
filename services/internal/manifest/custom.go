package manifest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

// definitions are where the owners of custom resources keep their definitions: the Go module, and the files in it.
var definitions = map[string]string{
	"github.com/dapr/dapr": "charts/dapr/crds/*.yaml",
	"istio.io/api":         "kubernetes/customresourcedefinitions.gen.yaml",
}

// Definitions reads the custom resource definitions out of the modules that go.mod pins, which are the versions that
// the types have. It asks the go command where they are.
func Definitions(ctx context.Context) ([][]byte, error) {
	var out [][]byte
	for _, module := range slices.Sorted(maps.Keys(definitions)) {
		dir, err := ModuleDir(ctx, module)
		if err != nil {
			return nil, err
		}
		files, err := filepath.Glob(filepath.Join(dir, filepath.FromSlash(definitions[module])))
		if err != nil {
			return nil, err
		}
		if len(files) == 0 {
			return nil, fmt.Errorf("the module %s has no %s", module, definitions[module])
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				return nil, err
			}
			out = append(out, raw)
		}
	}
	return out, nil
}

// ModuleDir is where the go command keeps a module of the version that go.mod pins.
func ModuleDir(ctx context.Context, module string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return "", fmt.Errorf("where is the module %s: %w", module, err)
	}
	dir := strings.TrimSpace(string(out))
	if dir == "" {
		return "", fmt.Errorf("the module %s is not downloaded: run go mod download %s", module, module)
	}
	return dir, nil
}

// customKind is one version of a custom resource, as the API server keeps it.
type customKind struct {
	structural *structural.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator
}

// define takes in the custom resource definitions of one file.
func (s *Schema) define(raw []byte) error {
	docs, err := Parse("crd", raw)
	if err != nil {
		return err
	}
	for _, d := range docs {
		var v1 apiextensionsv1.CustomResourceDefinition
		if err := json.Unmarshal(d.JSON, &v1); err != nil {
			return err
		}
		for _, version := range v1.Spec.Versions {
			gvk := schema.GroupVersionKind{Group: v1.Spec.Group, Version: version.Name, Kind: v1.Spec.Names.Kind}
			if !s.scheme.Recognizes(gvk) || version.Schema == nil {
				continue // not used here
			}
			kind, err := newCustomKind(version.Schema.OpenAPIV3Schema)
			if err != nil {
				return fmt.Errorf("the definition of %s: %w", gvk, err)
			}
			s.custom[gvk] = kind
		}
	}
	return nil
}

func newCustomKind(props *apiextensionsv1.JSONSchemaProps) (*customKind, error) {
	var internal apiextensions.JSONSchemaProps
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(props, &internal, nil); err != nil {
		return nil, err
	}
	st, err := structural.NewStructural(&internal)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(&internal)
	if err != nil {
		return nil, err
	}
	return &customKind{structural: st, validator: validator, rules: cel.NewValidator(st, true, celconfig.PerCallLimit)}, nil
}

// unknownFields tells what the API server would drop of a custom resource. Go types alone don't tell it of Istio's, which
// are lenient by themselves.
func (s *Schema) unknownFields(gvk schema.GroupVersionKind, d Document) []string {
	kind := s.custom[gvk]
	if kind == nil {
		return nil
	}
	obj := map[string]any{}
	if err := yaml.Unmarshal(d.JSON, &obj); err != nil {
		return []string{d.At("") + err.Error()}
	}
	var out []string
	for _, path := range pruning.PruneWithOptions(obj, kind.structural, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		out = append(out, d.At(path)+fmt.Sprintf("unknown field %q", path))
	}
	return out
}

// validate asks the schema and its CEL rules.
func (k *customKind) validate(d Document) []string {
	obj := map[string]any{}
	if err := json.Unmarshal(d.JSON, &obj); err != nil {
		return []string{d.At("") + err.Error()}
	}
	numbers(obj)
	defaulting.Default(obj, k.structural)
	errs := validation.ValidateCustomResource(nil, obj, k.validator)
	if len(errs) == 0 && k.rules != nil {
		errs, _ = k.rules.Validate(context.Background(), nil, k.structural, obj, nil, math.MaxInt64)
	}
	return fieldErrors(d, errs)
}

// numbers makes whole numbers int64, which is what the rules expect.
func numbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			v[key] = numbers(value)
		}
	case []any:
		for i, value := range v {
			v[i] = numbers(value)
		}
	case float64:
		if v == math.Trunc(v) {
			return int64(v)
		}
	}
	return v
}

// fieldErrors puts the place before each error of the API server.
func fieldErrors(d Document, errs field.ErrorList) []string {
	var out []string
	for _, e := range errs {
		out = append(out, fmt.Sprintf("%s%s: %s", d.At(e.Field), e.Field, e.ErrorBody()))
	}
	return out
}
