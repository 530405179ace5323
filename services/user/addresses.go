package user

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// maxAddresses bounds how many addresses an account keeps.
const maxAddresses = 20

// Addresses stand in a document of their own and in no event: nobody else needs to know where people live.
func addressesKey(userID string) string { return "addresses/" + userID }

func (s *Service) loadAddresses(ctx context.Context, userID string) (userapi.AddressList, string, error) {
	list := userapi.AddressList{Addresses: []userapi.Address{}}
	item, err := s.state.Get(ctx, addressesKey(userID))
	if err != nil || !item.Exists() {
		return list, "", err
	}
	if err := json.Unmarshal(item.Value, &list); err != nil {
		return list, "", fmt.Errorf("addresses: %w", err)
	}
	return list, item.ETag, nil
}

// editAddresses lets edit alter the list, and once more if somebody else did so in between.
func (s *Service) editAddresses(ctx context.Context, userID string, edit func(*userapi.AddressList) error) error {
	for {
		list, etag, err := s.loadAddresses(ctx, userID)
		if err != nil {
			return err
		}
		if err := edit(&list); err != nil {
			return err
		}
		err = s.transact(ctx, put{op: sidecar.Op{Key: addressesKey(userID), ETag: etag, Create: etag == ""}, value: list})
		if !errors.Is(err, sidecar.ErrConflict) {
			return err
		}
	}
}

func (s *Service) handleAddresses(w http.ResponseWriter, r *http.Request) error {
	list, _, err := s.loadAddresses(r.Context(), web.Caller(r).Subject)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, list)
}

func (s *Service) handleAddAddress(w http.ResponseWriter, r *http.Request) error {
	var in userapi.NewAddress
	if err := web.Decode(r, &in); err != nil {
		return err
	}
	a := userapi.Address{ID: ids.New("adr"), Label: in.Label, Street: in.Street, Lat: *in.Lat, Lon: *in.Lon, Note: in.Note}
	err := s.editAddresses(r.Context(), web.Caller(r).Subject, func(list *userapi.AddressList) error {
		if len(list.Addresses) >= maxAddresses {
			return problem.New(problem.IllegalState, "an account keeps at most %d addresses; delete one first", maxAddresses)
		}
		list.Addresses = append(list.Addresses, a)
		return nil
	})
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusCreated, a)
}

func (s *Service) handleDeleteAddress(w http.ResponseWriter, r *http.Request) error {
	id := mux.Vars(r)["address"]
	err := s.editAddresses(r.Context(), web.Caller(r).Subject, func(list *userapi.AddressList) error {
		i := slices.IndexFunc(list.Addresses, func(a userapi.Address) bool { return a.ID == id })
		if i < 0 {
			return problem.New(problem.NotFound, "there is no address %s", id)
		}
		list.Addresses = slices.Delete(list.Addresses, i, i+1)
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
