package profile

import (
	_ "embed"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// catalogueJSON says which component types the runtime has and which settings each knows. It is written by the command
// components/runtime/catalogue, from Dapr's registrations and its component metadata.
//
//go:embed catalogue.json
var catalogueJSON []byte

type componentType struct {
	Versions, Settings, Required []string
}

var catalogue = sync.OnceValues(func() (map[string]componentType, error) {
	var c map[string]componentType
	err := json.Unmarshal(catalogueJSON, &c)
	return c, err
})

// undocumented are the settings that Dapr 1.18 reads and its component metadata leave out, by type or by its first
// part.
func undocumented() map[string][]string {
	rabbit := []string{"concurrencyMode"} // pubsub/concurrency.go; the documented "concurrency" has no effect
	return map[string][]string{
		"state":                     {"actorStateStore", "keyPrefix", "outboxPublishPubsub", "outboxPublishTopic", "outboxPubsub", "outboxDiscardWhenMissingState"},
		"pubsub":                    {"consumerID"},
		"bindings":                  {"direction", "route"},
		"pubsub.kafka":              {"backOffPolicy", "backOffDuration", "backOffInitialInterval", "backOffMaxInterval", "backOffMaxRetries"},
		"pubsub.rabbitmq":           rabbit,
		"pubsub.rabbitmq-confirmed": rabbit,
	}
}

// withoutEffect are settings that Dapr documents and does not read.
func withoutEffect() map[string]string {
	return map[string]string{"pubsub.rabbitmq/concurrency": "concurrencyMode", "pubsub.rabbitmq-confirmed/concurrency": "concurrencyMode"}
}

// checkComponent finds what is wrong with a component beyond its frame.
func checkComponent(r Resource, fault faultFunc) {
	types, err := catalogue()
	if err != nil {
		fault(r.At(), "the catalogue of components is damaged: %v", err)
		return
	}
	category, _, _ := strings.Cut(r.Type, ".")
	known, ok := types[r.Type]
	switch {
	case r.Type == "":
		fault(r.At(), "%s has no type: add spec.type", r.Name)
		return
	case !ok:
		fault(r.at("spec.type"), "the runtime has no component %q%s", r.Type, suggest(r.Type, types))
		return
	case !slices.Contains(known.Versions, r.Version):
		fault(r.at("spec.version"), "%s has no version %q: write %s", r.Type, r.Version, strings.Join(known.Versions, " or "))
	}
	allowed := slices.Concat(known.Settings, undocumented()[category], undocumented()[r.Type])
	isKnown := func(name string) bool {
		return len(known.Settings) == 0 || slices.ContainsFunc(allowed, func(s string) bool { return strings.EqualFold(s, name) })
	}
	seen := map[string]bool{}
	for i, s := range r.Metadata {
		at := r.File + ":" + strconv.Itoa(s.Line)
		low := strings.ToLower(s.Name)
		switch {
		case s.Name == "":
			fault(at, "setting %d of %s has no name: add one", i+1, r.Name)
		case seen[low]:
			fault(at, "%s is set twice in %s: remove one", s.Name, r.Name)
		case withoutEffect()[r.Type+"/"+s.Name] != "":
			fault(at, "%s of %s has no effect in Dapr 1.18: use %s", s.Name, r.Type, withoutEffect()[r.Type+"/"+s.Name])
		case !isKnown(s.Name):
			fault(at, "%s has no setting %q: use of %s", r.Type, s.Name, strings.Join(known.Settings, ", "))
		case s.SecretRef != "":
			fault(at, "%s comes from the secret %q, but there is no secret store here: use envRef", s.Name, s.SecretRef)
		}
		seen[low] = true
	}
	for _, name := range known.Required {
		// A binding's requests may carry what its component leaves open.
		if !seen[strings.ToLower(name)] && category != "bindings" {
			fault(r.at("spec.metadata"), "%s lacks %s, which %s must have: add it", r.Name, name, r.Type)
		}
	}
}

// suggest names a type that was probably meant.
func suggest(wrong string, types map[string]componentType) string {
	best, least := "", 4
	category, _, _ := strings.Cut(wrong, ".")
	var all []string
	for name := range types {
		if d := distance(wrong, name); d < least {
			best, least = name, d
		}
		if strings.HasPrefix(name, category+".") {
			all = append(all, name)
		}
	}
	if best != "" {
		return ": did you mean " + best + "?"
	}
	if len(all) == 0 {
		return ": a type begins with state., pubsub. or bindings."
	}
	slices.Sort(all)
	return ": choose of " + strings.Join(all, ", ")
}

// distance counts the letters to change, add or remove between two words (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			before, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, before+cost)
		}
	}
	return row[len(b)]
}

// ownTypes are the component types that only the runtime of components/runtime has, not an installed Dapr.
func ownTypes() []string { return []string{"pubsub.rabbitmq-confirmed", "state.redis-atomic"} }

// NeedsOwnRuntime reports whether a component is one that an installed Dapr lacks.
func (p *Profile) NeedsOwnRuntime() bool {
	return slices.ContainsFunc(p.Resources, func(r Resource) bool { return slices.Contains(ownTypes(), r.Type) })
}
