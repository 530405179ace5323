#!/bin/sh
# Runs before Felix whenever it starts: gives the API what Calico keeps there and Calico its identity. The plugin's file
# comes last, for with it the node is ready and pods start.
set -eu
export KUBECONFIG=/etc/kubernetes/admin.conf
folder=/kind/calico plugin=/etc/cni/net.d/10-calico.conflist
# When the node has started anew no pod shall start before Felix. Nothing in /run is older than that.
[ -d /run/calico ] || rm -f $plugin
mkdir -p /run/calico /var/lib/calico
# The right of this identity is the last thing that kubeadm makes of it.
until kubectl get clusterrolebindings kubeadm:cluster-admins >/dev/null 2>&1; do sleep 0.5; done
kubectl apply --server-side --force-conflicts -f $folder/crd >/dev/null
kubectl wait --for=condition=Established --timeout=60s -f $folder/crd >/dev/null
pods=$(sed -n 's/^ *podSubnet: *"\{0,1\}\([0-9./]*\).*/\1/p' /kind/kubeadm.conf | head -n 1)
sed "s|POD_SUBNET|${pods:-10.244.0.0/16}|" $folder/network.yaml.in | kubectl apply --server-side --force-conflicts -f - >/dev/null

umask 077
kubeadm kubeconfig user --config /kind/kubeadm.conf --client-name calico-node >/var/lib/calico/kubeconfig.new
mv /var/lib/calico/kubeconfig.new /var/lib/calico/kubeconfig
umask 022
printf %s "$(hostname)" >/var/lib/calico/nodename # an end of line would be part of it
# A pod that calls a Service before kube-proxy knows it waits half a minute for that connection, as CoreDNS would do.
tries=0
until iptables-nft-save -t nat 2>/dev/null | grep -q default/kubernetes || [ $tries -ge 60 ]; do
  tries=$((tries + 1))
  sleep 0.5
done
cp $folder/10-calico.conflist /etc/cni/net.d/.new
mv /etc/cni/net.d/.new $plugin
