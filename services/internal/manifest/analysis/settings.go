package analysis

import (
	"slices"

	_ "istio.io/istio/pilot/pkg/features" // registers what istiod reads
	"istio.io/istio/pkg/env"
)

// IsSetting tells whether istiod reads an environment variable of this name; of others it takes no notice.
func IsSetting(name string) bool {
	return slices.ContainsFunc(env.VarDescriptions(), func(v env.Var) bool { return v.Name == name })
}
