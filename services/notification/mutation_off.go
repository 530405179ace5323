//go:build !notification_forgets

package notification

// forgets says that what was sent is not recorded: see the tag notification_forgets.
const forgets = false
