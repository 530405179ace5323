package manifest

import (
	"encoding/json"
	"reflect"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/runtime"
)

// strictProto reads the spec of an Istio resource once more: as the message that it is, where a field that is unknown,
// two of a oneof, or a duration that is none are errors. The types of Istio's client read leniently.
func strictProto(d Document, obj runtime.Object) []string {
	spec := reflect.ValueOf(obj).Elem().FieldByName("Spec")
	message, ok := spec.Addr().Interface().(proto.Message)
	if !ok {
		return []string{d.At("spec") + "its type is no message"}
	}
	var raw struct{ Spec json.RawMessage }
	if err := json.Unmarshal(d.JSON, &raw); err != nil {
		return []string{d.At("spec") + err.Error()}
	}
	if len(raw.Spec) == 0 {
		return nil
	}
	proto.Reset(message)
	if err := protojson.Unmarshal(raw.Spec, message); err != nil {
		return []string{d.At("spec") + stable(err)}
	}
	return nil
}

// stable is an error of protojson without its beginning, which varies from build to build so that nobody relies on it.
func stable(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	if _, after, ok := strings.Cut(text, "): "); ok {
		return after
	}
	return strings.TrimPrefix(text, "proto: ")
}
