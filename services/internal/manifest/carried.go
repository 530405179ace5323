package manifest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// Carried holds that an overlay has every rule of the mesh as it is written: each resource of rules is there, and its spec
// says the same. may is where it may say something else: by "Kind namespace/name", a pattern of path.Match, the fields,
// each with all below it. What may differ and nowhere does is a violation too, so that the list is no longer than it must be.
func Carried(overlay, rules []Object, may map[string][]string) []string {
	there := map[string]Object{}
	for _, o := range overlay {
		there[identity(o)] = o
	}
	used := map[string]bool{}
	var violations []string
	for _, rule := range rules {
		id := identity(rule)
		o, ok := there[id]
		if !ok {
			violations = append(violations, id+": it is a rule of the mesh, and the overlay has it not")
			continue
		}
		want, got := leaves(rule), leaves(o)
		for _, field := range slices.Compact(slices.Sorted(slices.Values(slices.Concat(slices.Collect(maps.Keys(want)), slices.Collect(maps.Keys(got)))))) {
			if want[field] == got[field] {
				continue
			}
			if pattern, ok := allowed(may, id, field); ok {
				used[pattern] = true
				continue
			}
			violations = append(violations, fmt.Sprintf("%s: %s is %s, and %s in the mesh's rules", id, field,
				cmp.Or(got[field], "missing"), cmp.Or(want[field], "missing")))
		}
	}
	for _, pattern := range slices.Sorted(maps.Keys(may)) {
		for _, field := range may[pattern] {
			if !used[pattern+" "+field] {
				violations = append(violations, fmt.Sprintf("%s: %s may differ, and does not", pattern, field))
			}
		}
	}
	return violations
}

func identity(o Object) string { return o.Kind + " " + o.Namespace + "/" + o.Name }

// allowed finds the entry by which a field may differ.
func allowed(may map[string][]string, id, field string) (string, bool) {
	for pattern, fields := range may {
		if ok, _ := path.Match(pattern, id); !ok {
			continue
		}
		for _, f := range fields {
			if rest, below := strings.CutPrefix(field, f); below && (rest == "" || rest[0] == '.' || rest[0] == '[') {
				return pattern + " " + f, true
			}
		}
	}
	return "", false
}

// leaves are the values of a resource by their fields, all but what it is called and noted with. An empty list or object is
// a value too: "spec: {}" is what denies everything.
func leaves(o Object) map[string]string {
	var content map[string]any
	if err := json.Unmarshal(o.JSON, &content); err != nil {
		return map[string]string{"": err.Error()} // it was decoded before, so it is no other JSON now
	}
	delete(content, "metadata")
	out := map[string]string{}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for key, value := range v {
				walk(strings.TrimPrefix(at+"."+key, "."), value)
			}
			if len(v) == 0 {
				out[at] = "{}"
			}
		case []any:
			for i, value := range v {
				walk(fmt.Sprintf("%s[%d]", at, i), value)
			}
			if len(v) == 0 {
				out[at] = "[]"
			}
		default:
			out[at] = fmt.Sprint(v)
		}
	}
	walk("", content)
	return out
}
