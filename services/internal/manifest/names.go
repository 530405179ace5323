package manifest

import (
	"fmt"
	"slices"

	"github.com/dapr/dapr/pkg/apis/common"
	httpendpoint "github.com/dapr/dapr/pkg/apis/httpEndpoint/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/dishmesh/dishmesh/services/internal/communication"
)

const (
	appPortName    = "http-app"
	publicPortName = "http-public"
)

// Services holds that each service goes by one name everywhere: app id, Deployment, ServiceAccount, Service, image,
// autoscaler, disruption budget, HTTPEndpoint; and that its ports are those that its callers and sidecars expect.
func Services(objects []Object) []string {
	workloads := Workloads(objects)
	var out []string
	for _, app := range communication.Services() {
		s := service{app: app, objects: objects, workloads: workloads}
		s.deployment()
		s.account()
		s.address()
		s.bounds()
		s.endpoint()
		out = append(out, s.violations...)
	}
	return append(out, appIDs(workloads)...)
}

// service gathers what is wrong with one service.
type service struct {
	app        string
	objects    []Object
	workloads  []Workload
	violations []string
}

func (s *service) is(right bool, d *Document, format string, args ...any) {
	if right {
		return
	}
	at := s.app + ": "
	if d != nil {
		at = d.At("")
	}
	s.violations = append(s.violations, at+fmt.Sprintf(format, args...))
}

// named is the resource of a type that has the service's name.
func named[T interface {
	metav1.Object
	runtime.Object
}](s *service, all []Resource[T], what string) (Resource[T], bool) {
	for _, r := range all {
		if r.Of.GetName() == s.app && r.Of.GetNamespace() == communication.Namespace {
			return r, true
		}
	}
	s.is(false, nil, "there is no %s %s/%s", what, communication.Namespace, s.app)
	return Resource[T]{}, false
}

func (s *service) deployment() {
	d, ok := named(s, All[*appsv1.Deployment](s.objects), "Deployment")
	if !ok {
		return
	}
	pod := d.Of.Spec.Template
	for key, want := range map[string]string{"dapr.io/app-id": s.app, "dapr.io/enabled": "true", "dapr.io/app-port": fmt.Sprint(communication.AppPort)} {
		s.is(pod.Annotations[key] == want, &d.Document, "the annotation %s is %q, want %q", key, pod.Annotations[key], want)
	}
	s.is(pod.Labels["app"] == s.app, &d.Document, "the label app of its pods is %q, want %q", pod.Labels["app"], s.app)
	s.is(pod.Spec.ServiceAccountName == s.app, &d.Document, "its pods run as the ServiceAccount %q, want %q", pod.Spec.ServiceAccountName, s.app)
	i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == "app" })
	if i < 0 {
		s.is(false, &d.Document, `there is no container "app"`)
		return
	}
	c := pod.Spec.Containers[i]
	s.is(imageName(c.Image) == s.app, &d.Document, "the container app has the image %q, which is not the service's own", c.Image)
	s.is(hasNamedPort(c, appPortName, communication.AppPort), &d.Document, "the container app lacks the port %s, %d", appPortName, communication.AppPort)
	s.is(hasNamedPort(c, publicPortName, communication.PublicPort) == (s.app == communication.Gateway), &d.Document,
		"the port %s, %d is the gateway's, and only the gateway's", publicPortName, communication.PublicPort)
	ready, alive := c.ReadinessProbe, c.LivenessProbe
	s.is(ready != nil && ready.HTTPGet != nil && ready.HTTPGet.Path == "/readyz", &d.Document, "its readinessProbe does not ask /readyz, which knows of sidecar and store")
	s.is(alive != nil && alive.HTTPGet != nil && alive.HTTPGet.Path == "/healthz", &d.Document, "its livenessProbe does not ask /healthz, which knows of the process only")
}

func (s *service) account() {
	named(s, All[*corev1.ServiceAccount](s.objects), "ServiceAccount")
}

func (s *service) address() {
	svc, ok := named(s, All[*corev1.Service](s.objects), "Service")
	if !ok {
		return
	}
	ports := map[string]int32{appPortName: communication.AppPort}
	if s.app == communication.Gateway {
		ports[publicPortName] = communication.PublicPort
	}
	for name, number := range ports {
		s.is(slices.ContainsFunc(svc.Of.Spec.Ports, func(p corev1.ServicePort) bool { return p.Name == name && p.Port == number }),
			&svc.Document, "it lacks the port %s, %d", name, number)
	}
	found := selected(s.workloads, svc.Of.Namespace, svc.Of.Spec.Selector)
	s.is(len(found) > 0, &svc.Document, "its selector %v takes no pod", svc.Of.Spec.Selector)
	for _, w := range found {
		s.is(w.Template.Labels["app"] == s.app, &svc.Document, "its selector %v takes the pods of %s", svc.Of.Spec.Selector, w.Name)
		for _, p := range svc.Of.Spec.Ports {
			target := p.TargetPort
			if target == (intstr.IntOrString{}) {
				target = intstr.FromInt32(p.Port)
			}
			s.is(slices.ContainsFunc(w.Template.Spec.Containers, func(c corev1.Container) bool { return hasPort(c, target) }),
				&svc.Document, "its port %s leads to %s, which the pods of %s don't have", p.Name, target.String(), w.Name)
		}
	}
}

// bounds are how many replicas there may be, and how few.
func (s *service) bounds() {
	if scaled, ok := s.scaledObject(); ok { // KEDA makes the autoscaler
		name, _, _ := unstructured.NestedString(scaled.Of.Object, "spec", "scaleTargetRef", "name")
		s.is(name == s.app, &scaled.Document, "it scales %s", name)
	} else if h, ok := named(s, All[*autoscalingv2.HorizontalPodAutoscaler](s.objects), "HorizontalPodAutoscaler"); ok {
		ref := h.Of.Spec.ScaleTargetRef
		s.is(ref.Kind == "Deployment" && ref.Name == s.app, &h.Document, "it scales %s %s", ref.Kind, ref.Name)
	}
	if p, ok := named(s, All[*policyv1.PodDisruptionBudget](s.objects), "PodDisruptionBudget"); ok {
		selector, err := metav1.LabelSelectorAsSelector(p.Of.Spec.Selector)
		s.is(err == nil && selector.Matches(labels.Set{"app": s.app}), &p.Document, "it does not select the pods of %s", s.app)
	}
}

func (s *service) scaledObject() (Resource[*unstructured.Unstructured], bool) {
	for _, o := range All[*unstructured.Unstructured](s.objects) {
		if o.Kind == "ScaledObject" && o.Name == s.app && o.Namespace == communication.Namespace {
			return o, true
		}
	}
	return Resource[*unstructured.Unstructured]{}, false
}

// endpoint is by which the others call the service; it is for those alone who do, by the declared map.
func (s *service) endpoint() {
	callers := slices.DeleteFunc(communication.Callers(s.app), func(c string) bool { return c == communication.Ingress })
	if len(callers) == 0 {
		return
	}
	e, ok := named(s, All[*httpendpoint.HTTPEndpoint](s.objects), "HTTPEndpoint")
	if !ok {
		return
	}
	want := fmt.Sprintf("http://%s.%s.svc.cluster.local:%d", s.app, communication.Namespace, communication.AppPort)
	s.is(e.Of.Spec.BaseURL == want, &e.Document, "its baseUrl is %q, want %q", e.Of.Spec.BaseURL, want)
	s.is(slices.ContainsFunc(e.Of.Spec.Headers, func(h common.NameValuePair) bool { return h.Name == "dapr-api-token" && h.SecretKeyRef.Name != "" }),
		&e.Document, "it does not set the header dapr-api-token from a secret")
	got := s.scopes(e.Of.Scopes)
	s.is(slices.Equal(got, callers), &e.Document, "its scopes are %v, its callers in the declared map %v", got, callers)
}

// scopes are the services of scopes: a canary, which has an app id of its own, is the service that it stands in for.
func (s *service) scopes(ids []string) []string {
	var out []string
	for _, id := range ids {
		i := slices.IndexFunc(s.workloads, func(w Workload) bool { return w.Template.Annotations["dapr.io/app-id"] == id })
		if i >= 0 && !slices.Contains(communication.Services(), id) {
			id = s.workloads[i].Template.Labels["app"]
		}
		out = append(out, id)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// appIDs holds that no two workloads share an app id: Dapr's operator would change one Service to and fro between them.
func appIDs(workloads []Workload) []string {
	var out []string
	seen := map[string]string{}
	for _, w := range workloads {
		id := w.Template.Annotations["dapr.io/app-id"]
		if id == "" {
			continue
		}
		if other, ok := seen[id]; ok {
			out = append(out, fmt.Sprintf("%sit has the app id %s of %s; give it one of its own", w.At("spec.template.metadata"), id, other))
		}
		seen[id] = w.Name
		if w.Namespace != communication.Namespace {
			out = append(out, fmt.Sprintf("%sit has an app id, and is not in the namespace %s", w.At("metadata"), communication.Namespace))
		}
	}
	return out
}
