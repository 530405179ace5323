package profile

import (
	"fmt"
	"slices"
	"strings"
)

// apps are the services, which resources are scoped to.
func apps() []string {
	return []string{"gateway", "user", "menu", "pricing", "order", "payment", "restaurant", "delivery", "notification", "analytics"}
}

// Check finds what Dapr would refuse at its start or, worse, pass over in silence: unknown kinds, types, settings,
// secrets and apps. Each fault is one line with file, line and mend.
func Check(resources []Resource) []error {
	var faults []error
	fault := func(at, format string, args ...any) {
		faults = append(faults, fmt.Errorf("%s: "+format, append([]any{at}, args...)...))
	}
	for _, r := range resources {
		wantVersion, known := map[string]string{"Component": "dapr.io/v1alpha1", "Resiliency": "dapr.io/v1alpha1", "Subscription": "dapr.io/v2alpha1"}[r.Kind]
		switch {
		case !known:
			fault(r.at("kind"), "the kind %q is unknown: use Component, Subscription or Resiliency", r.Kind)
			continue
		case r.doc.APIVersion != wantVersion:
			fault(r.at("apiVersion"), "the apiVersion %q is not that of a %s: write %s", r.doc.APIVersion, r.Kind, wantVersion)
		case r.Name == "":
			fault(r.At(), "the %s has no name: add metadata.name", r.Kind)
		}
		if len(r.Scopes) == 0 {
			fault(r.At(), "%s has no scopes, so every app would load it: list the apps that use it", r.Name)
		}
		for i, app := range r.Scopes {
			if !slices.Contains(apps(), app) {
				fault(r.at(fmt.Sprintf("scopes.%d", i)), "%s is scoped to %q, which is no app: use of %s", r.Name, app, strings.Join(apps(), ", "))
			}
		}
		if r.Kind == "Component" {
			checkComponent(r, fault)
		}
	}
	return faults
}
