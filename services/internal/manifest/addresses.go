package manifest

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"

	components "github.com/dapr/dapr/pkg/apis/components/v1alpha1"
	networking "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/dishmesh/dishmesh/services/internal/communication"
)

// Addresses holds that what a component or a container of a service is told to connect to, the mesh knows by that name and
// port, and lets that service reach: REGISTRY_ONLY cuts off everything else. Addresses in secrets are not looked at.
func Addresses(objects []Object) []string {
	a := addresses{objects: objects, sidecars: map[string][]string{}}
	for _, s := range All[*networking.Sidecar](objects) {
		if app := s.Of.Spec.GetWorkloadSelector().GetLabels()["app"]; app != "" && s.Namespace == communication.Namespace {
			for _, e := range s.Of.Spec.GetEgress() {
				a.sidecars[app] = append(a.sidecars[app], e.GetHosts()...)
			}
		}
	}
	if len(a.sidecars) == 0 {
		return nil // no mesh, which has other things to be told of
	}
	ids := map[string]string{} // the services by app id
	for _, w := range Workloads(objects) {
		app := w.Template.Labels["app"]
		if id := w.Template.Annotations["dapr.io/app-id"]; id != "" {
			ids[id] = app
		}
		if w.Namespace != communication.Namespace {
			continue
		}
		for _, c := range w.Template.Spec.Containers {
			for _, e := range c.Env {
				if strings.HasSuffix(e.Name, "_REDIS_ADDR") && e.Value != "" {
					a.check(w.Document, e.Name, app, e.Value)
				}
			}
		}
	}
	for _, c := range All[*components.Component](objects) {
		for _, address := range addressesOf(c.Of) {
			for _, id := range c.Of.Scopes {
				if app, ok := ids[id]; ok {
					a.check(c.Document, "spec.metadata", app, address)
				}
			}
		}
	}
	return a.violations
}

type addresses struct {
	objects    []Object
	sidecars   map[string][]string // by service, the hosts that its Envoy knows
	violations []string
}

// ports that are not written out, by scheme.
var schemePorts = map[string]string{"http": "80", "https": "443"}

// addressesOf are those that a component's metadata names, as "host:port".
func addressesOf(c *components.Component) []string {
	values := map[string]string{}
	for _, item := range c.Spec.Metadata {
		values[item.Name] = item.Value.String()
	}
	var out []string
	if v := values["brokers"]; v != "" {
		out = append(out, strings.Split(v, ",")...)
	}
	if v := values["redisHost"]; v != "" {
		out = append(out, v)
	}
	if u, err := url.Parse(values["url"]); err == nil && u.Host != "" {
		if u.Port() == "" {
			u.Host += ":" + schemePorts[u.Scheme]
		}
		out = append(out, u.Host)
	}
	if host := values["host"]; host != "" {
		if !strings.Contains(host, ":") {
			host += ":" + values["port"]
		}
		out = append(out, host)
	}
	return out
}

func (a *addresses) check(d Document, at, app, address string) {
	complain := func(format string, args ...any) {
		if v := d.At(at) + fmt.Sprintf(format, args...); !slices.Contains(a.violations, v) {
			a.violations = append(a.violations, v)
		}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		complain("%q is no address: %v", address, err)
		return
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		complain("%q has no port", address)
		return
	}
	namespace, ok := a.known(host, uint32(number))
	if !ok {
		complain("the mesh does not know %s: neither a Service nor a ServiceEntry has this name and port", address)
		return
	}
	if !slices.ContainsFunc(a.sidecars[app], func(allowed string) bool { return allowed == namespace+"/"+host || allowed == namespace+"/*" }) {
		complain("the Sidecar %s does not let through to %s of %s", app, host, namespace)
	}
}

// known finds the namespace of the Service or ServiceEntry that has a name and port. An entry of the services' own namespace
// stands for a Service of the same name elsewhere.
func (a *addresses) known(host string, port uint32) (namespace string, ok bool) {
	for _, e := range All[*networking.ServiceEntry](a.objects) {
		if !slices.Contains(e.Of.Spec.GetHosts(), host) {
			continue
		}
		for _, p := range e.Of.Spec.GetPorts() {
			if p.GetNumber() == port {
				return e.Namespace, true
			}
		}
	}
	for _, s := range All[*corev1.Service](a.objects) {
		if s.Name+"."+s.Namespace+".svc.cluster.local" == host &&
			slices.ContainsFunc(s.Of.Spec.Ports, func(p corev1.ServicePort) bool { return uint32(p.Port) == port }) {
			return s.Namespace, true
		}
	}
	return "", false
}
