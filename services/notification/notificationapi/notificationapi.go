// Package notificationapi is the contract of the notification service: what GET /v1/notifications answers and the
// events that say what became of a notification.
package notificationapi

import "time"

// App is the service's Dapr app id.
const App = "notification"

// The channels by which people are told.
const (
	Email = "email"
	SMS   = "sms"
	Push  = "push"
)

// What became of a notification.
const (
	Sending = "sending" // being sent, or to be sent again
	Sent    = "sent"    // taken by the provider, which is all that is known
	Failed  = "failed"  // given up: refused, or no try succeeded
)

// Notification is one message to one person by one channel.
type Notification struct {
	ID        string     `json:"id"` // the same for the same cause and channel, always
	Cause     string     `json:"cause"`
	Channel   string     `json:"channel"`
	Template  string     `json:"template"` // the type of the event that caused it, such as order.placed
	OrderID   string     `json:"order_id,omitempty"`
	Subject   string     `json:"subject,omitempty"` // of a mail, or the title of a push message
	Status    string     `json:"status"`
	CreatedAt time.Time  `json:"created_at"`
	SentAt    *time.Time `json:"sent_at,omitempty"`
}

// List answers GET /v1/notifications: the caller's own, newest first.
type List struct {
	Notifications []Notification `json:"notifications"`
}
