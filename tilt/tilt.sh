#!/bin/sh
# Starts Tilt on the cluster of `dishmesh cluster up`, which is made or brought up to date first.
# Usage: tilt/tilt.sh up|ci [ARG...]
#
# Tilt reads KUBECONFIG when it starts, before it reads the Tiltfile, so this can't be done there. Another cluster's
# KUBECONFIG, of `dishmesh cluster up --data FOLDER`, is kept; the cluster is then taken as it is.
set -eu
cd "$(dirname "$0")/.."
# Programs that were built for the cluster come before the machine's, whose versions may not fit.
if built=$(kind/offline/build.sh --where 2>/dev/null) && [ -n "$built" ]; then
	PATH=$built/bin:$PATH
fi
PATH=$PATH:${XDG_CACHE_HOME:-$HOME/.cache}/dishmesh/cluster/bin
export PATH
command -v tilt >/dev/null || {
	echo "no tilt: install 0.37.5 or later (https://docs.tilt.dev/install.html), or build it with kind/offline/build.sh" >&2
	exit 1
}
if [ -z "${KUBECONFIG-}" ]; then
	bin/dishmesh cluster up
	export KUBECONFIG="$PWD/.dishmesh/cluster/kubeconfig"
fi
exec tilt "$@"
