#!/bin/sh
# Creates and shows topics:  kafka-topics.sh --bootstrap-server HOST:PORT --create --if-not-exists --topic NAME
exec "$(dirname "$0")/kafka-run-class.sh" org.apache.kafka.tools.TopicCommand "$@"
