#!/bin/sh
# Shows consumer groups and how far behind they are:  kafka-consumer-groups.sh --bootstrap-server HOST:PORT --describe --all-groups
exec "$(dirname "$0")/kafka-run-class.sh" org.apache.kafka.tools.consumer.group.ConsumerGroupCommand "$@"
