package deadletter

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/topic"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// maxDelivery bounds a delivery in bytes; a broker takes less.
const maxDelivery = 16 << 20

// Routes takes the app's dead letters in and serves them to operators.
func (b *Box) Routes(r *mux.Router) {
	for _, t := range b.subscriber.Topics() {
		r.Handle(topic.Path(topic.DeadLetterTopic(t, b.app)), b.delivery(t)).Methods(http.MethodPost)
	}
	path := Path + "/" + b.app
	for _, rt := range []struct {
		method, path string
		handle       web.HandlerFunc
	}{
		{http.MethodGet, path, b.handleList},
		{http.MethodGet, path + "/audit", b.handleTrail},
		{http.MethodPost, path + "/replay", b.handleBulk(ActionReplay)},
		{http.MethodPost, path + "/drop", b.handleBulk(ActionDrop)},
		{http.MethodGet, path + "/{letter}", b.handleShow},
		{http.MethodPut, path + "/{letter}", b.handleEdit},
		{http.MethodPost, path + "/{letter}/replay", b.handleOne(ActionReplay)},
		{http.MethodPost, path + "/{letter}/drop", b.handleOne(ActionDrop)},
	} {
		r.Handle(rt.path, operators(rt.handle)).Methods(rt.method)
	}
}

// operators lets nobody else in, whatever the gateway's table says.
func operators(h web.HandlerFunc) web.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		if web.Caller(r).Role != web.RoleOperator {
			return problem.New(problem.Forbidden, "dead letters are the operators' business")
		}
		return h(w, r)
	}
}

type answer struct {
	Status string `json:"status"`
}

// delivery takes in what comes on the dead-letter topic of t. Only a store that does not answer has the broker deliver
// it again; whatever else is wrong with it becomes a letter.
func (b *Box) delivery(t string) web.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxDelivery))
		if err != nil {
			return problem.Wrap(err, problem.Unavailable, "the delivery broke off")
		}
		if err := b.Take(r.Context(), t, body); err != nil {
			b.log.Error("dead letter not kept, the broker delivers it again", "topic", t, "error", err)
			return web.JSON(w, http.StatusOK, answer{"RETRY"})
		}
		return web.JSON(w, http.StatusOK, answer{"SUCCESS"})
	}
}

func (b *Box) handleList(w http.ResponseWriter, r *http.Request) error {
	q, err := ParseQuery(r.URL.Query())
	if err != nil {
		return err
	}
	list, err := b.List(r.Context(), q.Filter, q.Before, q.Limit)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, list)
}

func (b *Box) handleTrail(w http.ResponseWriter, r *http.Request) error {
	q, err := ParseQuery(r.URL.Query())
	if err != nil {
		return err
	}
	trail, err := b.Trail(r.Context(), q.Before, q.Limit)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, trail)
}

func (b *Box) handleShow(w http.ResponseWriter, r *http.Request) error {
	l, err := b.Show(r.Context(), mux.Vars(r)["letter"])
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, l)
}

func (b *Box) handleEdit(w http.ResponseWriter, r *http.Request) error {
	var req EditRequest
	if err := web.Decode(r, &req); err != nil {
		return err
	}
	l, err := b.Edit(r.Context(), web.Caller(r).Subject, mux.Vars(r)["letter"], req.Body)
	if err != nil {
		return err
	}
	return web.JSON(w, http.StatusOK, l)
}

func (b *Box) handleOne(action string) web.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		var req ActionRequest
		if r.ContentLength != 0 {
			if err := web.Decode(r, &req); err != nil {
				return err
			}
		}
		o := order{by: web.Caller(r).Subject, action: action, operation: ids.New("dlo"), reason: req.Reason}
		out, err := b.one(r.Context(), mux.Vars(r)["letter"], o)
		if err != nil {
			return err
		}
		return web.JSON(w, http.StatusOK, out)
	}
}

func (b *Box) handleBulk(action string) web.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) error {
		var req BulkRequest
		if err := web.Decode(r, &req); err != nil {
			return err
		}
		if req.DryRun {
			out, err := b.dryRun(r.Context(), req.Filter)
			if err != nil {
				return err
			}
			return web.JSON(w, http.StatusOK, out)
		}
		out, err := b.bulk(r.Context(), web.Caller(r).Subject, action, req)
		if err != nil {
			return err
		}
		return web.JSON(w, http.StatusOK, out)
	}
}

// Query is what a list can be asked.
type Query struct {
	Filter Filter
	Before int
	Limit  int
}

// ParseQuery reads topic, type, subject, cause, since, until, before and limit. Every fault is named.
func ParseQuery(v url.Values) (Query, error) {
	q := Query{Limit: defaultListed}
	fault := problem.New(problem.InvalidRequest, "faulty query")
	number := func(name string, least, most int, to *int) {
		if s := v.Get(name); v.Has(name) {
			n, err := strconv.Atoi(s)
			if err != nil || n < least || n > most {
				fault = fault.WithFields(problem.Field{Name: name, Reason: "must be a number from " + strconv.Itoa(least) + " to " + strconv.Itoa(most)})
			}
			*to = n
		}
	}
	instant := func(name string, to *time.Time) {
		if s := v.Get(name); v.Has(name) {
			t, err := time.Parse(time.RFC3339, s)
			if err != nil {
				fault = fault.WithFields(problem.Field{Name: name, Reason: "must be a time such as 2026-11-22T15:04:05Z (RFC 3339)"})
			}
			*to = t
		}
	}
	q.Filter = Filter{Topic: v.Get("topic"), Type: v.Get("type"), Subject: v.Get("subject"), Cause: v.Get("cause")}
	for name := range v {
		if !strings.Contains(" topic type subject cause since until before limit ", " "+name+" ") {
			fault = fault.WithFields(problem.Field{Name: name, Reason: "is not a known parameter"})
		}
	}
	instant("since", &q.Filter.Since)
	instant("until", &q.Filter.Until)
	number("before", 1, 1<<31-1, &q.Before)
	number("limit", 1, MaxListed, &q.Limit)
	var long *problem.Error
	if errors.As(web.Validate(&q.Filter), &long) {
		fault = fault.WithFields(long.Fields...)
	}
	if len(fault.Fields) > 0 {
		return q, fault
	}
	return q, nil
}

// Values is the query of a filter, as ParseQuery reads it.
func (f Filter) Values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"topic": f.Topic, "type": f.Type, "subject": f.Subject, "cause": f.Cause} {
		if value != "" {
			v.Set(name, value)
		}
	}
	for name, at := range map[string]time.Time{"since": f.Since, "until": f.Until} {
		if !at.IsZero() {
			v.Set(name, at.Format(time.RFC3339Nano))
		}
	}
	return v
}
