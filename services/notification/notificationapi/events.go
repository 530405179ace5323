package notificationapi

import "github.com/dishmesh/dishmesh/services/internal/contract"

// Event types, without the prefix that all types share. One event tells of all channels of a cause that came to the
// same end at the same time.
const (
	TypeSent   = "notification.sent"
	TypeFailed = "notification.failed"
)

// Events is the contract of the notifications' events.
var Events = contract.Must(
	contract.One[*Outcome](TypeSent),
	contract.One[*Outcome](TypeFailed),
)
