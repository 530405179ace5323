//go:build !outbox_forgets

package outbox

// forgotten says that an effect is to be lost, which never is: see the tag outbox_forgets.
func forgotten(Effect) bool { return false }
