// Package openapi writes an OpenAPI 3.1 document from what the code says: routes, Go types with their json and
// validate tags and comments, and the catalogue of problems. What only people can say stands in Operation.
package openapi

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// Document is an API as a whole.
type Document struct {
	Comment     string // the first line of the file
	Title       string
	Version     string
	Description string
	Tags        []Tag
	Operations  []Operation
	Schemas     *Schemas
}

// Tag groups operations.
type Tag struct{ Name, Description string }

// Operation is one method on one path.
type Operation struct {
	Method, Path string
	ID           string
	Tag          string
	Summary      string
	Description  string
	// Roles may call it; nil: everybody. They are written as x-roles, for OpenAPI has no word for them.
	Roles []string
	// Token says that an access token is looked at though none is needed.
	Token        bool
	Parameters   []Parameter
	Body         any // an example, whose type is that of the body; nil: there is none
	BodyOptional bool
	Answers      []Answer
	Problems     []problem.Type
}

// Parameter is a parameter of the path, the query or the header.
type Parameter struct {
	Name, In, Description string
	Required              bool
	Schema                Object
	Example               any
}

// Answer is one of the good answers of an operation.
type Answer struct {
	Status      int
	Description string
	Headers     []string // names, described in headers
	Body        any      // an example, whose type is that of the body; nil: there is none
	Or          any      // another body that it may have
	NoExample   bool     // Body is there for its type
	Media       string   // of a body that is no JSON
	Text        string   // an example of that
	Schema      Object   // of that, if it is no text; of server-sent events it is that of one event
}

// headers are those that answers have.
var headers = map[string]Object{
	"ETag":     {{"description", "The version of what is answered, for If-None-Match."}, {"schema", Object{{"type", "string"}}}},
	"Location": {{"description", "Where what was made can be read."}, {"schema", Object{{"type", "string"}}}},
	"Retry-After": {{"description", "Seconds to wait before asking again."},
		{"schema", Object{{"type", "integer"}, {"minimum", 1}}}},
	"Cache-Control":    {{"description", "Who may keep the answer, and how long."}, {"schema", Object{{"type", "string"}}}},
	"WWW-Authenticate": {{"description", "How to authenticate (RFC 6750)."}, {"schema", Object{{"type", "string"}}}},
}

// YAML writes the document. The error names what is missing or said twice.
func (d Document) YAML() ([]byte, error) {
	for _, op := range d.Operations {
		if op.Body != nil {
			d.Schemas.Request(reflect.TypeOf(op.Body))
		}
	}
	problems, err := d.Schemas.Ref(reflect.TypeFor[problem.Document]())
	if err != nil {
		return nil, err
	}
	var paths Object
	ids := map[string]bool{}
	for _, op := range d.Operations {
		if op.ID == "" || op.Summary == "" || op.Tag == "" || len(op.Answers) == 0 || ids[op.ID] {
			return nil, fmt.Errorf("%s %s needs an id of its own, a summary, a tag and an answer", op.Method, op.Path)
		}
		ids[op.ID] = true
		o, err := d.operation(op, problems)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", op.Method, op.Path, err)
		}
		i := slices.IndexFunc(paths, func(m Member) bool { return m.Key == op.Path })
		if i < 0 {
			i = len(paths)
			paths = append(paths, Member{op.Path, Object{}})
		}
		paths[i].Value = append(paths[i].Value.(Object), Member{strings.ToLower(op.Method), o})
	}
	var tags []Object
	for _, t := range d.Tags {
		tags = append(tags, Object{{"name", t.Name}, {"description", t.Description}})
	}
	var shared Object
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		shared = append(shared, Member{name, headers[name]})
	}
	return encode(d.Comment, Object{
		{"openapi", "3.1.0"},
		{"info", Object{{"title", d.Title}, {"version", d.Version}, {"description", d.Description}}},
		{"servers", []Object{{{"url", "/"}}}},
		{"tags", tags},
		{"paths", paths},
		{"components", Object{
			{"securitySchemes", Object{{"access_token", Object{
				{"type", "http"}, {"scheme", "bearer"}, {"bearerFormat", "JWT"},
				{"description", "The access token of POST /v1/tokens. It lives for minutes; POST /v1/tokens/refresh gives the next."},
			}}}},
			{"headers", shared},
			{"responses", d.sharedProblems(problems)},
			{"schemas", d.Schemas.All()},
		}},
	})
}

func (d Document) operation(op Operation, problems Object) (Object, error) {
	out := Object{{"operationId", op.ID}, {"tags", []string{op.Tag}}, {"summary", op.Summary}}.With("description", op.Description)
	switch {
	case op.Roles != nil:
		out = append(out, Member{"x-roles", op.Roles}, Member{"security", []Object{{{"access_token", []string{}}}}})
	case op.Token:
		out = append(out, Member{"security", []Object{{}, {{"access_token", []string{}}}}})
	default:
		out = append(out, Member{"security", []Object{}})
	}
	var parameters []Object
	for _, p := range op.Parameters {
		o := Object{{"name", p.Name}, {"in", p.In}}.With("description", p.Description)
		if p.Required {
			o = append(o, Member{"required", true})
		}
		parameters = append(parameters, append(o, Member{"schema", p.Schema}).With("example", p.Example))
	}
	out = out.With("parameters", parameters)
	if op.Body != nil {
		content, err := d.content(op.Body, false)
		if err != nil {
			return nil, err
		}
		out = append(out, Member{"requestBody", Object{{"required", !op.BodyOptional}, {"content", Object{{"application/json", content}}}}})
	}
	responses, err := d.answers(op)
	if err != nil {
		return nil, err
	}
	return append(out, Member{"responses", append(responses, refusals(op.Problems, problems)...)}), nil
}

func (d Document) answers(op Operation) (Object, error) {
	var out Object
	for _, a := range op.Answers {
		o := Object{{"description", a.Description}}
		var hs Object
		for _, h := range a.Headers {
			if headers[h] == nil {
				return nil, fmt.Errorf("the header %s is not described", h)
			}
			hs = append(hs, Member{h, Object{{"$ref", "#/components/headers/" + h}}})
		}
		o = o.With("headers", hs)
		var content Object
		if a.Body != nil {
			c, err := d.content(a.Body, a.NoExample)
			if err != nil {
				return nil, err
			}
			if a.Or != nil {
				other, err := d.content(a.Or, true)
				if err != nil {
					return nil, err
				}
				c[0].Value = Object{{"anyOf", []Object{c[0].Value.(Object), other[0].Value.(Object)}}}
			}
			content = append(content, Member{"application/json", c})
		}
		if a.Media != "" {
			schema := Object{{"type", "string"}}
			if a.Schema != nil {
				schema = a.Schema
			}
			content = append(content, Member{a.Media, Object{{"schema", schema}}.With("example", a.Text)})
		}
		out = append(out, Member{strconv.Itoa(a.Status), o.With("content", content)})
	}
	return out, nil
}

func (d Document) content(v any, typeOnly bool) (Object, error) {
	schema, err := d.Schemas.Ref(reflect.TypeOf(v))
	if err != nil || typeOnly {
		return Object{{"schema", schema}}, err
	}
	e, err := example(v)
	return Object{{"schema", schema}, {"example", e}}, err
}

// refusals are the problems of an operation, one answer for each status, each with the types that it can have. What
// is the same everywhere stands in the components.
func refusals(types []problem.Type, schema Object) Object {
	by := map[int][]problem.Type{}
	for _, t := range types {
		if !slices.Contains(by[t.Status()], t) {
			by[t.Status()] = append(by[t.Status()], t)
		}
	}
	var out Object
	for _, status := range slices.Sorted(maps.Keys(by)) {
		key := strconv.Itoa(status)
		if name := sharedName(by[status]); name != "" {
			out = append(out, Member{key, Object{{"$ref", "#/components/responses/" + name}}})
			continue
		}
		out = append(out, Member{key, refusal(by[status], schema)})
	}
	return out
}

// shared are sets of problems that many operations have, by the name of their answer.
var shared = map[string][]problem.Type{
	"Unauthenticated":      {problem.Unauthenticated, problem.TokenExpired},
	"Forbidden":            {problem.Forbidden},
	"NotFound":             {problem.NotFound},
	"InvalidBody":          {problem.InvalidRequest, problem.MalformedJSON},
	"InvalidRequest":       {problem.InvalidRequest},
	"NoBodyTaken":          {problem.MalformedJSON},
	"TooLarge":             {problem.TooLarge},
	"UnsupportedMediaType": {problem.UnsupportedMedia},
	"RateLimited":          {problem.RateLimited},
	"WriteConflict":        {problem.WriteConflict},
	"Internal":             {problem.Internal},
	"Unavailable":          {problem.Unavailable},
	"Timeout":              {problem.Timeout},
}

func sharedName(types []problem.Type) string {
	for name, set := range shared {
		if len(set) == len(types) && !slices.ContainsFunc(types, func(t problem.Type) bool { return !slices.Contains(set, t) }) {
			return name
		}
	}
	return ""
}

func (d Document) sharedProblems(schema Object) Object {
	var out Object
	for _, name := range slices.Sorted(maps.Keys(shared)) {
		out = append(out, Member{name, refusal(shared[name], schema)})
	}
	return out
}

func refusal(types []problem.Type, schema Object) Object {
	slices.Sort(types)
	var uris, titles []string
	for _, t := range types {
		uris = append(uris, t.URI())
		titles = append(titles, t.Title()+".")
	}
	status := types[0].Status()
	var hs Object
	if status == 401 {
		hs = append(hs, Member{"WWW-Authenticate", Object{{"$ref", "#/components/headers/WWW-Authenticate"}}})
	}
	if status == 429 || status == 503 {
		hs = append(hs, Member{"Retry-After", Object{{"$ref", "#/components/headers/Retry-After"}}})
	}
	return Object{{"description", strings.Join(titles, " ")}}.With("headers", hs).With("content", Object{{problem.ContentType, Object{
		{"schema", Object{{"allOf", []Object{schema, {{"properties", Object{
			{"type", Object{{"enum", uris}}}, {"status", Object{{"const", status}}},
		}}}}}}},
	}}})
}
