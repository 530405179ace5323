//go:build acquirer_no_idempotency

package acquirer

// idempotent is switched off in a mutation test: keys are ignored, a repeated capture charges again, and the
// audit has to notice.
const idempotent = false
