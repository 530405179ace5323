package user

import (
	"context"
	"net/http"

	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

func (s *Service) handleMe(w http.ResponseWriter, r *http.Request) error {
	a, version, err := s.accounts.Load(r.Context(), web.Caller(r).Subject)
	if err != nil {
		return err
	}
	if version == 0 {
		return problem.New(problem.NotFound, "there is no such account")
	}
	return web.JSON(w, http.StatusOK, a.wire())
}

func (s *Service) handlePatchMe(w http.ResponseWriter, r *http.Request) error {
	var in userapi.UserPatch
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	if in.Phone != nil {
		phone := struct {
			Phone string `json:"phone" validate:"omitempty,e164"`
		}{*in.Phone}
		if err := web.Validate(&phone); err != nil {
			return err
		}
	}
	return s.change(w, r, func(a *account) {
		if in.Name != nil {
			a.Name = *in.Name
		}
		if in.Phone != nil {
			a.Phone = *in.Phone
		}
	})
}

func (s *Service) handlePreferences(w http.ResponseWriter, r *http.Request) error {
	var in userapi.PreferencesUpdate
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	return s.change(w, r, func(a *account) {
		a.Preferences = userapi.Preferences{Email: *in.Email, SMS: *in.SMS, Push: *in.Push}
	})
}

// change lets edit alter the caller's account and tells the others if anything is different.
func (s *Service) change(w http.ResponseWriter, r *http.Request, edit func(*account)) error {
	a, err := s.edit(r.Context(), web.Caller(r).Subject, edit)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, a.wire())
}

func (s *Service) edit(ctx context.Context, id string, edit func(*account)) (account, error) {
	a, _, err := s.accounts.Update(ctx, id, func(was account, version int) (eventstore.Change, error) {
		if version == 0 {
			return eventstore.Change{}, problem.New(problem.NotFound, "there is no such account")
		}
		is := was
		if edit(&is); is == was {
			return eventstore.Change{}, nil
		}
		return eventstore.Change{Events: []eventstore.Event{{Type: userapi.EventPreferencesChanged, Data: &userapi.PreferencesChangedEvent{
			UserId: id, Preferences: is.Preferences.Message(), Email: is.Email, Phone: is.Phone, Name: is.Name,
		}}}}, nil
	})
	return a, err
}
