package gateway

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/web"
)

// keeper plays an app with n dead letters, the newest of which is so many minutes old.
func keeper(app string, n, minutes int) http.Handler {
	return web.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		at := time.Now().Add(-time.Duration(minutes) * time.Minute)
		switch {
		case web.Caller(r) != boss:
			return problem.New(problem.Forbidden, "not you")
		case r.URL.Path == deadletter.Path+"/"+app+"/audit":
			return web.JSON(w, 200, deadletter.Trail{App: app, Records: []deadletter.Record{{Seq: 1, App: app, At: at}}})
		case r.URL.Path != deadletter.Path+"/"+app || r.URL.Query().Get("cause") != "time & out" || r.URL.Query().Get("limit") != "3":
			return problem.New(problem.NotFound, "%s", r.URL)
		}
		list := deadletter.List{App: app, Matched: n, Total: n + 1, Letters: []deadletter.Entry{}}
		for i := range min(n, 3) {
			list.Letters = append(list.Letters, deadletter.Entry{App: app, Seq: n - i, Last: at.Add(-time.Duration(i) * time.Second)})
		}
		return web.JSON(w, 200, list)
	})
}

// The letters of all apps are in one list, the newest first; an app that is away is named, and the rest is there.
func TestDeadLettersWhileAnAppIsAway(t *testing.T) {
	f := newFixture(t)
	for i, app := range f.apps {
		f.mesh[app] = keeper(app, 0, i)
	}
	f.mesh["order"], f.mesh["payment"] = keeper("order", 5, 2), keeper("payment", 1, 1)
	users := keeper("user", 0, 9)
	f.mesh["user"] = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, deadletter.Path) {
			users.ServeHTTP(w, r)
			return
		}
		f.issuer.ServeHTTP(w, r)
	})
	ask := func(path string, out any) {
		t.Helper()
		resp := f.do(f.request("GET", path, boss, ""))
		if resp.StatusCode != 200 {
			t.Fatalf("%s: %s", path, resp.Status)
		}
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			t.Fatal(err)
		}
	}
	var all deadletter.Overview
	ask("/v1/dead-letters?cause=time+%26+out&limit=3", &all)
	var got []string
	for _, e := range all.Letters {
		got = append(got, fmt.Sprint(e.App, " ", e.Seq))
	}
	if diff := cmp.Diff([]string{"payment 1", "order 5", "order 4"}, got); diff != "" || !all.Complete || all.Matched != 6 || all.Total != 6+len(f.apps) || len(all.Apps) != len(f.apps) {
		t.Errorf("everybody answers: %+v (-want +got):\n%s", all, diff)
	}
	var trail deadletter.TrailOverview
	if ask("/v1/dead-letters/audit", &trail); !trail.Complete || len(trail.Records) != len(f.apps) || trail.Records[0].At.Before(trail.Records[1].At) {
		t.Errorf("trail: %+v", trail)
	}

	delete(f.mesh, "order")
	all, trail = deadletter.Overview{}, deadletter.TrailOverview{}
	ask("/v1/dead-letters?cause=time+%26+out&limit=3", &all)
	away := func(a deadletter.AppAnswer) bool {
		return a.App == "order" && strings.Contains(a.Problem, "unavailable")
	}
	if all.Complete || all.Matched != 1 || len(all.Letters) != 1 || !slices.ContainsFunc(all.Apps, away) {
		t.Errorf("order is away: %+v", all)
	}
	if ask("/v1/dead-letters/audit", &trail); trail.Complete || len(trail.Records) != len(f.apps)-1 || !slices.ContainsFunc(trail.Apps, away) {
		t.Errorf("order is away: %+v", trail)
	}
}

// What is asked of one app is forwarded to it, for operators only.
func TestDeadLettersOfOneApp(t *testing.T) {
	f := newFixture(t)
	const letter = "/payment_00000000000000000000000000"
	for _, r := range [][3]string{
		{"GET", "", ""}, {"GET", "/audit", ""}, {"GET", letter, ""}, {"PUT", letter, `{"body":{"a":1}}`},
		{"POST", letter + "/replay", ""}, {"POST", letter + "/drop", `{"reason":"no use"}`}, {"POST", "/replay", `{"filter":{"topic":"fooddelivery.order"}}`}, {"POST", "/drop", `{"all":true,"filter":{}}`},
	} {
		path := "/v1/dead-letters/payment" + r[1]
		if resp := f.do(f.request(r[0], path, boss, r[2])); resp.StatusCode != 200 || f.seen == nil || f.seen.URL.Path != path || f.seen.Header.Get("dapr-app-id") != "payment" || web.Caller(f.seen) != boss {
			t.Errorf("%s %s: %s, the app saw %v", r[0], path, resp.Status, f.seen)
		}
		if resp := f.do(f.request(r[0], path, ann, r[2])); resp.StatusCode != 403 || f.seen != nil {
			t.Errorf("%s %s of a customer: %s", r[0], path, resp.Status)
		}
	}
	for path, want := range map[string]int{"/v1/dead-letters/gateway": 404, "/v1/dead-letters/nobody": 404, "/v1/dead-letters/payment/..%2forder": 404, "/v1/dead-letters?before=3": 400, "/v1/dead-letters?limit=x": 400, "/v1/dead-letters/audit?before=1": 400} {
		if resp := f.do(f.request("GET", path, boss, "")); resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, resp.Status, want)
		}
	}
	if resp := f.do(f.request("PUT", "/v1/dead-letters/payment"+letter, boss, `{"body":`)); resp.StatusCode != 400 {
		t.Errorf("half a body: %s", resp.Status)
	}
}
