package gateway

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/gorilla/mux"

	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// apps are those that the routes lead to: all that keep something.
func apps() []string {
	var all []string
	for _, rt := range routes() {
		if rt.App != "" {
			all = append(all, rt.App)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// handleDeadLettersOf forwards to the app in the path.
func (s *Service) handleDeadLettersOf(w http.ResponseWriter, r *http.Request) error {
	app := mux.Vars(r)["app"]
	if !slices.Contains(s.apps, app) {
		return problem.New(problem.NotFound, "there is no app %s that has dead letters", app)
	}
	return s.forward(app)(w, r)
}

// askAll asks every app at once and hands over what it said, one app at a time.
func askAll[A any](s *Service, ask func(app string) (A, error), take func(app string, answer A, err error)) {
	var mu sync.Mutex
	var asking sync.WaitGroup
	for _, app := range s.apps {
		asking.Go(func() {
			answer, err := ask(app)
			mu.Lock()
			defer mu.Unlock()
			take(app, answer, err)
		})
	}
	asking.Wait()
}

// absence says why an app is not in an answer.
func absence(err error) string {
	var p *problem.Error
	if errors.As(err, &p) && p.Detail != "" {
		return string(p.Type) + ": " + p.Detail
	}
	return string(problem.Of(err))
}

// handleDeadLetters lists the letters of all apps, the newest first. An app that does not answer is named.
func (s *Service) handleDeadLetters(w http.ResponseWriter, r *http.Request) error {
	q, err := deadletter.ParseQuery(r.URL.Query())
	if err != nil {
		return err
	}
	if q.Before > 0 {
		return onePageOnly()
	}
	client, who := deadletter.Client{Invoker: s.invoker}, web.Caller(r)
	ask := func(app string) (deadletter.List, error) {
		return client.List(r.Context(), app, who, q.Filter, q.Limit)
	}
	out := deadletter.Overview{Letters: []deadletter.Entry{}, Complete: true}
	askAll(s, ask, func(app string, list deadletter.List, err error) {
		a := deadletter.AppAnswer{App: app, Matched: list.Matched, Total: list.Total, Topics: list.Topics}
		if err != nil {
			a, out.Complete = deadletter.AppAnswer{App: app, Problem: absence(err)}, false
		} else {
			out.Letters = append(out.Letters, list.Letters...)
		}
		out.Matched += a.Matched
		out.Total += a.Total
		out.Apps = append(out.Apps, a)
	})
	slices.SortFunc(out.Letters, func(a, b deadletter.Entry) int {
		return cmp.Or(b.Last.Compare(a.Last), cmp.Compare(a.App, b.App), cmp.Compare(b.Seq, a.Seq))
	})
	out.Letters = out.Letters[:min(len(out.Letters), q.Limit)]
	slices.SortFunc(out.Apps, func(a, b deadletter.AppAnswer) int { return cmp.Compare(a.App, b.App) })
	return web.JSON(w, http.StatusOK, out)
}

// handleDeadLetterTrail lists who did what with the letters of all apps, the newest first.
func (s *Service) handleDeadLetterTrail(w http.ResponseWriter, r *http.Request) error {
	q, err := deadletter.ParseQuery(r.URL.Query())
	if err != nil {
		return err
	}
	if q.Before > 0 {
		return onePageOnly()
	}
	out := deadletter.TrailOverview{Records: []deadletter.Record{}, Complete: true}
	client, who := deadletter.Client{Invoker: s.invoker}, web.Caller(r)
	ask := func(app string) (deadletter.Trail, error) { return client.Trail(r.Context(), app, who, q.Limit) }
	askAll(s, ask, func(app string, trail deadletter.Trail, err error) {
		a := deadletter.AppAnswer{App: app}
		if err != nil {
			a.Problem, out.Complete = absence(err), false
		} else {
			out.Records = append(out.Records, trail.Records...)
			a.Total = len(trail.Records)
		}
		out.Apps = append(out.Apps, a)
	})
	slices.SortFunc(out.Records, func(a, b deadletter.Record) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.App, b.App), cmp.Compare(b.Seq, a.Seq))
	})
	out.Records = out.Records[:min(len(out.Records), q.Limit)]
	slices.SortFunc(out.Apps, func(a, b deadletter.AppAnswer) int { return cmp.Compare(a.App, b.App) })
	return web.JSON(w, http.StatusOK, out)
}

func onePageOnly() error {
	return problem.New(problem.InvalidRequest, "1 faulty field(s)").
		WithFields(problem.Field{Name: "before", Reason: "is of one app: ask " + deadletter.Path + "/{app}"})
}
