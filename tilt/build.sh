#!/bin/sh
# Builds a service for the nodes of the cluster, as its image is built. A program that comes out as it was is left alone,
# so that nothing is restarted for it.
# Usage: tilt/build.sh SERVICE
set -eu
service=${1:?usage: tilt/build.sh SERVICE}
program=bin/tilt/$service/program
next=bin/tilt/.$service
CGO_ENABLED=0 GOOS=linux go build -trimpath -buildvcs=false -tags grpcnotrace -ldflags '-s -w' -o "$next" "./services/cmd/$service"
mkdir -p "bin/tilt/$service"
if cmp -s "$next" "$program"; then
	echo "$service: the same program"
	rm -f "$next"
else
	mv "$next" "$program" # at once: a program that is half there is never sent
fi
