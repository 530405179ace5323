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
// reach nothing of ours, so that a rule for a whole namespace is seen as what it is. A place without a namespace is an
// address outside of the cluster, its name; there is one more that nobody declared.
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
	violations = append(violations, without(allowed, wanted, "the NetworkPolicies allow, and the map has not: ")...)
	return append(violations, without(wanted, allowed, "the map has, and the NetworkPolicies refuse: ")...)
}

// without tells what is in one set of arrows and not in the other, a line for each two pods.
func without(these, others map[arrow]bool, what string) []string {
	var out []string
	var last arrow
	for _, a := range sortedArrows(these) {
		if others[a] {
			continue
		}
		if last.from == a.from && last.to == a.to {
			out[len(out)-1] += fmt.Sprintf(", %d/%s", a.port, a.protocol)
		} else {
			out = append(out, what+a.String())
		}
		last = a
	}
	return out
}

// pod is somebody who may send or receive.
type pod struct {
	name      string // of the workload; of a stranger, "stranger"
	namespace string
	labels    map[string]string
	address   string
	ours      bool // it is in a namespace of ours, so that policies must hold for it
}

func (p pod) stranger() bool { return p.name == "stranger" }

func (p pod) peer() *matcher.TrafficPeer {
	if p.namespace == "" {
		return &matcher.TrafficPeer{IP: p.address}
	}
	return &matcher.TrafficPeer{IP: "10.244.0.1", Internal: &matcher.InternalPeer{
		Namespace: p.namespace, PodLabels: p.labels,
		NamespaceLabels: map[string]string{corev1.LabelMetadataName: p.namespace},
	}}
}

// world is an address that nobody declared.
var world = pod{name: "the world", address: "198.51.100.7"}

// arrow is a connection as it is compared.
type arrow struct {
	from, to, protocol string
	port               int
}

func (a arrow) String() string {
	return fmt.Sprintf("%s -> %s: %d/%s", a.from, a.to, a.port, a.protocol)
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
		ours := slices.Contains([]string{communication.Namespace, communication.DataNamespace, communication.CityNamespace, communication.ObservabilityNamespace}, w.Namespace)
		pods = append(pods, pod{name: w.Name, namespace: w.Namespace, labels: w.Template.Labels, ours: ours})
	}
	for _, c := range declared {
		if !slices.ContainsFunc(pods, func(p pod) bool { return p.is(c.To) }) {
			pods = append(pods, pod{name: c.To.Name, namespace: c.To.Namespace, labels: c.To.Labels(), address: c.To.Name})
		}
	}
	ingress := communication.Place{Namespace: communication.IngressNamespace, Name: communication.Ingress, Pods: map[string]string{"istio": communication.Ingress}}
	if !slices.ContainsFunc(pods, func(p pod) bool { return p.is(ingress) }) {
		pods = append(pods, pod{name: ingress.Name, namespace: ingress.Namespace, labels: ingress.Pods})
	}
	seen := map[string]bool{corev1.NamespaceDefault: true}
	for _, p := range pods {
		seen[p.namespace] = true
	}
	for _, p := range All[*networkingv1.NetworkPolicy](objects) {
		for _, name := range namespacesOf(p.Of) {
			seen[name] = true
		}
	}
	delete(seen, "")
	for namespace := range seen {
		pods = append(pods, pod{name: "stranger", namespace: namespace, labels: map[string]string{"app": "stranger"}})
	}
	return append(pods, world)
}

// namespacesOf are the namespaces that a policy names.
func namespacesOf(p *networkingv1.NetworkPolicy) []string {
	var peers []networkingv1.NetworkPolicyPeer
	for _, rule := range p.Spec.Ingress {
		peers = append(peers, rule.From...)
	}
	for _, rule := range p.Spec.Egress {
		peers = append(peers, rule.To...)
	}
	var out []string
	for _, peer := range peers {
		if peer.NamespaceSelector != nil {
			out = append(out, peer.NamespaceSelector.MatchLabels[corev1.LabelMetadataName])
		}
	}
	return out
}

// is tells whether a pod is one of those behind a place.
func (p pod) is(place communication.Place) bool {
	return p.namespace == place.Namespace && labels.SelectorFromSet(place.Labels()).Matches(labels.Set(p.labels))
}

func (p pod) String() string {
	if p.namespace == "" {
		return p.name
	}
	return p.namespace + "/" + p.name
}

// service is whom the map means: a canary stands in for the service that its label names.
func (p pod) service() string {
	if app, ok := p.labels["app"]; ok && p.ours {
		return app
	}
	return p.name
}

// arrows are the declared connections between pods. One with no end at a pod of ours is for others to allow.
func arrows(pods []pod, declared []communication.Connection) (map[arrow]bool, []string) {
	out := map[arrow]bool{}
	var violations []string
	for _, c := range declared {
		found := false
		for _, from := range pods {
			if from.service() != c.From {
				continue
			}
			found = true
			for _, to := range pods {
				if to.is(c.To) && (from.ours || to.ours) {
					out[arrow{from.String(), to.String(), c.To.Protocol, c.To.At()}] = true
				}
			}
		}
		if !found {
			violations = append(violations, fmt.Sprintf("the map has %s -> %s, and there is no pod %s", c.From, c.To.Host(), c.From))
		}
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
	for _, from := range pods {
		for _, to := range pods {
			if !from.ours && !to.ours || from.stranger() && to.stranger() {
				continue
			}
			source, destination := from.peer(), to.peer()
			for _, port := range ports {
				for _, protocol := range []corev1.Protocol{corev1.ProtocolTCP, corev1.ProtocolUDP} {
					traffic := matcher.Traffic{Source: source, Destination: destination, ResolvedPort: port, Protocol: protocol}
					if policy.IsTrafficAllowed(&traffic).IsAllowed() {
						out[arrow{from.String(), to.String(), string(protocol), port}] = true
					}
				}
			}
		}
	}
	return out
}
