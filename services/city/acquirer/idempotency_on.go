//go:build !acquirer_no_idempotency

package acquirer

// idempotent: a key is good for one operation, and a repeat gets the answer of the first.
const idempotent = true
