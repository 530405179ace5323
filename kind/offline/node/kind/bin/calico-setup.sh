#!/bin/sh
# Runs before Felix whenever it starts: gives the API what Calico keeps there and Calico its identity. The plugin's file
# comes last, for with it the node is ready and pods start.
set -eu
export KUBECONFIG=/etc/kubernetes/admin.conf
# The right of this identity is the last thing that kubeadm makes of it.
until kubectl get clusterrolebindings kubeadm:cluster-admins >/dev/null 2>&1; do sleep 0.5; done
folder=/kind/calico
kubectl apply --server-side --force-conflicts -f $folder/crd >/dev/null
kubectl wait --for=condition=Established --timeout=60s -f $folder/crd >/dev/null
pods=$(sed -n 's/^ *podSubnet: *"\{0,1\}\([0-9./]*\).*/\1/p' /kind/kubeadm.conf | head -n 1)
sed "s|POD_SUBNET|${pods:-10.244.0.0/16}|" $folder/network.yaml.in | kubectl apply --server-side --force-conflicts -f - >/dev/null

mkdir -p /var/lib/calico /var/run/calico
umask 077
kubeadm kubeconfig user --config /kind/kubeadm.conf --client-name calico-node >/var/lib/calico/kubeconfig.new
mv /var/lib/calico/kubeconfig.new /var/lib/calico/kubeconfig
umask 022
printf %s "$(hostname)" >/var/lib/calico/nodename # an end of line would be part of it
cp $folder/10-calico.conflist /etc/cni/net.d/.new
mv /etc/cni/net.d/.new /etc/cni/net.d/10-calico.conflist
