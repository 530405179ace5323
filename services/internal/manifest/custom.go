package manifest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	kjson "sigs.k8s.io/json"
)

// definitions are where the owners of custom resources keep their definitions: the Go module, and the files in it.
var definitions = map[string]string{
	"github.com/dapr/dapr":                   "charts/dapr/crds/*.yaml",
	"github.com/fluxcd/kustomize-controller": "config/crd/bases/*.yaml",
	"github.com/fluxcd/source-controller":    "config/crd/bases/*.yaml",
	"github.com/kedacore/keda/v2":            "config/crd/bases/keda.sh_*.yaml",
	"istio.io/api":                           "kubernetes/customresourcedefinitions.gen.yaml",
}

// Definitions reads the custom resource definitions out of modules, by the folders that they are in. Modules without
// definitions are passed over.
func Definitions(modules map[string]string) ([][]byte, error) {
	var out [][]byte
	for _, module := range slices.Sorted(maps.Keys(definitions)) {
		dir, ok := modules[module]
		if !ok {
			return nil, fmt.Errorf("the definitions in the module %s are wanted: where is it?", module)
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

// Modules are the folders in which the go command keeps the named modules, of the versions that the go.mod in dir pins;
// it downloads what is not there yet.
func Modules(ctx context.Context, dir string, names ...string) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "go", append([]string{"mod", "download", "-json"}, names...)...)
	cmd.Dir = dir
	text, failed := cmd.Output()
	out := map[string]string{}
	dec := json.NewDecoder(bytes.NewReader(text))
	for {
		var m struct{ Path, Dir, Error string }
		err := dec.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("go mod download in %s: %w", dir, err)
		}
		if m.Error != "" {
			return nil, fmt.Errorf("the module %s can't be had: %s", m.Path, m.Error)
		}
		out[m.Path] = m.Dir
	}
	if failed != nil {
		return nil, fmt.Errorf("go mod download in %s: %w", dir, failed)
	}
	return out, nil
}

// customKind is one version of a custom resource, as the API server keeps it.
type customKind struct {
	structural *structural.Structural
	validator  validation.SchemaValidator
	rules      *cel.Validator
}

// define takes in the custom resource definitions of one file. A kind is worked out when the first resource of it comes.
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
			if version.Schema == nil || !version.Served {
				continue
			}
			gvk := schema.GroupVersionKind{Group: v1.Spec.Group, Version: version.Name, Kind: v1.Spec.Names.Kind}
			s.custom[gvk] = sync.OnceValues(func() (*customKind, error) {
				kind, err := newCustomKind(version.Schema.OpenAPIV3Schema)
				if err != nil {
					return nil, fmt.Errorf("the definition of %s: %w", gvk, err)
				}
				return kind, nil
			})
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
func (k *customKind) unknownFields(d Document) []string {
	obj := map[string]any{}
	if err := json.Unmarshal(d.JSON, &obj); err != nil {
		return []string{d.At("") + err.Error()}
	}
	var out []string
	for _, path := range pruning.PruneWithOptions(obj, k.structural, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}) {
		out = append(out, d.At(path)+fmt.Sprintf("unknown field %q", path))
	}
	var meta struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	strict, err := kjson.UnmarshalStrict(d.JSON, &meta)
	if err != nil {
		return append(out, d.At("metadata")+err.Error())
	}
	for _, e := range strict {
		if strings.Contains(e.Error(), `"metadata.`) {
			out = append(out, d.At("metadata")+e.Error())
		}
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
