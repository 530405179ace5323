package profile

// checkComponent finds what is wrong with a component beyond its frame.
func checkComponent(r Resource, fault func(at, format string, args ...any)) {
	for _, s := range r.Metadata {
		if s.SecretRef != "" {
			fault(r.File, "%s comes from the secret %q, but there is no secret store here: use envRef", s.Name, s.SecretRef)
		}
	}
}
