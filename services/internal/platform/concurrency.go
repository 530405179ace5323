package platform

import (
	"slices"

	"github.com/dishmesh/dishmesh/services/internal/broker"
)

// callSlots are the invocations that an app works on at once: four callers, each at the limit of its own bulkhead
// (sidecar.DefaultLimits). So a caller waits where it can give up, in its own bulkhead, and not at the callee's sidecar,
// where a call that waits can't be taken back (Dapr 1.18, pkg/channel/http).
const callSlots = 256

// maxConcurrency is the app-max-concurrency of an app's sidecar. Dapr counts deliveries of events and invocations
// together, and a delivery holds its place for the whole retry schedule, up to 15 s and what the tries take. There is
// one delivery at a time for each partition of each topic that the app hears: with a place for each of them on top,
// poisoned topics can't take those of the invocations.
func maxConcurrency(app string, subs []broker.Subscription) int {
	deliveries := 0
	for _, s := range subs {
		if slices.Contains(s.Apps, app) {
			deliveries += broker.Partitions
		}
	}
	return callSlots + deliveries
}
