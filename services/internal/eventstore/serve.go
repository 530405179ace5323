package eventstore

import (
	"net/http"
	"net/url"
	"strconv"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// Page is a part of a stream's history as its owner tells it to a consumer that misses something.
type Page struct {
	Version int                `json:"version"` // of the aggregate; 0: there is none
	Events  []cloudevent.Event `json:"events"`
}

// The bounds of a page, in events.
const (
	defaultPage = 100
	maxPage     = 500
)

// maxPageBytes bounds the payloads of a page; the next one goes on from there. At least one event is always told.
const maxPageBytes = 2 << 20

// Path is where the owner of a stream tells its events.
func Path(stream, id string) string { return "/internal/events/" + stream + "/" + url.PathEscape(id) }

// Serve answers GET /internal/events/<stream>/{id}?after=N&limit=M: what consumers ask when they find a gap. Only
// services can reach it (components/configuration).
func (s *Store[S]) Serve(r *mux.Router) {
	r.Handle(Path(s.opt.Name, "")+"{id:[A-Za-z0-9_.-]{1,128}}", web.HandlerFunc(s.handleEvents)).Methods(http.MethodGet)
}

func (s *Store[S]) handleEvents(w http.ResponseWriter, r *http.Request) error {
	after, err := number(r, "after", 0, 0, 1<<40)
	if err != nil {
		return err
	}
	limit, err := number(r, "limit", defaultPage, 1, maxPage)
	if err != nil {
		return err
	}
	events, version, err := s.history(r.Context(), mux.Vars(r)["id"], after, limit)
	if err != nil {
		return err
	}
	page, size := Page{Version: version, Events: []cloudevent.Event{}}, 0
	for _, e := range events {
		if size += len(e.Data); size > maxPageBytes && len(page.Events) > 0 {
			break
		}
		page.Events = append(page.Events, e)
	}
	return web.JSON(w, http.StatusOK, page)
}

func number(r *http.Request, name string, otherwise, least, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return otherwise, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < least || n > most {
		return 0, problem.New(problem.InvalidRequest, "1 faulty field(s)").
			WithFields(problem.Field{Name: name, Reason: "must be a number from " + strconv.Itoa(least) + " to " + strconv.Itoa(most)})
	}
	return n, nil
}
