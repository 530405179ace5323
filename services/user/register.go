package user

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

func (s *Service) handleRegister(w http.ResponseWriter, r *http.Request) error {
	var in userapi.Registration
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	if err := permitted(web.Caller(r), &in); err != nil {
		return err
	}
	a, err := s.register(r.Context(), in)
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/users/me")
	return web.JSON(w, http.StatusCreated, a.wire())
}

// permitted says whether caller may register such an account, and fills in the role.
func permitted(caller web.Identity, in *userapi.Registration) error {
	if in.Role == "" {
		in.Role = web.RoleCustomer
	}
	if in.Role != web.RoleCustomer && in.Role != web.RoleCourier && caller.Role != web.RoleOperator {
		return problem.New(problem.Forbidden, "only an operator can register a %s", in.Role)
	}
	switch kitchen := in.Role == web.RoleKitchen; {
	case kitchen && in.RestaurantID == "":
		return problem.New(problem.InvalidRequest, "1 faulty field(s)").
			WithFields(problem.Field{Name: "restaurant_id", Reason: "is required for a kitchen"})
	case !kitchen && in.RestaurantID != "":
		return problem.New(problem.InvalidRequest, "1 faulty field(s)").
			WithFields(problem.Field{Name: "restaurant_id", Reason: "is for a kitchen only"})
	}
	return nil
}

// register creates the account, its credential and its event in one transaction.
func (s *Service) register(ctx context.Context, in userapi.Registration) (account, error) {
	taken := problem.New(problem.AlreadyExists, "there is an account with this e-mail address")
	key := emailKey(in.Email)
	item, err := s.state.Get(ctx, key)
	if err != nil {
		return account{}, err
	}
	if item.Exists() {
		return account{}, taken
	}
	hash, err := s.passwords.hash(ctx, in.Password)
	if err != nil {
		return account{}, err
	}
	id := ids.New("usr")
	cred, err := json.Marshal(credential{UserID: id, PasswordHash: hash})
	if err != nil {
		return account{}, fmt.Errorf("credential: %w", err)
	}
	event := &userapi.RegisteredEvent{
		UserId: id, Email: normalize(in.Email), Name: in.Name, Role: in.Role, RestaurantId: in.RestaurantID, Phone: in.Phone,
		Preferences: &userapi.ChannelPreferences{Email: true, Sms: in.Phone != "", Push: true},
	}
	first := true
	a, _, err := s.accounts.Update(ctx, id, func(_ account, version int) (eventstore.Change, error) {
		if !first { // the id is new, so it was the e-mail address that somebody else took in between
			return eventstore.Change{}, taken
		}
		first = false
		return eventstore.Change{
			Events: []eventstore.Event{{Type: userapi.EventRegistered, Data: event}},
			Ops:    []sidecar.Op{{Key: key, Value: cred, Create: true}},
		}, nil
	})
	if err != nil {
		return account{}, err
	}
	s.metrics.registrations.WithLabelValues(in.Role).Inc()
	return a, nil
}
