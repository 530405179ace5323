package openapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Schemas collects the schemas of Go types as JSON Schema 2020-12, which OpenAPI 3.1 uses. Names, types and what is
// required follow the json tags; bounds follow the validate tags, by which the services check.
type Schemas struct {
	Sources *Sources
	// Names are those of types whose Go name says too little outside of its package, by "package.Type".
	Names map[string]string
	// Values bounds plain string fields to a few values, or a format, by "SchemaName.field".
	Values map[string]Object

	made    map[string]Object
	types   map[string]reflect.Type
	request map[reflect.Type]bool
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[[]byte]()
	rawType   = reflect.TypeFor[json.RawMessage]()
)

// Request marks a type, and all that it holds, as sent by clients: unknown members are refused.
func (s *Schemas) Request(t reflect.Type) {
	t = deref(t)
	switch t.Kind() {
	case reflect.Slice, reflect.Map:
		s.Request(t.Elem())
	case reflect.Struct:
		if t == timeType || s.request[t] {
			return
		}
		if s.request == nil {
			s.request = map[reflect.Type]bool{}
		}
		s.request[t] = true
		for i := range t.NumField() {
			s.Request(t.Field(i).Type)
		}
	}
}

// Ref gives a reference to the schema of a struct type, and makes it at the first time.
func (s *Schemas) Ref(t reflect.Type) (Object, error) {
	t = deref(t)
	name := s.name(t)
	if s.made == nil {
		s.made, s.types = map[string]Object{}, map[string]reflect.Type{}
	}
	if other, ok := s.types[name]; ok && other != t {
		return nil, fmt.Errorf("%s and %s are both called %s: give one of them another name", other, t, name)
	}
	if _, ok := s.types[name]; !ok {
		s.types[name] = t
		made, err := s.object(name, t)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", t, err)
		}
		s.made[name] = made
	}
	return Object{{"$ref", "#/components/schemas/" + name}}, nil
}

// All gives the schemas that were made, in the order of their names.
func (s *Schemas) All() Object {
	var all Object
	for name, schema := range s.made {
		all = append(all, Member{name, schema})
	}
	slices.SortFunc(all, func(a, b Member) int { return strings.Compare(a.Key, b.Key) })
	return all
}

func (s *Schemas) name(t reflect.Type) string {
	if name, ok := s.Names[t.String()]; ok {
		return name
	}
	return t.Name()
}

func deref(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// object is the schema of a struct.
func (s *Schemas) object(name string, t reflect.Type) (Object, error) {
	src, err := s.Sources.of(t)
	if err != nil {
		return nil, err
	}
	out := Object{{"type", "object"}}.With("description", src.types[t.Name()])
	b := body{schemas: s, name: name, request: s.request[t]}
	if err := b.add(t); err != nil {
		return nil, err
	}
	slices.Sort(b.required)
	out = out.With("required", b.required).With("properties", b.properties).With("dependentRequired", b.dependent)
	if b.oneAtLeast {
		out = append(out, Member{"minProperties", 1})
	}
	if b.request {
		out = append(out, Member{"additionalProperties", false})
	}
	return out, nil
}

// body collects the members of a struct, those of embedded ones among them.
type body struct {
	schemas    *Schemas
	name       string
	request    bool
	properties Object
	required   []string
	dependent  Object
	oneAtLeast bool
}

func (b *body) add(t reflect.Type) error {
	src, err := b.schemas.Sources.of(t)
	if err != nil {
		return err
	}
	for i := range t.NumField() {
		f := t.Field(i)
		name, flags, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			if err := b.add(deref(f.Type)); err != nil {
				return err
			}
			continue
		case !f.IsExported() || name == "-":
			continue
		case name == "":
			return fmt.Errorf("%s has no name in JSON", f.Name)
		}
		rules := parseRules(f.Tag.Get("validate"))
		optional := strings.Contains(flags, "omitempty") || strings.Contains(flags, "omitzero")
		if b.request && rules.wanted(f.Type) || !b.request && !optional {
			b.required = append(b.required, name)
		}
		for _, other := range rules.values("required_with") {
			of, ok := t.FieldByName(other)
			if !ok {
				return fmt.Errorf("%s: there is no field %s", f.Name, other)
			}
			with, _, _ := strings.Cut(of.Tag.Get("json"), ",")
			b.dependent = append(b.dependent, Member{with, []string{name}})
		}
		b.oneAtLeast = b.oneAtLeast || rules.has("required_without")
		schema, err := b.schemas.of(f.Type, rules, !b.request && !optional)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		if b.request && !rules.wanted(f.Type) {
			schema = orNull(schema)
		}
		schema = schema.With("description", src.fields[t.Name()][f.Name])
		schema = append(schema, b.schemas.Values[b.name+"."+name]...)
		b.properties = append(b.properties, Member{name, schema})
	}
	return nil
}

// orNull is a schema that takes null as well: in a request that is the same as leaving the member out.
func orNull(schema Object) Object {
	if schema.Get("$ref") != nil {
		return Object{{"anyOf", []Object{schema, {{"type", "null"}}}}}
	}
	out := slices.Clone(schema)
	for i, m := range out {
		switch v := m.Value.(type) {
		case string:
			if m.Key == "type" {
				out[i].Value = []string{v, "null"}
			}
		case []string:
			if m.Key == "enum" {
				values := make([]any, 0, len(v)+1)
				for _, s := range v {
					values = append(values, s)
				}
				out[i].Value = append(values, nil)
			}
		}
	}
	return out
}

// of is the schema of a value that rules hold for. A pointer that is always written may be null.
func (s *Schemas) of(t reflect.Type, r rules, always bool) (Object, error) {
	nullable := always && t.Kind() == reflect.Pointer
	t = deref(t)
	typ := func(name string) any {
		if nullable {
			return []string{name, "null"}
		}
		return name
	}
	switch {
	case t == timeType:
		return Object{{"type", typ("string")}, {"format", "date-time"}}, nil
	case t == bytesType:
		return Object{{"type", typ("string")}, {"contentEncoding", "base64"}}, nil
	case t == rawType, t.Kind() == reflect.Interface:
		return Object{}, nil
	}
	switch t.Kind() {
	case reflect.String:
		out := append(Object{{"type", typ("string")}}, r.text()...)
		if t.PkgPath() != "" {
			src, err := s.Sources.of(t)
			if err != nil {
				return nil, err
			}
			out = out.With("enum", src.enums[t.Name()])
		}
		return out, nil
	case reflect.Bool:
		return Object{{"type", typ("boolean")}}, nil
	case reflect.Int, reflect.Int64, reflect.Int32:
		return append(Object{{"type", typ("integer")}, {"format", "int64"}}, r.number()...), nil
	case reflect.Float64:
		return append(Object{{"type", typ("number")}}, r.number()...), nil
	case reflect.Slice:
		items, err := s.of(t.Elem(), r.dive(), false)
		if err != nil {
			return nil, err
		}
		return append(Object{{"type", "array"}}, append(r.list(), Member{"items", items})...), nil
	case reflect.Map:
		values, err := s.of(t.Elem(), nil, false)
		return Object{{"type", "object"}, {"additionalProperties", values}}, err
	case reflect.Struct:
		ref, err := s.Ref(t)
		if nullable && err == nil {
			return Object{{"anyOf", []Object{ref, {{"type", "null"}}}}}, nil
		}
		return ref, err
	}
	return nil, fmt.Errorf("%s can't be described", t)
}

// rules are those of a validate tag (github.com/go-playground/validator).
type rules []rule

type rule struct{ name, value string }

func parseRules(tag string) rules {
	var r rules
	for part := range strings.SplitSeq(tag, ",") {
		if part != "" {
			name, value, _ := strings.Cut(part, "=")
			r = append(r, rule{name, value})
		}
	}
	return r
}

func (r rules) has(name string) bool {
	return slices.ContainsFunc(r, func(x rule) bool { return x.name == name })
}

// values gives the values of a rule, of which a tag may have several.
func (r rules) values(name string) []string {
	var all []string
	for _, x := range r {
		if x.name == name {
			all = append(all, strings.Fields(x.value)...)
		}
	}
	return all
}

// own are the rules of the value itself, without those of its entries.
func (r rules) own() rules {
	if i := slices.IndexFunc(r, func(x rule) bool { return x.name == "dive" }); i >= 0 {
		return r[:i]
	}
	return r
}

// dive are the rules of the entries.
func (r rules) dive() rules {
	if i := slices.IndexFunc(r, func(x rule) bool { return x.name == "dive" }); i >= 0 {
		return r[i+1:]
	}
	return nil
}

// wanted reports whether a request must have the member: its zero value is refused.
func (r rules) wanted(t reflect.Type) bool {
	own := r.own()
	if own.has("omitempty") || own.has("omitnil") {
		return false
	}
	if own.has("required") || own.has("oneof") || own.has("len") || own.has("gt") || own.has("email") {
		return true
	}
	for _, name := range []string{"min", "gte"} {
		for _, v := range own.values(name) {
			if n, err := strconv.ParseFloat(v, 64); err == nil && n > 0 && t.Kind() != reflect.Pointer {
				return true
			}
		}
	}
	return false
}

// patterns of rules that are one.
var patterns = map[string]string{
	"e164":       `^\+?[1-9][0-9]{7,14}$`,
	"printascii": `^[ -~]*$`,
	"uppercase":  `^[A-Z]*$`,
}

func (r rules) text() Object {
	var out Object
	own := r.own()
	if own.has("required") && !own.has("min") && !own.has("len") && !own.has("email") {
		out = append(out, Member{"minLength", 1})
	}
	for _, x := range own {
		switch n := number(x.value); {
		case x.name == "len":
			out = append(out, Member{"minLength", n}, Member{"maxLength", n})
		case x.name == "min":
			out = append(out, Member{"minLength", n})
		case x.name == "max":
			out = append(out, Member{"maxLength", n})
		case x.name == "email":
			out = append(out, Member{"format", "email"})
		case x.name == "oneof" && own.has("omitempty"):
			out = append(out, Member{"enum", append(strings.Fields(x.value), "")})
		case x.name == "oneof":
			out = append(out, Member{"enum", strings.Fields(x.value)})
		case x.name == "startswith":
			out = append(out, Member{"pattern", "^" + x.value})
		case patterns[x.name] != "" && own.has("omitempty"):
			out = append(out, Member{"pattern", "^(" + strings.Trim(patterns[x.name], "^$") + ")?$"})
		case patterns[x.name] != "":
			out = append(out, Member{"pattern", patterns[x.name]})
		}
	}
	return out
}

func (r rules) number() Object {
	var out Object
	for _, x := range r.own() {
		switch x.name {
		case "min", "gte":
			out = append(out, Member{"minimum", number(x.value)})
		case "max", "lte":
			out = append(out, Member{"maximum", number(x.value)})
		case "gt":
			out = append(out, Member{"exclusiveMinimum", number(x.value)})
		case "lt":
			out = append(out, Member{"exclusiveMaximum", number(x.value)})
		}
	}
	return out
}

func (r rules) list() Object {
	var out Object
	for _, x := range r.own() {
		switch x.name {
		case "min":
			out = append(out, Member{"minItems", number(x.value)})
		case "max":
			out = append(out, Member{"maxItems", number(x.value)})
		case "unique":
			out = append(out, Member{"uniqueItems", true})
		}
	}
	return out
}

// number is n as the tag has it: an integer where it can be one.
func number(s string) any {
	if n, err := strconv.Atoi(s); err == nil {
		return n
	}
	f, _ := strconv.ParseFloat(s, 64) // a rule whose value is no number has no bound
	return f
}
