# The node image: kind's own base files over a Debian with systemd, containerd, Debian's runc, Calico, the programs of
# Kubernetes, and the images of the control plane in containerd's store. It is `kindest/node` in all that kind looks at.

# The control plane's images: name, part and program.
control_plane=(
  "registry.k8s.io/kube-apiserver kubernetes kube-apiserver"
  "registry.k8s.io/kube-controller-manager kubernetes kube-controller-manager"
  "registry.k8s.io/kube-scheduler kubernetes kube-scheduler"
  "registry.k8s.io/etcd etcd etcd"
  "registry.k8s.io/coredns/coredns coredns coredns"
  "registry.k8s.io/pause pause pause"
)

node_inputs=(archive static debian debian-net debian-node kind containerd calico kubernetes etcd coredns pause)
node_sums=()
for input in "${node_inputs[@]}"; do node_sums+=("${keys[$input]}"); done
part node "$(digest "${node_sums[@]}" "$(content kind/offline/node)" "$(grep ' node ' "$images_txt")" \
  "$(declare -f make_node make_node_images store_images pack static_image)" 1)"

make_node() { # FOLDER
  local out=$1 root=$1/root base input
  for input in "${node_inputs[@]}"; do need "$input"; done
  make_node_images "$out/images"

  say "node: laying out its files"
  mkdir -p "$root"
  cp -a "${dir[debian-node]}/." "$root"
  base=$(module_folder $modules/kind sigs.k8s.io/kind)/images/base/files
  install -m 755 "$base"/usr/local/bin/* "$root/usr/local/bin/"
  cp -r --no-preserve=mode,ownership "$base"/{kind,etc} "$root/"
  install -d "$root"/kind/manifests "$root"/opt/cni/bin "$root"/etc/cni/net.d "$root"/etc/kubernetes/manifests "$root"/usr/local/sbin
  cp -r --no-preserve=mode,ownership "$here"/node/{etc,kind} "$root/"
  chmod 755 "$root"/kind/bin/*
  install -m 755 "${dir[containerd]}"/{containerd,containerd-shim-runc-v2,ctr} "$root/usr/local/bin/"
  install -m 755 "${dir[containerd]}"/{host-local,loopback,portmap} "$root/opt/cni/bin/"
  install -m 755 "${dir[calico]}/calico" "$root/opt/cni/bin/"
  install -m 755 "${dir[calico]}/calico-felix" "$root/usr/local/bin/"
  cp -r --no-preserve=mode,ownership "$(module_folder $modules/calico github.com/projectcalico/calico)/libcalico-go/config/crd" "$root/kind/calico/"
  install -m 755 "${dir[kubernetes]}"/{kubeadm,kubelet,kubectl} "$root/usr/bin/"
  ln -sf /usr/sbin/runc "$root/usr/local/sbin/runc"
  printf %s "$kubernetes_version" >"$root/kind/version"
  # The spec that every container of the node starts from, as kind makes it.
  "${dir[containerd]}/ctr" oci spec | jq '.hooks.createContainer += [{path: "/kind/bin/mount-product-files.sh"}] | del(.process.rlimits)' \
    >"$root/etc/containerd/cri-base.json"
  # See node/etc/systemd/system/containerd.service.d.
  sed -i 's/restrict_oom_score_adj = false/restrict_oom_score_adj = true/' "$root/etc/containerd/config.toml"
  cp "$here/node/prepare.sh" "$root/prepare.sh"
  attend node chroot "$root" sh /prepare.sh
  rm "$root/prepare.sh"

  say "node: storing the control plane's images"
  store_images "$root/var/lib/containerd" "$out"/images/*/image.tar
  need archive
  attend node "${dir[archive]}/archive" -ref "dishmesh/node:$kubernetes_version" -o "$out/image.tar" \
    -env container=docker -env $path_env -stop-signal SIGRTMIN+3 -entrypoint /usr/local/bin/entrypoint -entrypoint /sbin/init "debian:$root"
  rm -rf --one-file-system "$root" "$out/images"
}

make_node_images() { # FOLDER
  local name part program words
  for words in "${control_plane[@]}"; do
    read -r name part program <<<"$words"
    mkdir -p "$1/$program"
    case $program in
      pause) static_image "$1/$program" "$name" "$part" "$program" /pause 65535:65535 ;;
      coredns) static_image "$1/$program" "$name" "$part" "$program" /coredns 65532:65532 ;;
      *) static_image "$1/$program" "$name" "$part" "$program" /usr/local/bin/$program 0:0 ;;
    esac
  done
  mkdir -p "$1/kube-proxy"
  install -D -m 755 "${dir[kubernetes]}/kube-proxy" "$1/kube-proxy/root/usr/local/bin/kube-proxy"
  pack "$1/kube-proxy" registry.k8s.io/kube-proxy -env $path_env -entrypoint /usr/local/bin/kube-proxy \
    "debian:${dir[debian]}" "debian:${dir[debian-net]}-from:${dir[debian]}" "$1/kube-proxy/root"
}

# store_images FOLDER ARCHIVE… fills a containerd's store, by a containerd of our own that runs only for this, with its files in a
# folder for temporary files: a socket's path must be short.
store_images() {
  local store=$1 run file daemon tries
  shift
  run=$(mktemp -d "${TMPDIR:-/tmp}/dishmesh-XXXXXX")
  half_made+=("$run")
  cat >"$run/config.toml" <<T
version = 3
root = "$run/root"
state = "$run/state"
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri", "io.containerd.nri.v1.nri", "io.containerd.internal.v1.opt"]
[grpc]
  address = "$run/sock"
[ttrpc]
  address = "$run/sock.ttrpc"
T
  "${dir[containerd]}/containerd" --config "$run/config.toml" >"$run/log" 2>&1 &
  daemon=$!
  helpers+=("$daemon")
  for ((tries = 0; tries < 150; tries++)); do
    "${dir[containerd]}/ctr" -a "$run/sock" version >/dev/null 2>&1 && break
    kill -0 "$daemon" 2>/dev/null || fail "node: containerd did not start: $(tail -n 1 "$run/log")"
    sleep 0.2
  done
  for file in "$@"; do
    "${dir[containerd]}/ctr" -a "$run/sock" -n k8s.io images import --no-unpack "$file" >>"$run/log" 2>&1 ||
      fail "node: containerd does not take $file: $(tail -n 1 "$run/log")"
  done
  kill "$daemon"
  wait "$daemon" || true
  helpers=()
  mkdir -p "$store"
  cp -a "$run/root/io.containerd."{content.v1.content,metadata.v1.bolt} "$store/"
  rm -rf --one-file-system "$run"
}
