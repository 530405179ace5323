package openapi

import (
	"bytes"
	"encoding/json"

	"gopkg.in/yaml.v3"
)

// Object is a mapping that keeps the order in which it was written, so that the document reads as it is meant to.
type Object []Member

// Member is one entry of an Object.
type Member struct {
	Key   string
	Value any
}

// With appends a member unless its value is nil, "" or an empty list or Object.
func (o Object) With(key string, value any) Object {
	switch v := value.(type) {
	case nil:
		return o
	case string:
		if v == "" {
			return o
		}
	case Object:
		if len(v) == 0 {
			return o
		}
	case []string:
		if len(v) == 0 {
			return o
		}
	case []Object:
		if len(v) == 0 {
			return o
		}
	}
	return append(o, Member{key, value})
}

// Get gives the value of a member, nil if there is none.
func (o Object) Get(key string) any {
	for _, m := range o {
		if m.Key == key {
			return m.Value
		}
	}
	return nil
}

// MarshalYAML implements yaml.Marshaler.
func (o Object) MarshalYAML() (any, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, m := range o {
		key, value := &yaml.Node{}, &yaml.Node{}
		if err := key.Encode(m.Key); err != nil {
			return nil, err
		}
		if err := value.Encode(m.Value); err != nil {
			return nil, err
		}
		if _, ok := m.Value.([]string); ok && len(value.Content) <= 8 {
			value.Style = yaml.FlowStyle // short lists of words fit on a line
		}
		n.Content = append(n.Content, key, value)
	}
	return n, nil
}

// example turns a Go value into what its JSON would be, members in the order of the struct's fields.
func example(v any) (any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	var n yaml.Node // JSON is YAML; a node keeps the order
	if err := yaml.Unmarshal(text, &n); err != nil {
		return nil, err
	}
	block(n.Content[0])
	return n.Content[0], nil
}

// block gives a node that was read from JSON the style of the rest of the document.
func block(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 || n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		n.Style = yaml.FlowStyle
	}
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		n.Style = yaml.DoubleQuotedStyle // a time or a number in quotes stays a string
	}
	for i, c := range n.Content {
		if block(c); n.Kind == yaml.MappingNode && i%2 == 0 {
			c.Style = 0 // the names of members need no quotes
		}
	}
}

// encode writes the document with a comment line in front.
func encode(comment string, doc Object) ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("# " + comment + "\n")
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(doc); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}
