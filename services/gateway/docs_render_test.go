package gateway

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/dishmesh/dishmesh/services"
	"github.com/dishmesh/dishmesh/services/internal/problem"
)

// apiDoc is what the page shows of openapi.yaml.
type apiDoc struct {
	Info struct {
		Title, Version, Description string
	}
	Tags       []docTag
	Paths      yaml.Node
	Components struct {
		Schemas   yaml.Node
		Responses map[string]docResponse
	}

	// Made of these for the page.
	Intro   []string
	Schemas []docSchema `yaml:"-"`
	Async   bool        `yaml:"-"` // there is an asyncapi.yaml
}

type docTag struct {
	Name, Description string
	Operations        []*docOperation `yaml:"-"`
}

type docOperation struct {
	ID          string `yaml:"operationId"`
	Tags        []string
	Summary     string
	Description string
	Roles       []string   `yaml:"x-roles"`
	Security    []struct { // empty: no token is looked at
		Token *[]string `yaml:"access_token"`
	}
	Parameters  []docParameter
	RequestBody *struct {
		Required bool
		Content  map[string]docContent
	} `yaml:"requestBody"`
	Responses yaml.Node

	Method, Path string      `yaml:"-"`
	Who          string      `yaml:"-"`
	Body         *docExample `yaml:"-"`
	Good         []docAnswer `yaml:"-"`
	Refusals     []docAnswer `yaml:"-"`
}

type docParameter struct {
	Name, In, Description string
	Required              bool
	Schema                docProperty
}

type docContent struct {
	Schema struct {
		Ref   string `yaml:"$ref"`
		AllOf []struct {
			Properties struct{ Type struct{ Enum []string } }
		} `yaml:"allOf"`
	}
	Example yaml.Node
}

type docResponse struct {
	Ref         string `yaml:"$ref"`
	Description string
	Headers     map[string]any
	Content     map[string]docContent
}

// docExample is a body: its schema's name and how it looks.
type docExample struct{ Schema, Text string }

type docAnswer struct {
	Status, Description string
	Headers             []string
	Body                *docExample
	Media               string
	Problems            []string
}

type docSchema struct {
	Name        string
	Description string
	Required    []string
	Properties  yaml.Node
	Rows        []docRow `yaml:"-"`
}

type docRow struct {
	Name, Type, Ref, Bounds, Description string
	Required                             bool
}

type docProperty struct {
	Type             any
	Format           string
	Ref              string `yaml:"$ref"`
	Enum             []any
	AnyOf            []docProperty `yaml:"anyOf"`
	Items            *docProperty
	Values           any `yaml:"additionalProperties"`
	Minimum, Maximum any
	MinLength        any `yaml:"minLength"`
	MaxLength        any `yaml:"maxLength"`
	MinItems         any `yaml:"minItems"`
	MaxItems         any `yaml:"maxItems"`
	Default          any
	Pattern          string
	Description      string
}

// newAPIDoc reads the document for the page.
func newAPIDoc() (*apiDoc, error) {
	text, err := services.Contracts.ReadFile("openapi.yaml")
	if err != nil {
		return nil, err
	}
	var d apiDoc
	if err := yaml.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	d.Intro = strings.Split(d.Info.Description, "\n\n")
	_, err = fs.Stat(services.Contracts, "asyncapi.yaml")
	d.Async = err == nil
	err = members(&d.Paths, func(path string, methods *yaml.Node) error {
		return members(methods, func(method string, n *yaml.Node) error {
			op := &docOperation{Method: strings.ToUpper(method), Path: path}
			if err := n.Decode(op); err != nil {
				return fmt.Errorf("%s %s: %w", method, path, err)
			}
			if i := slices.IndexFunc(d.Tags, func(t docTag) bool { return slices.Contains(op.Tags, t.Name) }); i >= 0 {
				d.Tags[i].Operations = append(d.Tags[i].Operations, op)
			}
			return op.prepare(d.Components.Responses)
		})
	})
	if err != nil {
		return nil, fmt.Errorf("openapi.yaml: %w", err)
	}
	err = members(&d.Components.Schemas, func(name string, n *yaml.Node) error {
		s := docSchema{Name: name}
		if err := n.Decode(&s); err != nil {
			return err
		}
		err := members(&s.Properties, func(name string, n *yaml.Node) error {
			var p docProperty
			err := n.Decode(&p)
			s.Rows = append(s.Rows, docRow{Name: name, Type: p.kind(), Ref: p.ref(), Bounds: p.bounds(), Description: p.Description, Required: slices.Contains(s.Required, name)})
			return err
		})
		d.Schemas = append(d.Schemas, s)
		return err
	})
	return &d, err
}

// members calls f with each member of a mapping, in the order of the document.
func members(n *yaml.Node, f func(string, *yaml.Node) error) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if err := f(n.Content[i].Value, n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

func (op *docOperation) prepare(shared map[string]docResponse) error {
	switch {
	case len(op.Roles) == len(everyRole):
		op.Who = "every account"
	case len(op.Roles) > 0:
		op.Who = strings.Join(op.Roles, ", ")
	default:
		op.Who = "anybody"
	}
	if op.RequestBody != nil {
		e, err := op.RequestBody.Content["application/json"].example()
		if err != nil {
			return err
		}
		op.Body = e
	}
	return members(&op.Responses, func(status string, n *yaml.Node) error {
		var r docResponse
		if err := n.Decode(&r); err != nil {
			return err
		}
		if name := refName(r.Ref); name != "" {
			r = shared[name]
		}
		a := docAnswer{Status: status, Description: r.Description}
		for name := range r.Headers {
			a.Headers = append(a.Headers, name)
		}
		slices.Sort(a.Headers)
		for media, c := range r.Content {
			switch media {
			case problem.ContentType:
				for _, part := range c.Schema.AllOf {
					a.Problems = append(a.Problems, part.Properties.Type.Enum...)
				}
			case "application/json":
				e, err := c.example()
				if err != nil {
					return err
				}
				a.Body = e
			default:
				a.Media = media
				if c.Example.Value != "" {
					a.Body = &docExample{Text: c.Example.Value}
				}
			}
		}
		if len(a.Problems) > 0 {
			op.Refusals = append(op.Refusals, a)
		} else {
			op.Good = append(op.Good, a)
		}
		return nil
	})
}

func refName(ref string) string { return ref[strings.LastIndex(ref, "/")+1:] }

// example writes an example as JSON, members in the order of the document.
func (c docContent) example() (*docExample, error) {
	e := &docExample{Schema: refName(c.Schema.Ref)}
	if c.Example.Kind == 0 {
		return e, nil
	}
	var b strings.Builder
	err := writeJSON(&b, &c.Example, "")
	e.Text = b.String()
	return e, err
}

func writeJSON(b *strings.Builder, n *yaml.Node, indent string) error {
	list := func(open, closed string, step int) error {
		b.WriteString(open)
		for i := 0; i < len(n.Content); i += step {
			if i > 0 {
				b.WriteString(",")
			}
			b.WriteString("\n" + indent + "  ")
			if step == 2 {
				fmt.Fprintf(b, "%q: ", n.Content[i].Value)
			}
			if err := writeJSON(b, n.Content[i+step-1], indent+"  "); err != nil {
				return err
			}
		}
		if len(n.Content) > 0 {
			b.WriteString("\n" + indent)
		}
		b.WriteString(closed)
		return nil
	}
	switch n.Kind {
	case yaml.MappingNode:
		return list("{", "}", 2)
	case yaml.SequenceNode:
		return list("[", "]", 1)
	}
	var v any
	if err := n.Decode(&v); err != nil {
		return err
	}
	text, err := json.Marshal(v)
	b.Write(text)
	return err
}

// kind is a property's type for people.
func (p docProperty) kind() string {
	switch {
	case len(p.AnyOf) > 0:
		return p.AnyOf[0].kind()
	case p.Ref != "":
		return refName(p.Ref)
	case p.Items != nil:
		return "list of " + p.Items.kind()
	case p.Values != nil && p.Type == "object":
		return "map"
	case p.Format == "date-time":
		return "time"
	case p.Type == nil:
		return "any"
	}
	if types, ok := p.Type.([]any); ok {
		return fmt.Sprint(types[0])
	}
	return fmt.Sprint(p.Type)
}

func (p docProperty) ref() string {
	switch {
	case p.Items != nil:
		return p.Items.ref()
	case len(p.AnyOf) > 0:
		return p.AnyOf[0].ref()
	}
	return refName(p.Ref)
}

// bounds are what a value may be, for people.
func (p docProperty) bounds() string {
	var parts []string
	add := func(low, high any, unit string) {
		switch {
		case low != nil && high != nil:
			parts = append(parts, fmt.Sprintf("%v to %v%s", low, high, unit))
		case low != nil:
			parts = append(parts, fmt.Sprintf("at least %v%s", low, unit))
		case high != nil:
			parts = append(parts, fmt.Sprintf("at most %v%s", high, unit))
		}
	}
	add(p.Minimum, p.Maximum, "")
	add(p.MinLength, p.MaxLength, " characters")
	add(p.MinItems, p.MaxItems, " entries")
	if values := slices.DeleteFunc(slices.Clone(p.Enum), func(v any) bool { return v == nil || v == "" }); len(values) > 0 {
		parts = append(parts, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(values)), ", "), "[]"))
	}
	if p.Default != nil {
		parts = append(parts, fmt.Sprintf("default %v", p.Default))
	}
	return strings.Join(parts, "; ")
}

// Rule is what a parameter may be, for the page.
func (p docParameter) Rule() string {
	return strings.Trim(p.Schema.kind()+" "+p.Schema.bounds(), " ")
}
