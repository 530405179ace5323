#!/bin/sh
# Swaps the broker of the cluster: other component YAML, then a rollout of the services, which know nothing of it.
# Usage: tilt/broker.sh kafka|redis
set -eu
case ${1-} in
kafka) overlay=k8s/overlays/kind ;;
redis) overlay=k8s/overlays/kind-redis ;;
*) echo "usage: tilt/broker.sh kafka|redis" >&2 && exit 2 ;;
esac
# All but the services themselves, which are the same with both.
kubectl apply --server-side --force-conflicts --field-manager=dishmesh --kustomize "$overlay" --selector app.kubernetes.io/component!=service
kubectl --namespace dishmesh rollout restart deployment
kubectl --namespace dishmesh rollout status deployment --timeout=5m
