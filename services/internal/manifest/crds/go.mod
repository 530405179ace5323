// Where the definitions of custom resources come from that nothing else here is built from. They are read, not compiled:
// kept apart, these modules move no version.
module github.com/dishmesh/dishmesh/services/internal/manifest/crds

go 1.26.4

require (
	github.com/fluxcd/kustomize-controller v1.9.6
	github.com/fluxcd/source-controller v1.9.6
	github.com/kedacore/keda/v2 v2.21.0
)
