package notification

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// contact is the local copy of how a person can be reached, kept from the events of the user service.
type contact struct {
	UserID      string              `json:"user_id"`
	Email       string              `json:"email"`
	Phone       string              `json:"phone"`
	Name        string              `json:"name"`
	Preferences userapi.Preferences `json:"preferences"`
	Version     int                 `json:"version"` // sequence of the newest event that is in it
}

// userFact is what is read of a user event. Each event says all that there is to know, but for the role.
type userFact struct {
	UserID      string
	Email       string
	Phone       string
	Name        string
	Role        string
	Preferences *userapi.ChannelPreferences // nil: the event does not say
}

func userFactOf(e cloudevent.Event) (userFact, error) {
	m, err := userapi.Events.Decode(e)
	if err != nil {
		return userFact{}, err
	}
	switch m := m.(type) {
	case *userapi.RegisteredEvent:
		return userFact{m.UserId, m.Email, m.Phone, m.Name, m.Role, m.Preferences}, nil
	case *userapi.PreferencesChangedEvent:
		return userFact{UserID: m.UserId, Email: m.Email, Phone: m.Phone, Name: m.Name, Preferences: m.Preferences}, nil
	}
	return userFact{}, problem.New(problem.UnknownVersion, "event %s holds a %T, which is no contact", e.ID, m)
}

// defaultPreferences hold until an event names others.
var defaultPreferences = userapi.Preferences{Email: true, Push: true}

func contactKey(user string) string { return "contact/" + user }

// address gives where a person is reached by a channel, "" if not wanted or not known.
func (c contact) address(channel string) string {
	switch {
	case channel == notificationapi.Email && c.Preferences.Email:
		return c.Email
	case channel == notificationapi.SMS && c.Preferences.SMS:
		return c.Phone
	case channel == notificationapi.Push && c.Preferences.Push:
		return c.UserID // the provider knows the person's devices
	}
	return ""
}

// onUserEvent keeps the contacts and welcomes new customers. Accounts that an operator makes are not welcomed.
func (s *Service) onUserEvent(ctx context.Context, e cloudevent.Event) error {
	if e.Name() != userapi.EventRegistered && e.Name() != userapi.EventPreferencesChanged {
		return nil
	}
	f, err := userFactOf(e)
	if err != nil {
		return err
	}
	if f.UserID == "" {
		return problem.New(problem.InvalidRequest, "event %s names no user", e.ID)
	}
	welcome := e.Name() == userapi.EventRegistered && f.Role == web.RoleCustomer
	first := ctx
	if welcome { // that the message went out is what the event is done by
		first = inbox.Detach(ctx)
	}
	c, err := s.learn(first, f, e.Seq())
	if err != nil || !welcome {
		return err
	}
	return s.tell(ctx, e, notice{user: f.UserID, contact: &c})
}

// writeAttempts bounds the tries against another replica that writes the same key.
const writeAttempts = 5

func (s *Service) learn(ctx context.Context, f userFact, version int) (contact, error) {
	for try := 1; ; try++ {
		item, err := s.deps.State.Get(ctx, contactKey(f.UserID))
		if err != nil {
			return contact{}, err
		}
		c := contact{UserID: f.UserID, Preferences: defaultPreferences}
		if item.Exists() {
			if err := json.Unmarshal(item.Value, &c); err != nil {
				return c, fmt.Errorf("contact %s: %w", f.UserID, err)
			}
			if c.Version >= version {
				return c, nil // a repetition, or an older event after a newer
			}
		}
		c.Email, c.Phone, c.Name, c.Version = f.Email, f.Phone, f.Name, version
		if f.Preferences != nil {
			c.Preferences = f.Preferences.Preferences()
		}
		value, err := json.Marshal(c)
		if err != nil {
			return c, fmt.Errorf("contact %s: %w", f.UserID, err)
		}
		err = s.deps.State.Transact(ctx, sidecar.Op{Key: contactKey(f.UserID), Value: value, ETag: item.ETag, Create: !item.Exists()})
		if err == nil || !errors.Is(err, sidecar.ErrConflict) || errors.Is(err, inbox.ErrTaken) {
			return c, err
		}
		if try == writeAttempts {
			return c, problem.Wrap(err, problem.WriteConflict, "contact %s", f.UserID)
		}
	}
}
