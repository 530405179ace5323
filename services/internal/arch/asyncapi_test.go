package arch

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/reflect/protoreflect"
	"gopkg.in/yaml.v3"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract"
	"github.com/dishmesh/dishmesh/services/internal/contract/catalogue"
)

var update = flag.Bool("update", false, "write services/asyncapi.yaml anew")

// object is a part of the AsyncAPI document. Its keys are written in the order of their names.
type object = map[string]any

// asyncDocument is the top of an AsyncAPI 3.0 document, in the order in which it is read.
type asyncDocument struct {
	AsyncAPI           string `yaml:"asyncapi"`
	Info               object `yaml:"info"`
	DefaultContentType string `yaml:"defaultContentType"`
	Channels           object `yaml:"channels"`
	Operations         object `yaml:"operations"`
	Components         object `yaml:"components"`
}

func ref(to string) object { return object{"$ref": "#/" + to} }

// messageNames are the messages of an event, one for each version.
func messageNames(e contract.Event) []string {
	var all []string
	for i := range e.Versions {
		all = append(all, fmt.Sprintf("%s.v%d", e.Name, i+1))
	}
	return all
}

// hearings says which events each app hears, by topic: from the declared subscriptions.
func hearings(subscriptions []document) map[string]map[string][]string {
	all := map[string]map[string][]string{}
	for _, d := range subscriptions {
		if d.deadLetters() { // every app has its own of what it hears
			continue
		}
		app := strings.TrimSuffix(path.Base(d.file), ".yaml")
		if all[app] == nil {
			all[app] = map[string][]string{}
		}
		var types []string
		if len(d.Spec.Routes.Rules) > 0 {
			types, _ = filtered(d.Spec.Routes.Rules[0].Match)
		} else {
			for _, e := range catalogue.All.Events() {
				if e.Topic() == d.Spec.Topic {
					types = append(types, e.Name)
				}
			}
		}
		slices.Sort(types)
		all[app][d.Spec.Topic] = types
	}
	return all
}

// describe makes the document of owners' events and who hears them. docs explain messages and fields by full name.
func describe(owners map[string]*contract.Set, heard map[string]map[string][]string, docs map[string]string) asyncDocument {
	channels, operations, messages := object{}, object{}, object{}
	schemas := object{"CloudEvent": envelope()}
	published := map[string][]contract.Event{} // by topic
	for _, app := range slices.Sorted(maps.Keys(owners)) {
		for _, e := range owners[app].Events() {
			published[e.Topic()] = append(published[e.Topic()], e)
			for i, name := range messageNames(e) {
				v := e.Versions[i]
				full := string(v.Message().Descriptor().FullName())
				addSchema(schemas, v.Message().Descriptor(), docs)
				schemaOf := object{"const": v.Schema()}
				if i == 0 {
					schemaOf["description"] = "Absent from what was written before there were protobuf messages."
				}
				messages[name] = object{
					"name": cloudevent.Prefix + e.Name, "title": fmt.Sprintf("%s, version %d of %d", e.Name, i+1, len(e.Versions)),
					"contentType":   cloudevent.ContentType,
					"correlationId": object{"location": "$message.payload#/correlationid"},
					"bindings":      object{"kafka": object{"key": object{"type": "string", "description": "the subject"}}},
					"payload": object{"allOf": []any{ref("components/schemas/CloudEvent"), object{"type": "object", "properties": object{
						"type": object{"const": cloudevent.Prefix + e.Name}, "dataschema": schemaOf,
						"data": ref("components/schemas/" + full)}}}},
				}
			}
		}
	}
	refs := func(topic string, events []string) []any {
		var all []any
		for _, e := range published[topic] {
			if slices.Contains(events, e.Name) {
				for _, name := range messageNames(e) {
					all = append(all, ref("channels/"+strings.TrimPrefix(topic, cloudevent.Prefix)+"/messages/"+name))
				}
			}
		}
		return all
	}
	for topic, events := range published {
		id := strings.TrimPrefix(topic, cloudevent.Prefix)
		in, names := object{}, []string{}
		for _, e := range events {
			names = append(names, e.Name)
			for _, name := range messageNames(e) {
				in[name] = ref("components/messages/" + name)
			}
		}
		owner, _, _ := strings.Cut(id, ".")
		channels[id] = object{"address": topic, "messages": in,
			"description": "Events of the " + owner + " service; those of one subject come in order where the broker can keep it."}
		operations[owner+".sends."+id] = object{"action": "send", "channel": ref("channels/" + id),
			"title": owner + " publishes", "tags": []any{object{"name": owner}}, "messages": refs(topic, names)}
	}
	for app, topics := range heard {
		for topic, events := range topics {
			id := strings.TrimPrefix(topic, cloudevent.Prefix)
			operations[app+".receives."+id] = object{"action": "receive", "channel": ref("channels/" + id),
				"title": app + " hears " + id, "tags": []any{object{"name": app}}, "messages": refs(topic, events)}
		}
	}
	return asyncDocument{
		AsyncAPI: "3.0.0", DefaultContentType: cloudevent.ContentType, Channels: channels, Operations: operations,
		Components: object{"messages": messages, "schemas": schemas},
		Info: object{"title": "Dishmesh events", "version": "1.0.0", "description": "The topics of the platform, who publishes and who hears what. " +
			"Every message is a CloudEvents 1.0 event in its JSON format; its data are the JSON form of the protobuf message that dataschema names, " +
			"with integers of 64 bits as strings and fields at their zero value left out. What an app can't handle it publishes on <address>.dlq.<app>."},
	}
}

// envelope is the schema of what all events have in common.
func envelope() object {
	text := func(description string) object { return object{"type": "string", "description": description} }
	return object{
		"type": "object", "description": "CloudEvents 1.0, JSON format, with the extensions of this platform.",
		"required": []any{"specversion", "id", "source", "type", "subject", "time", "data"},
		"properties": object{
			"specversion": object{"const": "1.0"}, "datacontenttype": object{"const": "application/json"},
			"id": text("<stream>/<aggregate>/<sequence>, the same at every repetition"), "source": text("dishmesh/<app>"),
			"type": text("fooddelivery.<entity>.<action>"), "subject": text("the aggregate's id, by which a broker partitions"),
			"time": object{"type": "string", "format": "date-time"}, "dataschema": text("proto:<full name of the protobuf message of the data>"),
			"sequence": text("within the aggregate, from 1; of a courier's position a time stamp"), "correlationid": text("the order, where there is one"),
			"traceparent": text("W3C Trace Context"), "data": object{"type": "object"},
		},
	}
}

// addSchema adds the JSON Schema of a message, and of those that it holds, in the JSON form of protobuf.
func addSchema(schemas object, m protoreflect.MessageDescriptor, docs map[string]string) {
	name := string(m.FullName())
	if schemas[name] != nil {
		return
	}
	properties := object{}
	schemas[name] = explained(object{"type": "object", "properties": properties}, docs[name])
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		var s object
		switch f.Kind() {
		case protoreflect.StringKind:
			s = object{"type": "string"}
		case protoreflect.BoolKind:
			s = object{"type": "boolean"}
		case protoreflect.Int32Kind:
			s = object{"type": "integer", "format": "int32"}
		case protoreflect.Int64Kind:
			s = object{"type": []any{"string", "integer"}, "format": "int64"} // written as a string, read in both forms
		case protoreflect.DoubleKind:
			s = object{"type": "number", "format": "double"}
		case protoreflect.MessageKind:
			if f.Message().FullName() == "google.protobuf.Timestamp" {
				s = object{"type": "string", "format": "date-time"}
				break
			}
			addSchema(schemas, f.Message(), docs)
			s = ref("components/schemas/" + string(f.Message().FullName()))
		default:
			panic(fmt.Sprintf("%s is a %s: say what that is in JSON", f.FullName(), f.Kind()))
		}
		if f.IsList() {
			s = object{"type": "array", "items": s}
		}
		properties[string(f.Name())] = explained(s, docs[string(f.FullName())])
	}
}

func explained(s object, doc string) object {
	if doc != "" {
		s["description"] = doc
	}
	return s
}

// comments reads what stands above the messages and behind the fields of a .proto file, by full name.
func comments(text string, docs map[string]string) {
	var names, above []string
	for line := range strings.SplitSeq(text, "\n") {
		line = strings.TrimSpace(line)
		code, comment, _ := strings.Cut(line, "//")
		words := strings.Fields(strings.TrimRight(code, "; {"))
		full := func(name string) string { return strings.Join(append(slices.Clone(names), name), ".") }
		switch {
		case len(words) == 0 && line != "" && line != "}":
			above = append(above, strings.TrimSpace(comment))
			continue
		case len(words) == 2 && words[0] == "package":
			names = []string{words[1]}
		case len(words) == 2 && words[0] == "message":
			if doc := strings.Join(above, "\n"); doc != "" {
				docs[full(words[1])] = doc
			}
			names = append(names, words[1])
		case line == "}":
			names = names[:len(names)-1]
		case comment != "" && slices.Contains(words, "="):
			docs[full(words[slices.Index(words, "=")-1])] = strings.TrimSpace(comment)
		}
		above = nil
	}
}

func TestAsyncAPI(t *testing.T) {
	docs := map[string]string{}
	for _, name := range tracked(t) {
		if path.Ext(name) == ".proto" {
			text, err := os.ReadFile(filepath.Join(root(t), name))
			if err != nil {
				t.Fatal(err)
			}
			comments(string(text), docs)
		}
	}
	subscriptions := slices.DeleteFunc(resources(t), func(d document) bool { return path.Dir(d.file) != "components/subscriptions" })
	var want bytes.Buffer
	want.WriteString("# Generated from the contracts and the subscriptions: go test ./services/internal/arch -run TestAsyncAPI -update\n")
	enc := yaml.NewEncoder(&want)
	enc.SetIndent(2)
	if err := enc.Encode(describe(catalogue.Owners(), hearings(subscriptions), docs)); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root(t), "services", "asyncapi.yaml")
	if *update {
		if err := os.WriteFile(file, want.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(want.String(), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("services/asyncapi.yaml is not what the code says; write it anew with -update (-code +file):\n%s", diff)
	}
	var document any
	if err := yaml.Unmarshal(got, &document); err != nil {
		t.Fatal(err)
	}
	report(t, referenceRules(document))
}

// referenceRules hold that every reference of a document leads somewhere in it.
func referenceRules(document any) []string {
	var violations []string
	var walk func(any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(e)
			}
		case map[string]any:
			for _, e := range v {
				walk(e)
			}
			to, ok := v["$ref"].(string)
			if !ok {
				return
			}
			at := document
			for part := range strings.SplitSeq(strings.TrimPrefix(to, "#/"), "/") {
				m, _ := at.(map[string]any)
				at = m[part]
			}
			if at == nil {
				violations = append(violations, to+" leads nowhere")
			}
		}
	}
	walk(document)
	return violations
}

func TestReferenceRulesFail(t *testing.T) {
	document := object{"a": object{"b.c": object{"x": 1}}, "list": []any{ref("a/b.c"), object{"deep": ref("a/gone")}}}
	same(t, referenceRules(document), []string{"#/a/gone leads nowhere"})
}

func TestComments(t *testing.T) {
	docs := map[string]string{}
	comments("syntax = \"proto3\";\n\n// The file.\npackage a.v1;\n\n// M is\n// a thing.\nmessage M {\n  // N is in it.\n  message N {\n    string x = 1; // the x\n  }\n\n  repeated N n = 2; // many\n  int64 y = 3;\n}\n", docs)
	want := map[string]string{"a.v1.M": "M is\na thing.", "a.v1.M.N": "N is in it.", "a.v1.M.N.x": "the x", "a.v1.M.n": "many"}
	if diff := cmp.Diff(want, docs); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
