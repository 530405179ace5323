#!/usr/bin/env bash
# Makes every program and image that the cluster needs on a Debian machine that reaches no container registry: from Go
# modules, Debian's packages, Maven Central and PyPI. See README.md.
#   kind/offline/build.sh            what is missing of it; the last line tells the folder of the whole set
#   kind/offline/build.sh NAME…      only these parts, or additions, which the set lacks; the folder of each on a line
#   kind/offline/build.sh --list     the names of the parts, and of the additions
#   kind/offline/build.sh --where    the folder of the whole set, or an error when it isn't made yet
#   kind/offline/build.sh --prune    removes cached parts that the set of this checkout doesn't use
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)

for subject in cache machine programs debian images stores node set additions; do source "$here/$subject.sh"; done

case ${1:-} in
  --list) printf '%s\n' "${parts[@]}" "${additions[@]}"; exit ;;
  --where) where_set; exit ;;
  --prune) prune_set; exit ;;
  -*) fail "unknown flag \"$1\": choose of --list, --where, --prune" ;;
esac
for name in "$@"; do
  [[ " ${parts[*]} ${additions[*]} " == *" $name "* ]] || fail "there is no part \"$name\": choose of ${parts[*]} ${additions[*]}"
done

begun=$SECONDS
prepare_machine
if (($#)); then
  for name in "$@"; do need "$name"; printf '%s\n' "${dir[$name]}"; done
else
  for name in "${parts[@]}"; do need "$name"; done
  assemble_set
  say "whole after $((SECONDS - begun)) s"
  printf '%s\n' "$set_dir"
fi
