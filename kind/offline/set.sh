# The set: one folder of links to the parts that belong together, which is what the cluster is started from.
#   bin/       kind, kubectl, helm, istioctl, tilt: for the machine
#   charts/    dapr, base, istiod, gateway: the Helm charts that lie in the pinned modules
#   images/    one archive for each image that is loaded into the node
#   node.tar   the node image, dishmesh/node:VERSION

set_dir=$cache/sets/$(digest "$(for name in "${parts[@]}"; do printf '%s %s\n' "$name" "${keys[$name]}"; done)" "$(declare -f assemble_set)")

where_set() {
  [[ -e $set_dir/whole ]] || fail "the set of this checkout is not made yet: run kind/offline/build.sh"
  printf '%s\n' "$set_dir"
}

assemble_set() {
  [[ ! -e $set_dir/whole ]] || return 0
  local making name dapr istio
  making=$(mktemp -d "$cache/.set-XXXXXX")
  half_made+=("$making")
  chmod 755 "$making"
  mkdir "$making"/{bin,charts,images}
  ln -s "${dir[kind]}/kind" "${dir[kubernetes]}/kubectl" "${dir[helm]}/helm" "${dir[istio]}/istioctl" "${dir[tilt]}/tilt" "$making/bin/"
  dapr=$(module_folder components/runtime github.com/dapr/dapr)
  istio=$(module_folder $modules/istio istio.io/istio)
  cp -r --no-preserve=mode,ownership "$dapr/charts/dapr" "$making/charts/dapr"
  cp -r --no-preserve=mode,ownership "$istio/manifests/charts/base" "$making/charts/base"
  cp -r --no-preserve=mode,ownership "$istio/manifests/charts/istio-control/istio-discovery" "$making/charts/istiod"
  cp -r --no-preserve=mode,ownership "$istio/manifests/charts/gateway" "$making/charts/gateway"
  for name in "${loaded_images[@]}"; do
    ln -s "${dir[$name]}/image.tar" "$making/images/${name#image-}.tar"
  done
  ln -s "${dir[node]}/image.tar" "$making/node.tar"
  : >"$making/whole"
  rm -rf "$set_dir"
  mkdir -p "$cache/sets"
  mv -T "$making" "$set_dir"
}

prune_set() {
  where_set >/dev/null
  local kept=() folder
  for name in "${parts[@]}" "${additions[@]}"; do kept+=("$(place "$name")"); done
  for folder in "$cache"/parts/* "$cache"/sets/*; do
    [[ " ${kept[*]} $set_dir " == *" $folder "* ]] && continue
    say "removing $folder"
    rm -rf --one-file-system "$folder"
  done
}
