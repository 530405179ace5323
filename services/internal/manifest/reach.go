package manifest

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/dishmesh/dishmesh/services/internal/communication"
)

// Reach holds that the NetworkPolicies let through exactly the declared connections: between any two pods, on any port
// that anybody here listens on, and on some that nobody should. cyclonus computes what policies allow. In each namespace
// of ours and of theirs stands a stranger too, a pod that nobody declared: nothing may reach it from ours, and it may
// reach nothing of ours, so that a rule for a whole namespace is seen as what it is.
func Reach(objects []Object, declared []communication.Connection) []string {
	var policies []*networkingv1.NetworkPolicy
	for _, p := range All[*networkingv1.NetworkPolicy](objects) {
		policies = append(policies, p.Of)
	}
	if len(policies) == 0 {
		return []string{"there is no NetworkPolicy: everybody reaches everything"}
	}
	pods := reachPods(objects, declared)
	wanted, violations := arrows(pods, declared)
	allowed := computed(matcher.BuildNetworkPolicies(false, policies), pods, declared)
	for _, a := range sortedArrows(allowed) {
		if !wanted[a] {
			violations = append(violations, "the NetworkPolicies allow, and the map has not: "+a.String())
		}
	}
	for _, a := range sortedArrows(wanted) {
		if !allowed[a] {
			violations = append(violations, "the map has, and the NetworkPolicies refuse: "+a.String())
		}
	}
	return violations
}

// pod is somebody who may send or receive.
type pod struct {
	name      string // of the workload; of a stranger, "stranger"
	namespace string
	labels    map[string]string
	ours      bool // an overlay makes it, so that policies must hold for it
}

func (p pod) stranger() bool { return p.name == "stranger" }

func (p pod) peer() *matcher.TrafficPeer {
	return &matcher.TrafficPeer{IP: "10.244.0.1", Internal: &matcher.InternalPeer{
		Namespace: p.namespace, PodLabels: p.labels,
		NamespaceLabels: map[string]string{corev1.LabelMetadataName: p.namespace},
	}}
}

// outsider is somebody without a pod: an address in the world.
const outsider = "the world"

// arrow is a connection as it is compared.
type arrow struct {
	from, to, protocol string
	port               int
}

func (a arrow) String() string {
	return fmt.Sprintf("%s -> %s, port %d/%s", a.from, a.to, a.port, a.protocol)
}

func sortedArrows(set map[arrow]bool) []arrow {
	out := make([]arrow, 0, len(set))
	for a := range set {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b arrow) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.to, b.to), cmp.Compare(a.port, b.port), cmp.Compare(a.protocol, b.protocol))
	})
	return out
}

// reachPods are the pods of the overlay, those that the map names besides, and a stranger in each of their namespaces.
func reachPods(objects []Object, declared []communication.Connection) []pod {
	var pods []pod
	for _, w := range Workloads(objects) {
		pods = append(pods, pod{w.Name, w.Namespace, w.Template.Labels, true})
	}
	for _, c := range declared {
		if _, ok := find(pods, c.To.Namespace, c.To.Labels()); !ok {
			pods = append(pods, pod{name: c.To.Name, namespace: c.To.Namespace, labels: c.To.Labels()})
		}
	}
	ingress := map[string]string{"app": communication.Ingress, "istio": communication.Ingress}
	if _, ok := find(pods, communication.IngressNamespace, ingress); !ok {
		pods = append(pods, pod{name: communication.Ingress, namespace: communication.IngressNamespace, labels: ingress})
	}
	seen := map[string]bool{corev1.NamespaceDefault: true}
	for _, p := range pods {
		seen[p.namespace] = true
	}
	for namespace := range seen {
		pods = append(pods, pod{name: "stranger", namespace: namespace, labels: map[string]string{"app": "stranger"}})
	}
	return pods
}

// find is the pod of a namespace that has the labels.
func find(pods []pod, namespace string, want map[string]string) (pod, bool) {
	for _, p := range pods {
		if p.namespace == namespace && labels.SelectorFromSet(want).Matches(labels.Set(p.labels)) {
			return p, true
		}
	}
	return pod{}, false
}

func (p pod) String() string { return p.namespace + "/" + p.name }

// arrows are the declared connections between pods.
func arrows(pods []pod, declared []communication.Connection) (map[arrow]bool, []string) {
	out := map[arrow]bool{}
	var violations []string
	for _, c := range declared {
		i := slices.IndexFunc(pods, func(p pod) bool { return p.name == c.From })
		if i < 0 {
			violations = append(violations, fmt.Sprintf("the map has %s -> %s, and there is no pod %s", c.From, c.To.Host(), c.From))
			continue
		}
		to, _ := find(pods, c.To.Namespace, c.To.Labels())
		out[arrow{pods[i].String(), to.String(), c.To.Protocol, c.To.At()}] = true
	}
	return out, violations
}

// computed are the arrows that the policies let through, of those with an end at a pod of ours.
func computed(policy *matcher.Policy, pods []pod, declared []communication.Connection) map[arrow]bool {
	ports := []int{22, 53, 80, 443, 3500, 6443, 8443, 9090, 15001, 15021, 15090, 50001, communication.AppPort, communication.PublicPort, communication.ActorPort, 65000}
	for _, c := range declared {
		ports = append(ports, c.To.At())
	}
	slices.Sort(ports)
	ports = slices.Compact(ports)
	out := map[arrow]bool{}
	try := func(from, to string, source, destination *matcher.TrafficPeer) {
		for _, port := range ports {
			for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
				if policy.IsTrafficAllowed(&matcher.Traffic{Source: source, Destination: destination, ResolvedPort: port, Protocol: protocol}).IsAllowed() {
					out[arrow{from, to, string(protocol), port}] = true
				}
			}
		}
	}
	world := &matcher.TrafficPeer{IP: "203.0.113.7"}
	for _, from := range pods {
		for _, to := range pods {
			if (from.ours || to.ours) && !(from.stranger() && to.stranger()) {
				try(from.String(), to.String(), from.peer(), to.peer())
			}
		}
		if from.ours {
			try(from.String(), outsider, from.peer(), world)
			try(outsider, from.String(), world, from.peer())
		}
	}
	return out
}
