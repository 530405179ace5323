//go:build acquirer_no_idempotency

package payment_test

// keysHold is switched off together with the acquirer's: the audit has to notice.
const keysHold = false
