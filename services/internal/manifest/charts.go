package manifest

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	mesh "istio.io/api/mesh/v1alpha1"
	"sigs.k8s.io/yaml"
)

// Values holds that a file of Helm values sets only what the chart has: Helm takes every key and uses those that its
// templates know, so that a misspelt one changes nothing, without a word. Below a key whose default is empty everything
// goes, and below resources; what is set as meshConfig must be Istio's.
func Values(chart string, values Document) []string {
	defaults, err := chartDefaults(chart)
	if err != nil {
		return []string{err.Error()}
	}
	var set map[string]any
	if err := json.Unmarshal(values.JSON, &set); err != nil {
		return []string{values.At("") + err.Error()}
	}
	var violations []string
	if config, ok := set["meshConfig"]; ok {
		delete(set, "meshConfig")
		raw, err := json.Marshal(config)
		if err != nil {
			return []string{values.At("meshConfig") + err.Error()}
		}
		if err := protojson.Unmarshal(raw, &mesh.MeshConfig{}); err != nil {
			violations = append(violations, values.At("meshConfig")+stable(err))
		}
	}
	return append(violations, unknownKeys(values, "", set, defaults)...)
}

func unknownKeys(d Document, path string, set, defaults map[string]any) []string {
	var out []string
	for _, key := range slices.Sorted(maps.Keys(set)) {
		at := key
		if path != "" {
			at = path + "." + key
		}
		value, known := defaults[key]
		if !known {
			out = append(out, fmt.Sprintf("%sthe chart has no value %s", d.At(at), at))
			continue
		}
		inner, isMap := set[key].(map[string]any)
		if below, ok := value.(map[string]any); ok && len(below) > 0 && isMap && key != "resources" {
			out = append(out, unknownKeys(d, at, inner, below)...)
		}
	}
	return out
}

// chartDefaults are the values that a chart has, with those of the charts in it below their names.
func chartDefaults(chart string) (map[string]any, error) {
	raw, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if errors.Is(err, fs.ErrNotExist) {
		return map[string]any{}, nil
	}
	if err != nil {
		return nil, err
	}
	defaults := map[string]any{}
	if err := yaml.Unmarshal(raw, &defaults); err != nil {
		return nil, fmt.Errorf("%s: %w", chart, err)
	}
	// Istio's charts keep their defaults one level down, so that profiles can come between.
	if inner, ok := defaults["_internal_defaults_do_not_set"].(map[string]any); ok {
		defaults = inner
	}
	parts, err := filepath.Glob(filepath.Join(chart, "charts", "*", "values.yaml"))
	if err != nil {
		return nil, err
	}
	for _, part := range parts {
		name := filepath.Base(filepath.Dir(part))
		inner, err := chartDefaults(filepath.Dir(part))
		if err != nil {
			return nil, err
		}
		if own, ok := defaults[name].(map[string]any); ok {
			maps.Copy(inner, own)
		}
		defaults[name] = inner
	}
	return defaults, nil
}
