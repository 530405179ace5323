package userapi

// The types of the events on the topic fooddelivery.user.
const (
	EventRegistered         = "user.registered"
	EventPreferencesChanged = "user.preferences-changed"
)

// RegisteredEvent is the payload of user.registered. It holds no secret.
type RegisteredEvent struct {
	UserID       string      `json:"user_id"`
	Email        string      `json:"email"`
	Name         string      `json:"name"`
	Role         string      `json:"role"`
	RestaurantID string      `json:"restaurant_id,omitempty"`
	Phone        string      `json:"phone,omitempty"`
	Preferences  Preferences `json:"preferences"`
}

// PreferencesChangedEvent is the payload of user.preferences-changed: how the account can be reached from now on.
type PreferencesChangedEvent struct {
	UserID      string      `json:"user_id"`
	Preferences Preferences `json:"preferences"`
	Email       string      `json:"email"`
	Phone       string      `json:"phone,omitempty"`
	Name        string      `json:"name"`
}
