package notification

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
)

// maxListed bounds how many notifications of a person are listed, and how many causes are kept for that.
const maxListed = 50

// mailbox lists the newest causes that a person was told of, newest first. What was told is in their records.
type mailbox struct {
	IDs []string `json:"ids"`
}

// mailboxKey has two parts, unlike the keys of package inbox.
func mailboxKey(user string) string { return "inbox/" + user }

// add puts id in front and reports whether that changed anything.
func (b *mailbox) add(id string) bool {
	if slices.Contains(b.IDs, id) {
		return false
	}
	b.IDs = slices.Insert(b.IDs, 0, id)
	b.IDs = b.IDs[:min(len(b.IDs), maxListed)]
	return true
}

// handleList answers GET /v1/notifications?limit=: the caller's own, newest first.
func (s *Service) handleList(w http.ResponseWriter, r *http.Request) error {
	caller := web.Caller(r)
	if caller.Subject == "" {
		return problem.New(problem.Unauthenticated, "log in to see your notifications")
	}
	limit := maxListed
	if query := r.URL.Query(); query.Has("limit") {
		n, err := strconv.Atoi(query.Get("limit"))
		if err != nil || n < 1 || n > maxListed {
			return problem.New(problem.InvalidRequest, "1 faulty field(s)").
				WithFields(problem.Field{Name: "limit", Reason: fmt.Sprintf("must be an integer from 1 to %d", maxListed)})
		}
		limit = n
	}
	item, err := s.deps.State.Get(r.Context(), mailboxKey(caller.Subject))
	if err != nil {
		return err
	}
	var box mailbox
	if item.Exists() {
		if err := json.Unmarshal(item.Value, &box); err != nil {
			return fmt.Errorf("%s: %w", mailboxKey(caller.Subject), err)
		}
	}
	keys := make([]string, 0, limit)
	for _, id := range box.IDs[:min(limit, len(box.IDs))] {
		keys = append(keys, toldKey(id))
	}
	items, err := s.deps.State.GetBulk(r.Context(), keys)
	if err != nil {
		return err
	}
	list := notificationapi.List{Notifications: []notificationapi.Notification{}}
	for i, item := range items {
		if !item.Exists() {
			continue // forgotten since
		}
		var t told
		if err := json.Unmarshal(item.Value, &t); err != nil {
			return fmt.Errorf("%s: %w", keys[i], err)
		}
		list.Notifications = append(list.Notifications, t.notifications()...)
	}
	list.Notifications = list.Notifications[:min(limit, len(list.Notifications))]
	return web.JSON(w, http.StatusOK, list)
}
