package profile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// apps are the services, which resources are scoped to.
func apps() []string {
	return []string{"gateway", "user", "menu", "pricing", "order", "payment", "restaurant", "delivery", "notification", "analytics"}
}

// faultFunc notes a fault at a place, file and line.
type faultFunc func(at, format string, args ...any)

// Check finds what Dapr would refuse at its start or, worse, pass over in silence: unknown kinds, types, settings,
// secrets and apps, and policies that undo each other. Each fault is one line with file, line and mend.
func Check(resources []Resource) []error {
	var faults []error
	fault := func(at, format string, args ...any) {
		faults = append(faults, errors.New(at+": "+fmt.Sprintf(format, args...)))
	}
	for _, r := range resources {
		want, known := map[string]string{"Component": "dapr.io/v1alpha1", "Resiliency": "dapr.io/v1alpha1", "Subscription": "dapr.io/v2alpha1"}[r.Kind]
		switch {
		case !known:
			fault(r.at("kind"), "the kind %q is unknown: use Component, Subscription or Resiliency", r.Kind)
			continue
		case r.doc.APIVersion != want:
			fault(r.at("apiVersion"), "the apiVersion %q is not that of a %s: write %s", r.doc.APIVersion, r.Kind, want)
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
	checkPolicies(resources, fault)
	checkSubscriptions(resources, fault)
	return faults
}

// checkPolicies finds two resiliency resources that speak of the same component to the same app. Dapr keeps the policy
// that it reads last and drops the other as a whole, without a word (pkg/resiliency, DecodeConfiguration).
func checkPolicies(resources []Resource, fault faultFunc) {
	first := map[string]Resource{}
	for _, r := range resources {
		if r.Kind != "Resiliency" {
			continue
		}
		var spec struct {
			Targets struct {
				Components map[string]any `yaml:"components"`
			} `yaml:"targets"`
		}
		if err := r.doc.Spec.Decode(&spec); err != nil {
			fault(r.at("spec"), "%v: correct the YAML", err)
			continue
		}
		for target := range spec.Targets.Components {
			if !slices.ContainsFunc(resources, func(c Resource) bool { return c.Kind == "Component" && c.Name == target }) {
				fault(r.at("spec.targets.components."+target), "%s has a policy for %q, which is no component: correct or remove it", r.Name, target)
			}
			for _, app := range r.Scopes {
				key := app + " " + target
				if other, twice := first[key]; twice {
					fault(r.at("spec.targets.components."+target), "%s has a policy for %s, and so has %s at %s, of which Dapr would drop one: put them into one resource", r.Name, target, other.Name, other.At())
					break
				}
				first[key] = r
			}
		}
	}
}

// checkSubscriptions finds subscriptions by a component that is not there, or not for the app.
func checkSubscriptions(resources []Resource, fault faultFunc) {
	for _, r := range resources {
		if r.Kind != "Subscription" {
			continue
		}
		var spec struct {
			Pubsubname string `yaml:"pubsubname"`
		}
		if err := r.doc.Spec.Decode(&spec); err != nil {
			fault(r.at("spec"), "%v: correct the YAML", err)
			continue
		}
		i := slices.IndexFunc(resources, func(c Resource) bool { return c.Kind == "Component" && c.Name == spec.Pubsubname })
		if i < 0 {
			fault(r.at("spec.pubsubname"), "%s subscribes by %q, which is no component: correct it", r.Name, spec.Pubsubname)
			continue
		}
		for _, app := range r.Scopes {
			if !slices.Contains(resources[i].Scopes, app) {
				fault(r.at("spec.pubsubname"), "%s subscribes by %s, which is not scoped to %s: add the scope at %s", r.Name, spec.Pubsubname, app, resources[i].At())
			}
		}
	}
}
