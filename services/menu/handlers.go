package menu

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/eventstore"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

// Bounds of a search.
const (
	defaultLimit = 20
	maxLimit     = 100
	maxQuery     = 100 // characters
)

func (s *Service) handleList(w http.ResponseWriter, r *http.Request) error {
	if err := s.ready(); err != nil {
		return err
	}
	query := r.URL.Query()
	var faults []problem.Field
	number := func(name string, def, lo, hi int) int {
		text := query.Get(name)
		if !query.Has(name) {
			return def
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < lo || n > hi {
			faults = append(faults, problem.Field{Name: name, Reason: fmt.Sprintf("must be an integer from %d to %d", lo, hi)})
		}
		return n
	}
	limit := number("limit", defaultLimit, 1, maxLimit)
	offset := number("offset", 0, 0, 1_000_000)
	for _, name := range []string{"q", "cuisine"} {
		if utf8.RuneCountInString(query.Get(name)) > maxQuery {
			faults = append(faults, problem.Field{Name: name, Reason: fmt.Sprintf("must be at most %d characters", maxQuery)})
		}
	}
	if len(faults) > 0 {
		return problem.New(problem.InvalidRequest, "%d faulty field(s)", len(faults)).WithFields(faults...)
	}

	found := s.catalogue.search(query.Get("q"), query.Get("cuisine"))
	list := menuapi.List{Restaurants: []menuapi.Restaurant{}, Total: len(found)}
	now := s.now()
	for _, e := range found[min(offset, len(found)):min(offset+limit, len(found))] {
		list.Restaurants = append(list.Restaurants, e.restaurant(now))
	}
	if offset+limit < len(found) {
		next := url.Values{"limit": {strconv.Itoa(limit)}, "offset": {strconv.Itoa(offset + limit)}}
		for _, name := range []string{"q", "cuisine"} {
			if v := query.Get(name); v != "" {
				next.Set(name, v)
			}
		}
		list.Next = "/v1/restaurants?" + next.Encode()
	}
	return cacheable(w, r, list)
}

func (s *Service) handleRestaurant(w http.ResponseWriter, r *http.Request) error {
	e, err := s.restaurant(mux.Vars(r)["restaurant"])
	if err != nil {
		return err
	}
	return cacheable(w, r, e.restaurant(s.now()))
}

func (s *Service) handleMenu(w http.ResponseWriter, r *http.Request) error {
	e, err := s.restaurant(mux.Vars(r)["restaurant"])
	if err != nil {
		return err
	}
	return cacheable(w, r, e.menu(s.now()))
}

func (s *Service) handlePatchItem(w http.ResponseWriter, r *http.Request) error {
	restaurantID, itemID := mux.Vars(r)["restaurant"], mux.Vars(r)["item"]
	caller := web.Caller(r)
	if caller.Role != web.RoleOperator && (caller.Role != web.RoleKitchen || caller.Restaurant != restaurantID) {
		return problem.New(problem.Forbidden, "a menu is changed by its own kitchen or an operator")
	}
	var patch menuapi.ItemPatch
	if err := web.Decode(r, &patch); err != nil {
		return err
	}
	if _, err := s.restaurant(restaurantID); err != nil {
		return err
	}
	item, err := s.patchItem(r.Context(), restaurantID, itemID, patch)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, item)
}

// patchItem changes an item; when it returns, this replica's reads show the change.
func (s *Service) patchItem(ctx context.Context, restaurantID, itemID string, patch menuapi.ItemPatch) (menuapi.Item, error) {
	state, version, err := s.store.Update(ctx, restaurantID, func(o offer, _ int) (eventstore.Change, error) {
		return changeItem(o, itemID, patch)
	})
	if err != nil {
		return menuapi.Item{}, err
	}
	if err := s.catalogue.put(state, version); err != nil {
		return menuapi.Item{}, err
	}
	return state.Items[find(state.Items, itemID)], nil
}

func (s *Service) ready() error {
	if !s.catalogue.loaded() {
		return problem.New(problem.Unavailable, "the menus are being read").After(time.Second)
	}
	return nil
}

func (s *Service) restaurant(id string) (*entry, error) {
	if e, ok := s.catalogue.get(id); ok {
		return e, nil
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	return nil, problem.New(problem.NotFound, "there is no restaurant %.40q", id)
}

// cacheable answers with v and a strong ETag, or 304 if the caller has this very answer (RFC 9110, section 13.1.2).
func cacheable(w http.ResponseWriter, r *http.Request, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %T: %w", v, err)
	}
	sum := sha256.Sum256(body)
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
	h := w.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "public, max-age=5, stale-if-error=3600") // RFC 5861: better an old menu than none
	if matches(r.Header.Values("If-None-Match"), tag) {
		w.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", "application/json")
	_, _ = w.Write(append(body, '\n')) // the client has gone: nothing is left to tell it
	return nil
}

// matches compares weakly, as If-None-Match does.
func matches(headers []string, tag string) bool {
	for _, h := range headers {
		for candidate := range strings.SplitSeq(h, ",") {
			candidate = strings.TrimPrefix(strings.TrimSpace(candidate), "W/")
			if candidate == tag || candidate == "*" {
				return true
			}
		}
	}
	return false
}
