#!/bin/sh
# Swaps the broker of a cluster under the services, which know nothing of it: other component YAML, then a rollout.
# Usage: k8s/broker.sh kafka|redis
#
# Rights come before those who need them and go after them: a sidecar that its broker refuses asks again without a pause, ten of
# them at once as fast as the machine can. It ends when the last pod of the broker before is gone, which may still publish there:
# let orders in then.
set -eu
cd "$(dirname "$0")/.."
# The services themselves are the same with both.
case ${1-} in
kafka) overlay=k8s/overlays/kind what='app.kubernetes.io/component notin (service, server)' ;;
redis) overlay=k8s/overlays/kind-redis what='app.kubernetes.io/component notin (service)' ;;
*) echo "usage: k8s/broker.sh kafka|redis" >&2 && exit 2 ;;
esac
apply() { kubectl apply --server-side --force-conflicts --field-manager=dishmesh --kustomize "$overlay" --selector "$1"; }
redis() { kubectl --namespace dishmesh-data rollout status statefulset/redis --timeout=3m; }

apply "$what"
redis
kubectl --namespace dishmesh rollout restart deployment
kubectl --namespace dishmesh rollout status deployment --timeout=5m
for pod in $(kubectl --namespace dishmesh get pods --output 'jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}'); do
  kubectl --namespace dishmesh wait --for=delete "pod/$pod" --timeout=2m
done
if [ "$1" = kafka ]; then
  apply 'app.kubernetes.io/component notin (service)'
  for namespace in dishmesh dishmesh-data; do
    kubectl --namespace $namespace delete networkpolicy broker-redis --ignore-not-found
  done
  redis
fi
