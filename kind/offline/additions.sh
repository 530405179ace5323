# What can be added to a cluster that is there (`dishmesh cluster add`). It is not in the set: each is a folder of its own, with
# the archives of its images, and is made when it is asked for.
adding=1

# KEDA scales by what it measures anywhere, with the clients of some seventy systems in it. Its third program, which checks
# what people apply, is upstream's option and left out.
keda_version=2.21.0
program keda-programs $modules/keda "-X github.com/kedacore/keda/v2/version.Version=$keda_version" \
  github.com/kedacore/keda/v2/cmd/{operator,adapter}
make_image_keda() { static_image "$1" ghcr.io/kedacore/keda keda-programs operator /keda 65532:65532 ''; }
image keda ghcr.io/kedacore/keda static keda-programs
make_image_keda_adapter() { static_image "$1" ghcr.io/kedacore/keda-metrics-apiserver keda-programs adapter /keda-adapter 65532:65532 ''; }
image keda-adapter ghcr.io/kedacore/keda-metrics-apiserver static keda-programs

make_keda() { # FOLDER
  local name
  for name in image-keda image-keda-adapter; do
    need "$name"
    ln -s "${dir[$name]}/image.tar" "$1/$name.tar"
  done
}
part keda "$(digest "${keys[image-keda]}" "${keys[image-keda-adapter]}" "$(declare -f make_keda)" 1)"
