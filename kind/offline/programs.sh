# The programs: one Go module with pinned versions for each group that must agree on its dependencies. Dapr's are built
# from components/runtime, which pins them already.

go_version=$(GOWORK=off go env GOVERSION)

# program NAME MODULE FLAGS PACKAGE…: a part that one call of the go tool makes. sources_of narrows what its key is made of.
declare -A module_of=() flags_of=() packages_of=()
declare -A sources_of=([dapr]="components/runtime/go.mod components/runtime/go.sum components/runtime/daprd")
program() {
  local name=$1 module=$2 flags=$3
  shift 3
  module_of[$name]=$module flags_of[$name]=$flags packages_of[$name]=$*
  part "$name" "$(digest "$go_version" "$flags" "$*" "$(content ${sources_of[$name]:-$module})" "$(declare -f build_go)")"
}

# make_program NAME FOLDER
make_program() { build_go "$1" "$repo/${module_of[$1]}" "$2" "${flags_of[$1]}" ${packages_of[$1]}; }

# build_go LABEL MODULEDIR FOLDER FLAGS PACKAGE…: static programs without paths of this machine.
build_go() {
  local label=$1 module=$2 out=$3 flags=$4 tags=
  shift 4
  if [[ $flags == *tags=* ]]; then tags=${flags##*tags=}; tags=${tags%% *}; flags=${flags/tags=$tags/}; fi
  measure=packages_built
  # Its temporary files lie in the part's folder, so that an interrupted build leaves none.
  mkdir -p "$out/.tmp"
  attend "$label" env -C "$module" CGO_ENABLED=0 GOWORK=off GOTMPDIR="$out/.tmp" \
    go build -v -mod=readonly -trimpath ${tags:+-tags "$tags"} -ldflags "-s -w $flags" -o "$out/" "$@"
  rm -rf "$out/.tmp"
  measure=
}
packages_built() { printf '%s packages' "$(grep -cvE '^go: |^#' "$1")"; }

kubernetes_version=v1.36.3
dapr_version=1.18.0
version_flag=k8s.io/component-base/version
modules=kind/offline/modules

program kind $modules/kind "" sigs.k8s.io/kind
# Felix sets the rules of NetworkPolicies, the other is the plugin that gives pods their network.
program calico $modules/calico "" github.com/projectcalico/calico/felix/cmd/calico-felix github.com/projectcalico/calico/cni-plugin/cmd/calico
program containerd $modules/containerd "" \
  github.com/containerd/containerd/v2/cmd/{containerd,containerd-shim-runc-v2,ctr} \
  github.com/containernetworking/plugins/plugins/{main/loopback,main/ptp,ipam/host-local,meta/portmap}
program helm $modules/helm "" helm.sh/helm/v3/cmd/helm
program kubernetes $modules/kubernetes \
  "-X $version_flag.gitVersion=$kubernetes_version -X $version_flag.gitMajor=1 -X $version_flag.gitMinor=36 -X $version_flag.gitTreeState=clean" \
  k8s.io/kubernetes/cmd/{kubectl,kubeadm,kubelet,kube-apiserver,kube-controller-manager,kube-scheduler,kube-proxy}
program etcd $modules/kubernetes "" go.etcd.io/etcd/server/v3
program coredns $modules/coredns "" .
program otel-collector $modules/otel-collector "" .
program dapr components/runtime "-X github.com/dapr/dapr/pkg/buildinfo.version=$dapr_version" \
  ./daprd github.com/dapr/dapr/cmd/{operator,injector,placement,scheduler,sentry}
program pilot-agent $modules/istio "tags=agent,disable_pgv" istio.io/istio/pilot/cmd/pilot-agent
program metrics-server $modules/metrics-server "-X k8s.io/client-go/pkg/version.gitVersion=v0.9.0" sigs.k8s.io/metrics-server/cmd/metrics-server
program istio $modules/istio "tags=vtprotobuf,disable_pgv" istio.io/istio/pilot/cmd/pilot-discovery istio.io/istio/istioctl/cmd/istioctl

# pause holds a pod's namespaces; it is the one program that is our own, for upstream's is written in C.
program pause kind/offline/pause "" .

# Tilt is for the machine, and the one program with C in it: the parser of Tiltfiles for editors. Its module has not the web
# page of its releases, without which it doesn't start; modules/tilt has a plain one.
tilt_version=0.37.5
make_tilt() { # FOLDER
  local out=$1 source
  source=$(module_folder $modules/tilt github.com/tilt-dev/tilt)
  mkdir -p "$out/.source" "$out/.tmp"
  cp -r --no-preserve=mode,ownership "$source" "$out/.source/tilt"
  cp "$repo/$modules/tilt"/{go.mod,go.sum,tools.go} "$out/.source/"
  cp "$repo/$modules/tilt/index.html" "$out/.source/tilt/pkg/assets/build/"
  (cd "$out/.source" && GOWORK=off go mod edit -replace github.com/tilt-dev/tilt=./tilt)
  measure=packages_built
  attend tilt env -C "$out/.source" CGO_ENABLED=1 GOWORK=off GOTMPDIR="$out/.tmp" \
    go build -v -mod=readonly -trimpath -ldflags "-s -w -X main.version=$tilt_version" -o "$out/tilt" github.com/tilt-dev/tilt/cmd/tilt
  measure=
  rm -rf "$out/.source" "$out/.tmp"
}
part tilt "$(digest "$go_version" $tilt_version "$(content $modules/tilt)" "$(declare -f make_tilt)")"

make_etcd() { make_program etcd "$1" && mv "$1/server" "$1/etcd"; }
