//go:build !acquirer_no_idempotency

package payment_test

// keysHold: the acquirer minds idempotency keys.
const keysHold = true
