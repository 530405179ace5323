# The cache of what is built. A part is a folder named after what it is made of (its key), so that a changed version,
# flag or script gives another folder and everything else stays. It is made beside its place and renamed when it is
# whole: what an interrupted build leaves is never taken for a part.

cache=${XDG_CACHE_HOME:-${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}/.cache}/dishmesh/cluster
export HOME=${HOME:-$(dirname "$(dirname "$(dirname "$cache")")")}

say() { printf 'offline: %s\n' "$*" >&2; }
fail() { say "$*"; exit 1; }

declare -A dir=() keys=() # of each part: its folder once it is there, and its key
parts=()                  # of the set, in the order in which they are made
additions=()              # parts that are made only when they are asked for
half_made=()              # folders that go when the build is interrupted
helpers=()                # processes that end with it

# digest TEXT… names a content in 16 characters.
digest() { printf '%s\0' "$@" | sha256sum | cut -c1-16; }

# content PATH… prints the digest of files and folders, names included.
content() { (cd "$repo" && find "$@" -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-16); }

# part NAME KEY: declares a part, of the set or, where adding is set, an addition. make_NAME (with _ for -) makes it in the
# folder that it is given; programs have one make_program for all.
part() {
  if [[ $adding ]]; then additions+=("$1"); else parts+=("$1"); fi
  keys[$1]=$2
}
adding=

place() { printf '%s/%s-%s' "$cache/parts" "$1" "${keys[$1]}"; }

# need NAME makes the part if it isn't there and sets dir[NAME].
need() {
  local name=$1 target making began=$SECONDS lock
  [[ -z ${dir[$name]:-} ]] || return 0
  target=$(place "$name")
  if [[ ! -d $target ]]; then
    exec {lock}>"$target.lock"
    if ! flock -n "$lock"; then
      say "$name: another build of it is under way, waiting"
      flock "$lock"
    fi
    if [[ ! -d $target ]]; then
      rm -rf "$target".making-*
      making=$(mktemp -d "$target.making-XXXXXX")
      half_made+=("$making")
      chmod 755 "$making"
      say "$name: making it"
      if declare -F "make_${name//-/_}" >/dev/null; then
        "make_${name//-/_}" "$making"
      else
        make_program "$name" "$making"
      fi
      mv -T "$making" "$target"
      say "$name: made in $((SECONDS - began)) s"
    fi
    exec {lock}>&-
    rm -f "$target.lock"
  fi
  dir[$name]=$target
}

# attend LABEL COMMAND… runs a long command in a process group of its own, so that Ctrl-C ends all of it, tells every
# 20 s that it still runs, and shows the end of its messages when it fails.
attend() {
  local label=$1 log began=$SECONDS told=$SECONDS status=0
  shift
  log=$(mktemp "${TMPDIR:-/tmp}/dishmesh-offline-XXXXXX")
  set -m
  "$@" >"$log" 2>&1 &
  attended=$!
  set +m
  while kill -0 "$attended" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - told >= 20)); then
      told=$SECONDS
      say "$label: $((SECONDS - began)) s${measure:+, $($measure "$log")}"
    fi
  done
  wait "$attended" || status=$?
  attended=
  if ((status)); then
    explain "$label" "$log"
    rm -f "$log"
    exit 1
  fi
  rm -f "$log"
}
attended=
measure=

# explain LABEL LOG says in one line what a command's messages mean and how to mend it.
explain() {
  local label=$1 log=$2
  if grep -qi 'no space left on device' "$log"; then
    say "$label: the disk is full; make room, or set XDG_CACHE_HOME, GOCACHE and GOMODCACHE to another disk"
  elif grep -qiE 'requires go >=|toolchain not available' "$log"; then
    say "$label: this Go is too old; install Go 1.26 or later from https://go.dev/dl"
  elif grep -qiE 'no such host|i/o timeout|connection refused|temporary failure resolving|could not connect|name resolution' "$log"; then
    say "$label: no network to fetch it; connect once, or set GOPROXY, http_proxy or DEBIAN_MIRROR to what this machine reaches"
  else
    say "$label failed: $(grep -v '^[[:space:]]*$' "$log" | tail -n 3 | tr '\n' ' ')"
  fi
}

# An interrupted build ends what it started and leaves no half part.
cleanup() {
  local status=$?
  trap - EXIT INT TERM HUP
  if [[ $attended ]]; then
    kill -TERM -- "-$attended" 2>/dev/null || true
    wait "$attended" 2>/dev/null || true
  fi
  if ((${#helpers[@]})); then kill "${helpers[@]}" 2>/dev/null || true; fi
  if ((${#half_made[@]})); then rm -rf --one-file-system "${half_made[@]}"; fi
  exit "$status"
}
trap cleanup EXIT
trap 'say "interrupted; what is made is kept and the next build goes on"; exit 130' INT
trap 'exit 143' TERM HUP
