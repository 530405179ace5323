package conformance

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Checks lists every check, in the order of the report. ReliedOn is the list of what the services build on, with the
// reason: a profile that breaks one of these is not safe.
func Checks() []Check {
	return []Check{
		{Name: "first-subscription", Area: Events, run: checkFirstSubscription,
			Promise:  "an app hears what was published before it subscribed for the first time",
			ReliedOn: "on a first start the menus and accounts are published while other apps still come up"},
		{Name: "order-one-key", Area: Events, run: orderCheck(pairOneKey, 1, 300, 1, 1),
			Promise:  "events of one key come one after the other, in the order in which they were published",
			ReliedOn: "an aggregate's events are applied by sequence"},
		{Name: "order-many-keys", Area: Events, run: orderCheck(pairManyKeys, 40, 25, 8, 1),
			Promise:  "the same with many keys and publishers at once",
			ReliedOn: "an aggregate's events are applied by sequence"},
		{Name: "order-replicas", Area: Events, run: orderCheck(pairReplicaKeys, 20, 40, 4, 2),
			Promise:  "the same for an app of two replicas",
			ReliedOn: "a service is scaled by replicas, and each may get any event of an aggregate"},
		{Name: "redelivery", Area: Events, run: checkRedelivery,
			Promise:  "an event whose handler fails comes again until it is handled",
			ReliedOn: "a service that is stopping, or can't write a dead letter, gives its event back"},
		{Name: "no-blocking", Area: Events, run: checkBlocking,
			Promise: "an event that fails does not hold up those of other keys"},
		{Name: "poison", Area: Events, run: checkPoison,
			Promise:  "a poisoned event holds up others no longer than its own retries",
			ReliedOn: "one broken event must not stop a topic"},
		{Name: "dead-letter", Area: Events, run: checkDeadLetter,
			Promise:  "an event that can't be handled ends on the dead-letter topic, whole",
			ReliedOn: "operators mend and replay dead letters; one that is not there is a lost event"},
		{Name: "consumer-sidecar-killed", Area: Events, run: checkSidecarKilled(),
			Promise:  "nothing is lost when a consumer's sidecar is killed",
			ReliedOn: "processes die; no event may vanish with them"},
		{Name: "consumer-app-killed", Area: Events, run: checkAppKilled(),
			Promise:  "nothing is lost when a consumer's app is killed",
			ReliedOn: "processes die; no event may vanish with them"},
		{Name: "replicas-share", Area: Events, run: checkReplicas,
			Promise:  "two replicas of an app share its events",
			ReliedOn: "a service is scaled by replicas, and what one handled the other must not hear"},
		{Name: "replica-killed", Area: Events, run: checkReplicaKilled,
			Promise:  "a replica takes over what a killed one held",
			ReliedOn: "a node may go and not come back"},
		{Name: "large-event", Area: Events, run: checkLarge,
			Promise:  "an event of 1 MB comes whole; one that is too large is refused, never swallowed",
			ReliedOn: "a dead letter holds up to 640 KiB of its original in base64"},
		{Name: "broker-crash", Area: Events, Alone: true, run: checkBrokerCrash,
			Promise:  "an acknowledged event survives the kill of the broker",
			ReliedOn: "the outbox frees its slot as soon as the broker has acknowledged"},
		{Name: "broker-outage-short", Area: Events, Alone: true, run: outageCheck(pairShortOutage, func(t Times) time.Duration { return t.ShortOutage }),
			Promise:  "after a short outage of the broker everything goes on by itself, and nothing acknowledged is lost",
			ReliedOn: "nobody restarts services because a broker was restarted"},
		{Name: "broker-outage-long", Area: Events, Alone: true, run: outageCheck(pairLongOutage, func(t Times) time.Duration { return t.LongOutage }),
			Promise:  "the same after a long outage",
			ReliedOn: "nobody restarts services because a broker was restarted"},
		{Name: "transaction", Area: State, run: checkTransaction,
			Promise:  "a transaction of several keys is done wholly or not at all",
			ReliedOn: "an aggregate, its events and its outbox slot are one transaction"},
		{Name: "etag", Area: State, run: checkETag,
			Promise:  "a write or deletion with a stale ETag is refused",
			ReliedOn: "every update of an aggregate is conditional on what was read"},
		{Name: "create-only", Area: State, run: checkCreate,
			Promise:  "of several that create one key exactly one succeeds",
			ReliedOn: "orders, payments and idempotency keys are created once"},
		{Name: "lost-update", Area: State, run: checkLostUpdate,
			Promise:  "two writers of one key lose no update",
			ReliedOn: "replicas of a service write the same aggregates"},
		{Name: "ttl", Area: State, run: checkTTL,
			Promise:  "a key with a time to live is forgotten after it, others are not",
			ReliedOn: "refresh tokens are kept for as long as they are good"},
		{Name: "big-values", Area: State, run: checkBigValues,
			Promise:  "a value of 900 kB comes back as it was written",
			ReliedOn: "a dead letter is kept with its original"},
		{Name: "read-your-writes", Area: State, run: checkReadYourWrites,
			Promise:  "what was written is read at once, by every replica",
			ReliedOn: "whoever got 201 may ask another replica next"},
		{Name: "crash-in-transaction", Area: State, run: checkCrashInTransaction,
			Promise:  "a sidecar that is killed leaves no transaction half done and no acknowledged one undone",
			ReliedOn: "an aggregate, its events and its outbox slot are one transaction"},
		{Name: "store-crash", Area: State, Alone: true, run: checkStoreCrash,
			Promise:  "a database that is killed keeps every acknowledged transaction, and none half done",
			ReliedOn: "an acknowledged order is never forgotten"},
		{Name: "workflow-sidecar-killed", Area: Workflow, run: checkWorkflowSidecarKilled(),
			Promise:  "workflows survive the kill of their sidecar: steps at least once, results right, events not lost",
			ReliedOn: "the saga of an order is a workflow"},
		{Name: "workflow-app-killed", Area: Workflow, run: checkWorkflowAppKilled(),
			Promise:  "workflows survive the kill of their app",
			ReliedOn: "the saga of an order is a workflow"},
		{Name: "orders", Area: Orders, Alone: true, Own: true, run: checkOrders,
			Promise:  "the platform takes orders to their ends, and the audit is green",
			ReliedOn: "it is what all of the above is for"},
	}
}

// Select gives the checks of these names; none means all.
func Select(names []string) ([]Check, error) {
	all := Checks()
	if len(names) == 0 {
		return all, nil
	}
	for _, n := range names {
		if !slices.ContainsFunc(all, func(c Check) bool { return c.Name == n }) {
			var known []string
			for _, c := range all {
				known = append(known, c.Name)
			}
			return nil, fmt.Errorf("there is no check %q: choose from %s", n, strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(all, func(c Check) bool { return !slices.Contains(names, c.Name) }), nil
}

// Without leaves checks out by name.
func Without(checks []Check, names []string) []Check {
	return slices.DeleteFunc(slices.Clone(checks), func(c Check) bool { return slices.Contains(names, c.Name) })
}
