package manifest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	components "github.com/dapr/dapr/pkg/apis/components/v1alpha1"
	configuration "github.com/dapr/dapr/pkg/apis/configuration/v1alpha1"
	httpendpoint "github.com/dapr/dapr/pkg/apis/httpEndpoint/v1alpha1"
	resiliency "github.com/dapr/dapr/pkg/apis/resiliency/v1alpha1"
	subscriptions "github.com/dapr/dapr/pkg/apis/subscriptions/v2alpha1"
	networking "istio.io/client-go/pkg/apis/networking/v1"
	security "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/dishmesh/dishmesh/services/internal/communication"
)

// References holds that what a resource names exists: apps in scopes and targets, components, topics, configurations,
// accounts in policies, hosts in routes, variables that components take from their sidecars. topics are those that the
// broker has.
func References(objects []Object, topics []string) []string {
	r := references{workloads: Workloads(objects), objects: objects, topics: topics}
	r.dapr()
	r.sidecars()
	r.istio()
	r.selectors()
	return r.violations
}

type references struct {
	objects    []Object
	workloads  []Workload
	topics     []string
	violations []string
}

func (r *references) add(d Document, path, format string, args ...any) {
	r.violations = append(r.violations, d.At(path)+fmt.Sprintf(format, args...))
}

// hasApp tells whether a workload has the app id.
func (r *references) hasApp(id string) bool {
	return slices.ContainsFunc(r.workloads, func(w Workload) bool { return w.Template.Annotations["dapr.io/app-id"] == id })
}

func (r *references) scopes(d Document, scopes []string) {
	if len(scopes) == 0 {
		r.add(d, "scopes", "it has no scopes: every sidecar would load it")
	}
	for _, app := range scopes {
		if !r.hasApp(app) {
			r.add(d, "scopes", "the scope %q is no app id", app)
		}
	}
}

func (r *references) hasComponent(name string) bool {
	return slices.ContainsFunc(All[*components.Component](r.objects), func(c Resource[*components.Component]) bool { return c.Of.Name == name })
}

func (r *references) dapr() {
	for _, c := range All[*components.Component](r.objects) {
		r.scopes(c.Document, c.Of.Scopes)
	}
	for _, e := range All[*httpendpoint.HTTPEndpoint](r.objects) {
		r.scopes(e.Document, e.Of.Scopes)
	}
	for _, s := range All[*subscriptions.Subscription](r.objects) {
		r.scopes(s.Document, s.Of.Scopes)
		if !r.hasComponent(s.Of.Spec.Pubsubname) {
			r.add(s.Document, "spec.pubsubname", "there is no component %q", s.Of.Spec.Pubsubname)
		}
		if !slices.Contains(r.topics, s.Of.Spec.Topic) {
			r.add(s.Document, "spec.topic", "the broker has no topic %q", s.Of.Spec.Topic)
		}
	}
	for _, p := range All[*resiliency.Resiliency](r.objects) {
		for _, app := range slices.Sorted(maps.Keys(p.Of.Spec.Targets.Apps)) {
			if !r.hasApp(app) {
				r.add(p.Document, "spec.targets.apps."+app, "the target %q is no app id", app)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(p.Of.Spec.Targets.Components)) {
			if !r.hasComponent(name) {
				r.add(p.Document, "spec.targets.components."+name, "the target %q is no component", name)
			}
		}
		for _, app := range p.Of.Scopes {
			if !r.hasApp(app) {
				r.add(p.Document, "scopes", "the scope %q is no app id", app)
			}
		}
	}
}

// sidecars holds that a sidecar has the configuration that it is told of, and every variable that its components want.
func (r *references) sidecars() {
	for _, w := range r.workloads {
		app := w.Template.Annotations["dapr.io/app-id"]
		if app == "" {
			continue
		}
		at := "spec.template.metadata.annotations"
		if name := w.Template.Annotations["dapr.io/config"]; !slices.ContainsFunc(All[*configuration.Configuration](r.objects),
			func(c Resource[*configuration.Configuration]) bool { return c.Of.Name == name }) {
			r.add(w.Document, at, "dapr.io/config: there is no Configuration %q", name)
		}
		has := map[string]bool{}
		for _, list := range []string{"dapr.io/env", "dapr.io/env-from-secret"} {
			for _, pair := range splitPairs(w.Template.Annotations[list]) {
				name, _, _ := strings.Cut(pair, "=")
				has[strings.TrimSpace(name)] = true
			}
		}
		for _, c := range All[*components.Component](r.objects) {
			if !slices.Contains(c.Of.Scopes, app) {
				continue
			}
			for _, item := range c.Of.Spec.Metadata {
				if item.EnvRef != "" && !has[item.EnvRef] {
					r.add(w.Document, at, "the component %s wants %s of the sidecar, which dapr.io/env and dapr.io/env-from-secret don't give", c.Of.Name, item.EnvRef)
				}
			}
		}
	}
}

func (r *references) istio() {
	for _, p := range All[*security.AuthorizationPolicy](r.objects) {
		for i, rule := range p.Of.Spec.GetRules() {
			for _, from := range rule.GetFrom() {
				for _, principal := range from.GetSource().GetPrincipals() {
					if !r.hasAccount(principal) {
						r.add(p.Document, fmt.Sprintf("spec.rules[%d]", i), "there is no ServiceAccount for the principal %q", principal)
					}
				}
			}
		}
		r.selects(p.Document, p.Of.Spec.GetSelector().GetMatchLabels())
	}
	for _, s := range All[*networking.Sidecar](r.objects) {
		r.selects(s.Document, s.Of.Spec.GetWorkloadSelector().GetLabels())
	}
	for _, d := range All[*networking.DestinationRule](r.objects) {
		r.host(d.Document, "spec.host", d.Of.Spec.GetHost())
	}
	for _, v := range All[*networking.VirtualService](r.objects) {
		for i, http := range v.Of.Spec.GetHttp() {
			for _, route := range http.GetRoute() {
				r.host(v.Document, fmt.Sprintf("spec.http[%d]", i), route.GetDestination().GetHost())
			}
			if m := http.GetMirror(); m != nil {
				r.host(v.Document, fmt.Sprintf("spec.http[%d]", i), m.GetHost())
			}
		}
	}
}

// hasAccount tells whether a principal is an account of the overlay. Those of other namespaces are their charts'.
func (r *references) hasAccount(principal string) bool {
	parts := strings.Split(principal, "/")
	if len(parts) != 5 || parts[0] != "cluster.local" || parts[1] != "ns" || parts[3] != "sa" {
		return false
	}
	if parts[2] != communication.Namespace {
		return parts[2] == communication.IngressNamespace && parts[4] == communication.Ingress
	}
	return slices.ContainsFunc(All[*corev1.ServiceAccount](r.objects), func(a Resource[*corev1.ServiceAccount]) bool {
		return a.Of.Namespace == parts[2] && a.Of.Name == parts[4]
	})
}

// host holds that a full name of a Service of ours is one. What is not in the cluster's domain has a ServiceEntry.
func (r *references) host(d Document, path, host string) {
	name, domain, _ := strings.Cut(host, ".")
	namespace, suffix, _ := strings.Cut(domain, ".")
	switch {
	case suffix == "svc.cluster.local":
		for _, s := range All[*corev1.Service](r.objects) {
			if s.Of.Name == name && s.Of.Namespace == namespace {
				return
			}
		}
		// Dapr's operator makes one beside each app.
		if app, ok := strings.CutSuffix(name, "-dapr"); ok && namespace == communication.Namespace && r.hasApp(app) {
			return
		}
		r.add(d, path, "there is no Service %s/%s for the host %s", namespace, name, host)
	case !slices.ContainsFunc(All[*networking.ServiceEntry](r.objects), func(e Resource[*networking.ServiceEntry]) bool {
		return slices.Contains(e.Of.Spec.GetHosts(), host)
	}):
		r.add(d, path, "the host %s is no full name of a Service (NAME.NAMESPACE.svc.cluster.local), and no ServiceEntry has it", host)
	}
}

// selects holds that a selector in the namespace of the services takes somebody.
func (r *references) selects(d Document, selector map[string]string) {
	if len(selector) > 0 && d.Namespace == communication.Namespace && len(selected(r.workloads, d.Namespace, selector)) == 0 {
		r.add(d, "spec", "it selects no pod: %v", selector)
	}
}

// selectors holds that NetworkPolicies select somebody; one that does not leaves its pods to others.
func (r *references) selectors() {
	for _, p := range All[*networkingv1.NetworkPolicy](r.objects) {
		selector, err := metav1.LabelSelectorAsSelector(&p.Of.Spec.PodSelector)
		if err != nil {
			r.add(p.Document, "spec.podSelector", "%v", err)
			continue
		}
		if !slices.ContainsFunc(r.workloads, func(w Workload) bool {
			return w.Namespace == p.Of.Namespace && selector.Matches(labels.Set(w.Template.Labels))
		}) {
			r.add(p.Document, "spec.podSelector", "it selects no pod of %s", p.Of.Namespace)
		}
	}
}
