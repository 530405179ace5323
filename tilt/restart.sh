#!/bin/sh
# Restarts one process of the running platform, so that it is the program that was just built.
# Usage: tilt/restart.sh NAME. Without a running platform there is nothing to do: the next start takes the program.
set -eu
name=${1:?usage: tilt/restart.sh NAME}
info=.dishmesh/run/run.json
socket=$(sed -n 's/.*"control_socket": *"\([^"]*\)".*/\1/p' "$info" 2>/dev/null || true)
if [ -z "$socket" ] || [ ! -S "$socket" ]; then
	echo "the platform does not run; $name starts with it"
	exit 0
fi
curl --silent --show-error --fail-with-body --unix-socket "$socket" -X POST "http://supervisor/restart?name=$name"
echo "$name restarted"
