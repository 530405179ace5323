package profile

import "slices"

// checkComponent finds what is wrong with a component beyond its frame.
func checkComponent(r Resource, fault func(at, format string, args ...any)) {
	for _, s := range r.Metadata {
		if s.SecretRef != "" {
			fault(r.File, "%s comes from the secret %q, but there is no secret store here: use envRef", s.Name, s.SecretRef)
		}
	}
}

// ownTypes are the component types that only the runtime of components/runtime has, not an installed Dapr.
func ownTypes() []string { return []string{"pubsub.rabbitmq-confirmed", "state.redis-atomic"} }

// NeedsOwnRuntime reports whether a component is one that an installed Dapr lacks.
func (p *Profile) NeedsOwnRuntime() bool {
	return slices.ContainsFunc(p.Resources, func(r Resource) bool { return slices.Contains(ownTypes(), r.Type) })
}
