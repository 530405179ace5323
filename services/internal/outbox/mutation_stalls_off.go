//go:build !outbox_stalls

package outbox

// stalled is the failure of an effect that is never to succeed, which there is none of: see the tag outbox_stalls.
func stalled(Effect) error { return nil }
