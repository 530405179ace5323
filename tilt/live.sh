#!/bin/sh
# Lays what live updates need (live.yaml) over a service of the cluster, or takes it away again.
# Usage: tilt/live.sh on|off SERVICE
#
# It is applied under a name of its own: Kubernetes knows then which fields are Tilt's, keeps everybody else's, and removes
# them when Tilt no longer names them. `on` waits until all pods run with it and prints the Deployment, by which Tilt finds
# the pods.
set -eu
what=${1:?usage: tilt/live.sh on|off SERVICE} service=${2:?usage: tilt/live.sh on|off SERVICE}
apply() { kubectl --namespace dishmesh apply --server-side --field-manager=tilt --filename=- >&2; }
case $what in
on) sed "s/SERVICE/$service/" tilt/live.yaml | apply ;;
off) printf '{apiVersion: apps/v1, kind: Deployment, metadata: {name: %s}}' "$service" | apply ;;
*) echo "usage: tilt/live.sh on|off SERVICE" >&2 && exit 2 ;;
esac
if [ "$what" = on ]; then
	kubectl --namespace dishmesh rollout status "deployment/$service" --timeout=280s >&2
	kubectl --namespace dishmesh get "deployment/$service" --output yaml
fi
