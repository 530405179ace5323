package userapi

import "github.com/dishmesh/dishmesh/services/internal/contract"

// The types of the events on the topic fooddelivery.user.
const (
	EventRegistered         = "user.registered"
	EventPreferencesChanged = "user.preferences-changed"
)

// Events is the contract of the accounts' events.
var Events = contract.Must(
	contract.One[*RegisteredEvent](EventRegistered),
	contract.One[*PreferencesChangedEvent](EventPreferencesChanged),
)

// Message is the preferences as they stand in the events.
func (p Preferences) Message() *ChannelPreferences {
	return &ChannelPreferences{Email: p.Email, Sms: p.SMS, Push: p.Push}
}

// Preferences is the inverse of Preferences.Message.
func (p *ChannelPreferences) Preferences() Preferences {
	return Preferences{Email: p.GetEmail(), SMS: p.GetSms(), Push: p.GetPush()}
}
