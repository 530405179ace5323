package user

import (
	"net/url"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// account is the state of an account. The password is not in it: its hash stands with the e-mail address, because
// what is in here is also in the events.
type account struct {
	ID           string              `json:"id"`
	Email        string              `json:"email"`
	Name         string              `json:"name"`
	Phone        string              `json:"phone,omitempty"`
	Role         string              `json:"role"`
	RestaurantID string              `json:"restaurant_id,omitempty"`
	Preferences  userapi.Preferences `json:"preferences"`
	CreatedAt    time.Time           `json:"created_at"`
}

func apply(a account, e cloudevent.Event) (account, error) {
	switch e.Name() {
	case userapi.EventRegistered:
		var p userapi.RegisteredEvent
		if err := userapi.Events.Into(e, &p); err != nil {
			return a, err
		}
		return account{
			ID: p.UserId, Email: p.Email, Name: p.Name, Phone: p.Phone, Role: p.Role,
			RestaurantID: p.RestaurantId, Preferences: p.Preferences.Preferences(), CreatedAt: e.Time,
		}, nil
	case userapi.EventPreferencesChanged:
		var p userapi.PreferencesChangedEvent
		if err := userapi.Events.Into(e, &p); err != nil {
			return a, err
		}
		a.Preferences, a.Phone, a.Name = p.Preferences.Preferences(), p.Phone, p.Name
	}
	return a, nil
}

func (a account) wire() userapi.User {
	return userapi.User{
		ID: a.ID, Email: a.Email, Name: a.Name, Phone: a.Phone, Role: a.Role,
		RestaurantID: a.RestaurantID, Preferences: a.Preferences, CreatedAt: a.CreatedAt,
	}
}

func (a account) identity() web.Identity {
	return web.Identity{Subject: a.ID, Role: a.Role, Restaurant: a.RestaurantID}
}

// credential is what stands under the key of an e-mail address: that the key exists keeps the address unique.
type credential struct {
	UserID       string `json:"user_id"`
	PasswordHash string `json:"password_hash"`
}

// normalize gives the form in which e-mail addresses are compared. The local part is folded too: no provider of
// today keeps A@ and a@ apart, and people mix them up.
func normalize(email string) string { return strings.ToLower(strings.TrimSpace(email)) }

// emailKey escapes what a key may not hold, such as the "||" by which the runtime joins the parts of a key.
func emailKey(email string) string { return "email/" + url.PathEscape(normalize(email)) }
