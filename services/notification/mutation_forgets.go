//go:build notification_forgets

package notification

// forgets has the service send and not record it: the audit must notice that nobody knows of what is owed.
const forgets = true
