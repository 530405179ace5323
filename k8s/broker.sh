#!/bin/sh
# Swaps the broker of a cluster under the services, which know nothing of it: other component YAML, then a rollout.
# Usage: k8s/broker.sh kafka|redis
#
# Rights come before those who need them and go after them: a sidecar that its broker refuses asks again without a pause, ten of
# them at once as fast as the machine can. It ends when the last pod of the broker before is gone, which may still publish there:
# let orders in then.
set -eu
# The services themselves are the same with both. Redis has its users on its command line, as a server.
all='app.kubernetes.io/component!=service'
case ${1-} in
kafka) overlay=k8s/overlays/kind first="$all,app.kubernetes.io/component!=server" ;;
redis) overlay=k8s/overlays/kind-redis first=$all ;;
*) echo "usage: k8s/broker.sh kafka|redis" >&2 && exit 2 ;;
esac
cd "$(dirname "$0")/.."
apply() { kubectl apply --server-side --force-conflicts --field-manager=dishmesh --kustomize "$overlay" --selector "$1"; }
redis() { kubectl --namespace dishmesh-data rollout status statefulset/redis --timeout=3m; }

apply "$first"
redis
kubectl --namespace dishmesh rollout restart deployment
kubectl --namespace dishmesh rollout status deployment --timeout=5m
ending=$(kubectl --namespace dishmesh get pods --output 'jsonpath={.items[?(@.metadata.deletionTimestamp)].metadata.name}')
for pod in $ending; do
  kubectl --namespace dishmesh wait --for=delete "pod/$pod" --timeout=2m
done
if [ "$1" = kafka ]; then
  apply "$all"
  for namespace in dishmesh dishmesh-data; do
    kubectl --namespace "$namespace" delete networkpolicy broker-redis --ignore-not-found
  done
  redis
fi
