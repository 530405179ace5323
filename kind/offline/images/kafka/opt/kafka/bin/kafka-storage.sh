#!/bin/sh
# Formats the folders of a server's logs:  kafka-storage.sh format -t ID -c FILE [--ignore-formatted]
exec "$(dirname "$0")/kafka-run-class.sh" kafka.tools.StorageTool "$@"
