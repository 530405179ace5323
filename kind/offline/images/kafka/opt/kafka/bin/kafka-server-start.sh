#!/bin/sh
# Starts the server:  kafka-server-start.sh FILE [--override key=value]…
: "${KAFKA_HEAP_OPTS:=-Xmx1G -Xms1G}"
export KAFKA_HEAP_OPTS
exec "$(dirname "$0")/kafka-run-class.sh" kafka.Kafka "$@"
