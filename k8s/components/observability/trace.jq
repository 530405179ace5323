# A trace out of what the collector writes: when each span began (ns), how long it took, who did what, and on which span it
# hangs. Use: jq -rR --arg trace ID -f trace.jq
fromjson?
| .resourceSpans[]?
| (.resource.attributes[] | select(.key == "service.name").value.stringValue) as $who
| .scopeSpans[].spans[]
| select(.traceId == $trace)
| [.startTimeUnixNano, "\(((.endTimeUnixNano | tonumber) - (.startTimeUnixNano | tonumber)) / 1e6) ms", $who, .name, .spanId, "below " + .parentSpanId]
| @tsv
