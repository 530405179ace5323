package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	components "github.com/dapr/dapr/pkg/apis/components/v1alpha1"
	configuration "github.com/dapr/dapr/pkg/apis/configuration/v1alpha1"
	httpendpoint "github.com/dapr/dapr/pkg/apis/httpEndpoint/v1alpha1"
	resiliency "github.com/dapr/dapr/pkg/apis/resiliency/v1alpha1"
	subscriptions "github.com/dapr/dapr/pkg/apis/subscriptions/v2alpha1"
	yamlv3 "gopkg.in/yaml.v3"
	extensions "istio.io/client-go/pkg/apis/extensions/v1alpha1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	networkingv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"
	security "istio.io/client-go/pkg/apis/security/v1"
	telemetry "istio.io/client-go/pkg/apis/telemetry/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	apiregistration "k8s.io/kube-aggregator/pkg/apis/apiregistration/install"
	admissionregistration "k8s.io/kubernetes/pkg/apis/admissionregistration/install"
	apps "k8s.io/kubernetes/pkg/apis/apps/install"
	autoscaling "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	batch "k8s.io/kubernetes/pkg/apis/batch/install"
	core "k8s.io/kubernetes/pkg/apis/core/install"
	networking "k8s.io/kubernetes/pkg/apis/networking/install"
	policy "k8s.io/kubernetes/pkg/apis/policy/install"
	rbac "k8s.io/kubernetes/pkg/apis/rbac/install"
	scheduling "k8s.io/kubernetes/pkg/apis/scheduling/install"
	storage "k8s.io/kubernetes/pkg/apis/storage/install"
	kind "sigs.k8s.io/kind/pkg/apis/config/v1alpha4"
)

// Schema knows every kind of resource that the project uses.
type Schema struct {
	scheme *runtime.Scheme
	strict runtime.Decoder
	custom map[schema.GroupVersionKind]func() (*customKind, error)
}

// NewSchema puts together the types and what their owners' custom resource definitions say beyond them; crds are the
// texts of those (see Definitions). Of a kind that has a definition and no Go type here, the definition alone is asked.
func NewSchema(crds ...[]byte) (*Schema, error) {
	s := &Schema{scheme: runtime.NewScheme(), custom: map[schema.GroupVersionKind]func() (*customKind, error){}}
	for _, install := range []func(*runtime.Scheme){
		core.Install, admissionregistration.Install, apps.Install, autoscaling.Install, batch.Install, networking.Install,
		policy.Install, rbac.Install, scheduling.Install, storage.Install, apiregistration.Install,
	} {
		install(s.scheme)
	}
	for _, add := range []func(*runtime.Scheme) error{
		components.AddToScheme, configuration.AddToScheme, httpendpoint.AddToScheme, resiliency.AddToScheme,
		subscriptions.AddToScheme,
		extensions.AddToScheme, networkingv1.AddToScheme, networkingv1alpha3.AddToScheme, security.AddToScheme, telemetry.AddToScheme,
	} {
		if err := add(s.scheme); err != nil {
			return nil, err
		}
	}
	s.strict = serializer.NewCodecFactory(s.scheme, serializer.EnableStrict).UniversalDeserializer()
	for _, raw := range crds {
		if err := s.define(raw); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Decode reads a document into the type of its kind. What the type does not have is a violation, even if its project
// would pass over it in silence. The object is nil if the kind is unknown, or is not a resource of the cluster.
func (s *Schema) Decode(d Document) (runtime.Object, []string) {
	gvk := schema.FromAPIVersionAndKind(d.APIVersion, d.Kind)
	switch {
	case d.Kind == "" || d.APIVersion == "":
		return nil, []string{d.At("") + "apiVersion and kind must say what this is"}
	case gvk.Group == "kind.x-k8s.io":
		return nil, decodeKind(d)
	case s.custom[gvk] == nil && !s.scheme.Recognizes(gvk):
		return nil, []string{d.At("kind") + s.unknown(gvk)}
	case s.custom[gvk] == nil:
		obj, _, err := s.strict.Decode(d.JSON, nil, nil)
		return obj, strictErrors(d, err)
	}
	kind, err := s.custom[gvk]()
	if err != nil {
		return nil, []string{d.At("kind") + err.Error()}
	}
	violations := kind.unknownFields(d)
	if !s.scheme.Recognizes(gvk) {
		obj := &unstructured.Unstructured{}
		if err := obj.UnmarshalJSON(d.JSON); err != nil {
			return nil, append(violations, d.At("")+err.Error())
		}
		return obj, violations
	}
	obj, _, err := s.strict.Decode(d.JSON, nil, nil)
	for _, v := range strictErrors(d, err) {
		if !slices.Contains(violations, v) {
			violations = append(violations, v)
		}
	}
	if obj != nil && len(violations) == 0 && strings.HasSuffix(gvk.Group, "istio.io") {
		violations = strictProto(d, obj)
	}
	return obj, violations
}

// Check decodes a document and then asks what the API server would ask when it is created: that required fields are
// there, values in range, selectors and ports consistent.
func (s *Schema) Check(d Document) (runtime.Object, []string) {
	obj, violations := s.Decode(d)
	if obj == nil || len(violations) > 0 {
		return obj, violations
	}
	if custom := s.custom[schema.FromAPIVersionAndKind(d.APIVersion, d.Kind)]; custom != nil {
		kind, err := custom()
		if err != nil {
			return obj, []string{d.At("kind") + err.Error()}
		}
		return obj, kind.validate(d)
	}
	return obj, s.validate(d, obj)
}

func (s *Schema) unknown(gvk schema.GroupVersionKind) string {
	for _, other := range s.scheme.PrioritizedVersionsAllGroups() {
		if other.Version != runtime.APIVersionInternal && s.scheme.Recognizes(other.WithKind(gvk.Kind)) {
			return fmt.Sprintf("%s is not served as %s: did you mean %s?", gvk.Kind, gvk.GroupVersion(), other)
		}
	}
	return fmt.Sprintf("the kind %s of %s is unknown to this cluster", gvk.Kind, gvk.GroupVersion())
}

// strictErrors takes apart what the strict decoder found.
func strictErrors(d Document, err error) []string {
	if err == nil {
		return nil
	}
	strict, ok := runtime.AsStrictDecodingError(err)
	if !ok {
		return []string{d.At("") + short(err)}
	}
	var out []string
	for _, e := range strict.Errors() {
		_, path, _ := strings.Cut(e.Error(), `"`)
		out = append(out, d.At(strings.TrimSuffix(path, `"`))+e.Error())
	}
	return out
}

// decodeKind reads a cluster configuration as kind itself does.
func decodeKind(d Document) []string {
	if d.APIVersion != "kind.x-k8s.io/v1alpha4" || d.Kind != "Cluster" {
		return []string{d.At("kind") + "kind reads Cluster of kind.x-k8s.io/v1alpha4 only"}
	}
	raw, err := yamlv3.Marshal(d.node)
	if err != nil {
		return []string{d.At("") + err.Error()}
	}
	dec := yamlv3.NewDecoder(bytes.NewReader(raw))
	dec.KnownFields(true)
	var cluster kind.Cluster
	if err := dec.Decode(&cluster); err != nil {
		var typed *yamlv3.TypeError
		if errors.As(err, &typed) { // lines are those of the copy, without the comments that were moved
			return []string{d.At("") + strings.Join(typed.Errors, "; ")}
		}
		return []string{d.At("") + err.Error()}
	}
	return decodePatches(d, cluster)
}

// short is the first line of an error, for those that carry the whole document along.
func short(err error) string {
	first, _, _ := strings.Cut(err.Error(), "\n")
	return first
}
