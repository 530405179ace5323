#!/bin/sh
# What the buttons do to the mesh.
# Usage: tilt/traffic.sh fault NAME      a file of mesh/faults
#        tilt/traffic.sh canary NAME     a file of mesh/canary/traffic, with the pods of version v2
#        tilt/traffic.sh back            every route as mesh/ has it, no version v2
set -eu
usage="usage: tilt/traffic.sh fault NAME | canary NAME | back"
apply() { kubectl apply --server-side --force-conflicts --field-manager=dishmesh "$@"; }
case ${1:?$usage} in
fault)
	apply --filename "mesh/faults/${2:?$usage}.yaml"
	;;
canary)
	service=${2:?$usage}
	service=${service%%-*}
	apply --kustomize "mesh/canary/$service" --selector "dishmesh/canary=$service"
	kubectl --namespace dishmesh rollout status "deployment/$service-v2" --timeout=3m
	apply --filename "mesh/canary/traffic/$2.yaml"
	;;
back)
	apply --kustomize mesh
	kubectl --namespace dishmesh delete deployments --selector dishmesh/canary
	;;
*) echo "$usage" >&2 && exit 2 ;;
esac
