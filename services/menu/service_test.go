package menu

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"

	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

var (
	operator = web.Identity{Subject: "usr_op", Role: web.RoleOperator}
	nino     = web.Identity{Subject: "usr_k1", Role: web.RoleKitchen, Restaurant: "rst_01"}
)

// fixture is a menu service that runs.
type fixture struct {
	*Service
	t       testing.TB
	fakes   *runtest.Fakes
	handler http.Handler
}

// setUp starts a service: the first on a new store, or a second replica on the store of another.
func setUp(t testing.TB, store *sidecartest.Store) *fixture {
	t.Helper()
	deps, fakes := runtest.New(t, "menu")
	if store != nil {
		fakes.Store = store
		deps.State = store
		deps.Outbox = outbox.New(store, deps.Publisher, outbox.Options{Instance: "second", Log: deps.Log})
	}
	s, err := New(deps, Config{Refresh: 5 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{Service: s.(*Service), t: t, fakes: fakes, handler: runtest.Router(deps, s)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		if err := f.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); running.Wait() })
	runtest.Start(t, deps)
	runtest.Eventually(t, "the menus are read", func() bool { return f.Ready() == nil })
	return f
}

func (f *fixture) do(id web.Identity, method, target, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	id.Set(r.Header)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	return w
}

func (f *fixture) get(target string, out any) {
	f.t.Helper()
	w := f.do(web.Identity{}, "GET", target, "")
	if w.Code != http.StatusOK {
		f.t.Fatalf("GET %s: %d %s", target, w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), out); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) item(id string) menuapi.Item {
	f.t.Helper()
	var menu menuapi.Menu
	f.get("/v1/restaurants/"+strings.Replace(id[:6], "itm", "rst", 1)+"/menu", &menu)
	return menu.Items[find(menu.Items, id)]
}

func TestSearch(t *testing.T) {
	f := setUp(t, nil)
	tests := []struct {
		query string
		want  []string
		total int
	}{
		{"", menuapi.Restaurants, 12},
		{"?limit=2", []string{"rst_01", "rst_02"}, 12},
		{"?limit=5&offset=10", []string{"rst_11", "rst_12"}, 12},
		{"?offset=500", []string{}, 12},
		{"?cuisine=Italian", []string{"rst_01"}, 1},
		{"?cuisine=italian&q=sushi", []string{}, 0},
		{"?q=sakura", []string{"rst_03"}, 1},
		{"?q=HAFENKUCHE", []string{"rst_02"}, 1},
		{"?q=pho+bo", []string{"rst_07"}, 1},
		{"?q=pho+pizza", []string{}, 0},
		{"?q=burger", []string{"rst_06"}, 1},
		{"?q=no+such+dish", []string{}, 0},
		{"?q=%20", menuapi.Restaurants, 12},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			var list menuapi.List
			f.get("/v1/restaurants"+tt.query, &list)
			got := []string{}
			for _, r := range list.Restaurants {
				got = append(got, r.ID)
				if !r.Open {
					t.Errorf("%s is closed", r.ID)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" || list.Total != tt.total {
				t.Errorf("total %d, want %d (-want +got):\n%s", list.Total, tt.total, diff)
			}
		})
	}
}

func TestSearchRanksNamesFirst(t *testing.T) {
	f := setUp(t, nil)
	var list menuapi.List
	f.get("/v1/restaurants?q=garden", &list)
	if list.Total < 1 || list.Restaurants[0].ID != "rst_07" {
		t.Errorf("got %+v, want Saigon Garden first", list)
	}
}

func TestPagesFollowEachOther(t *testing.T) {
	f := setUp(t, nil)
	var got []string
	for next := "/v1/restaurants?limit=5&q=a"; next != ""; {
		var list menuapi.List
		f.get(next, &list)
		for _, r := range list.Restaurants {
			got = append(got, r.ID)
		}
		next = list.Next
		if len(got) > 12 {
			t.Fatalf("no end: %v", got)
		}
	}
	var all menuapi.List
	f.get("/v1/restaurants?limit=100&q=a", &all)
	if len(got) != all.Total || all.Total < 6 {
		t.Errorf("%d on the pages, %d in all", len(got), all.Total)
	}
}

func TestRefusals(t *testing.T) {
	f := setUp(t, nil)
	item := "/v1/restaurants/rst_01/items/itm_0101"
	tests := []struct {
		name         string
		as           web.Identity
		method, path string
		body         string
		want         problem.Type
	}{
		{"limit zero", web.Identity{}, "GET", "/v1/restaurants?limit=0", "", problem.InvalidRequest},
		{"limit too large", web.Identity{}, "GET", "/v1/restaurants?limit=101", "", problem.InvalidRequest},
		{"limit no number", web.Identity{}, "GET", "/v1/restaurants?limit=ten", "", problem.InvalidRequest},
		{"offset negative", web.Identity{}, "GET", "/v1/restaurants?offset=-1", "", problem.InvalidRequest},
		{"query too long", web.Identity{}, "GET", "/v1/restaurants?q=" + strings.Repeat("x", 101), "", problem.InvalidRequest},
		{"unknown restaurant", web.Identity{}, "GET", "/v1/restaurants/rst_99", "", problem.NotFound},
		{"unknown menu", web.Identity{}, "GET", "/v1/restaurants/rst_99/menu", "", problem.NotFound},
		{"nobody changes", web.Identity{}, "PATCH", item, `{"available":false}`, problem.Forbidden},
		{"a customer changes", web.Identity{Subject: "usr_1", Role: web.RoleCustomer}, "PATCH", item, `{"available":false}`, problem.Forbidden},
		{"another kitchen changes", web.Identity{Subject: "usr_2", Role: web.RoleKitchen, Restaurant: "rst_02"}, "PATCH", item, `{"available":false}`, problem.Forbidden},
		{"no change", nino, "PATCH", item, `{}`, problem.InvalidRequest},
		{"unknown field", nino, "PATCH", item, `{"name":"x"}`, problem.InvalidRequest},
		{"price zero", nino, "PATCH", item, `{"price":0}`, problem.InvalidRequest},
		{"price negative", nino, "PATCH", item, `{"price":-5}`, problem.InvalidRequest},
		{"price huge", nino, "PATCH", item, `{"price":1000001}`, problem.InvalidRequest},
		{"price a fraction", nino, "PATCH", item, `{"price":9.99}`, problem.InvalidRequest},
		{"price a string", nino, "PATCH", item, `{"price":"9"}`, problem.InvalidRequest},
		{"not JSON", nino, "PATCH", item, `price=9`, problem.MalformedJSON},
		{"unknown item", nino, "PATCH", "/v1/restaurants/rst_01/items/itm_9999", `{"price":900}`, problem.NotFound},
		{"item of another", nino, "PATCH", "/v1/restaurants/rst_01/items/itm_0201", `{"price":900}`, problem.NotFound},
		{"restaurant unknown to an operator", operator, "PATCH", "/v1/restaurants/rst_99/items/itm_0101", `{"price":900}`, problem.NotFound},
		{"lookup of nothing", web.Identity{}, "POST", menuapi.MenuServiceLookupMenuProcedure, `{}`, problem.InvalidRequest},
		{"lookup of an unknown restaurant", web.Identity{}, "POST", menuapi.MenuServiceLookupMenuProcedure, `{"restaurant_id":"rst_99"}`, problem.NotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := f.do(tt.as, tt.method, tt.path, tt.body)
			if w.Code/100 == 2 {
				t.Fatalf("answered %d", w.Code)
			}
			if err := problem.Read(w.Result()); problem.Of(err) != tt.want {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
	for _, e := range f.fakes.Publisher.Types() {
		if e != menuapi.MenuPublished {
			t.Errorf("%s was published", e)
		}
	}
}

func TestETags(t *testing.T) {
	f := setUp(t, nil)
	for _, path := range []string{"/v1/restaurants", "/v1/restaurants/rst_01", "/v1/restaurants/rst_01/menu"} {
		first := f.do(web.Identity{}, "GET", path, "")
		tag := first.Header().Get("ETag")
		if tag == "" || first.Header().Get("Cache-Control") == "" {
			t.Fatalf("%s: headers %v", path, first.Header())
		}
		for _, header := range []string{tag, "W/" + tag, `"x", ` + tag, "*"} {
			if w := f.do(web.Identity{}, "GET", path, "", "If-None-Match", header); w.Code != http.StatusNotModified || w.Body.Len() > 0 {
				t.Errorf("%s with %s: %d", path, header, w.Code)
			}
		}
		if w := f.do(web.Identity{}, "GET", path, "", "If-None-Match", `"x"`); w.Code != http.StatusOK {
			t.Errorf("%s with another tag: %d", path, w.Code)
		}
	}
	before := f.do(web.Identity{}, "GET", "/v1/restaurants/rst_01/menu", "").Header().Get("ETag")
	f.do(nino, "PATCH", "/v1/restaurants/rst_01/items/itm_0101", `{"available":false}`)
	if w := f.do(web.Identity{}, "GET", "/v1/restaurants/rst_01/menu", "", "If-None-Match", before); w.Code != http.StatusOK {
		t.Errorf("after a change: %d", w.Code)
	}
}

func TestPatch(t *testing.T) {
	f := setUp(t, nil)
	published := len(menuapi.Restaurants)
	runtest.Eventually(t, "the seed is published", func() bool { return len(f.fakes.Publisher.Sent()) == published })
	steps := []struct {
		as     web.Identity
		body   string
		want   *menuapi.ItemChanged
		events int // in all
	}{
		{nino, `{"available":false}`, &menuapi.ItemChanged{RestaurantId: "rst_01", ItemId: "itm_0101", Price: 950}, 1},
		{nino, `{"available":false}`, &menuapi.ItemChanged{RestaurantId: "rst_01", ItemId: "itm_0101", Price: 950}, 1},
		{operator, `{"price":999}`, &menuapi.ItemChanged{RestaurantId: "rst_01", ItemId: "itm_0101", Price: 999}, 2},
		{nino, `{"price":1001,"available":true}`, &menuapi.ItemChanged{RestaurantId: "rst_01", ItemId: "itm_0101", Price: 1001, Available: true}, 3},
	}
	for _, step := range steps {
		w := f.do(step.as, "PATCH", "/v1/restaurants/rst_01/items/itm_0101", step.body)
		var answer menuapi.Item
		if err := json.Unmarshal(w.Body.Bytes(), &answer); w.Code != http.StatusOK || err != nil {
			t.Fatalf("%s: %d %s", step.body, w.Code, w.Body)
		}
		if read := f.item("itm_0101"); !cmp.Equal(read, answer) || read.Price != step.want.Price || read.Available != step.want.Available {
			t.Errorf("%s: answered %+v, read %+v", step.body, answer, read)
		}
		runtest.Eventually(t, "the event is published", func() bool { return len(f.fakes.Publisher.Sent()) >= published+step.events })
		sent := f.fakes.Publisher.Sent()
		if got := len(sent) - published; got != step.events {
			t.Errorf("%s: %d events, want %d", step.body, got, step.events)
		}
		last := sent[len(sent)-1]
		var got menuapi.ItemChanged
		if err := menuapi.Events.Into(last.Event, &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(step.want, &got, protocmp.Transform()); diff != "" || last.Topic != "fooddelivery.menu" || last.Event.Subject != "rst_01" || last.Event.Name() != menuapi.MenuItemChanged {
			t.Errorf("event %+v on %s (-want +got):\n%s", last.Event, last.Topic, diff)
		}
	}
}

func TestParallelPatchesAllCount(t *testing.T) {
	f := setUp(t, nil)
	var wg sync.WaitGroup
	for n := range 20 {
		wg.Go(func() {
			id := fmt.Sprintf("itm_01%02d", n%10+1)
			body := fmt.Sprintf(`{"price":%d}`, 5000+n%10)
			if w := f.do(nino, "PATCH", "/v1/restaurants/rst_01/items/"+id, body); w.Code != http.StatusOK {
				t.Errorf("%s: %d %s", id, w.Code, w.Body)
			}
		})
	}
	wg.Wait()
	for n := range 10 {
		if got := f.item(fmt.Sprintf("itm_01%02d", n+1)).Price; got != int64(5000+n) {
			t.Errorf("item %d costs %d", n+1, got)
		}
	}
}

func TestSeedIsPublishedOnce(t *testing.T) {
	first := setUp(t, nil)
	first.do(nino, "PATCH", "/v1/restaurants/rst_01/items/itm_0101", `{"price":1234}`)
	runtest.Eventually(t, "all is published", func() bool { return len(first.fakes.Publisher.Sent()) == len(menuapi.Restaurants)+1 })

	second := setUp(t, first.fakes.Store)
	if got := second.item("itm_0101").Price; got != 1234 {
		t.Errorf("after a restart it costs %d", got)
	}
	if got := second.fakes.Publisher.Types(); len(got) > 0 {
		t.Errorf("a restart published %v", got)
	}
	// The two are replicas now: a change of one is read by the other.
	second.do(operator, "PATCH", "/v1/restaurants/rst_01/items/itm_0101", `{"price":4321}`)
	runtest.Eventually(t, "the other replica has the new price", func() bool { return first.item("itm_0101").Price == 4321 })
}

func TestAnOldReadDoesNotUndoAChange(t *testing.T) {
	f := setUp(t, nil)
	old, version, err := f.store.Load(t.Context(), "rst_01")
	if err != nil {
		t.Fatal(err)
	}
	f.do(nino, "PATCH", "/v1/restaurants/rst_01/items/itm_0101", `{"price":1234}`)
	if err := f.catalogue.put(old, version); err != nil {
		t.Fatal(err)
	}
	if got := f.item("itm_0101").Price; got != 1234 {
		t.Errorf("it costs %d", got)
	}
}

func TestHistoryGivesTheState(t *testing.T) {
	f := setUp(t, nil)
	f.do(nino, "PATCH", "/v1/restaurants/rst_01/items/itm_0101", `{"price":1234}`)
	f.do(nino, "PATCH", "/v1/restaurants/rst_01/items/itm_0102", `{"available":false}`)
	state, version, err := f.store.Load(t.Context(), "rst_01")
	if err != nil {
		t.Fatal(err)
	}
	rebuilt, err := f.store.At(t.Context(), "rst_01", version)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(state, rebuilt); diff != "" || version != 3 {
		t.Errorf("version %d (-state +rebuilt):\n%s", version, diff)
	}
}

func TestLookup(t *testing.T) {
	f := setUp(t, nil)
	client := menuapi.NewClient(sidecartest.Mesh{menuapi.App: f.handler})
	got, err := client.Lookup(t.Context(), "rst_01", "itm_0102", "itm_0201", "itm_0101")
	if err != nil {
		t.Fatal(err)
	}
	if got.Restaurant.ID != "rst_01" || len(got.Items) != 2 || got.Items[0].ID != "itm_0101" || got.Currency != "EUR" {
		t.Errorf("got %+v", got)
	}
	whole, err := client.Lookup(t.Context(), "rst_01")
	if err != nil || len(whole.Items) != 11 {
		t.Errorf("%d items, error %v", len(whole.Items), err)
	}
}

func TestUnreadMenusAreUnavailable(t *testing.T) {
	deps, _ := runtest.New(t, "menu")
	s, err := New(deps, Config{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, handler: runtest.Router(deps, s)}
	for _, path := range []string{"/v1/restaurants", "/v1/restaurants/rst_01/menu"} {
		w := f.do(web.Identity{}, "GET", path, "")
		if err := problem.Read(w.Result()); problem.Of(err) != problem.Unavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func BenchmarkMenu(b *testing.B) {
	f := setUp(b, nil)
	b.ReportAllocs()
	for b.Loop() {
		if w := f.do(web.Identity{}, "GET", "/v1/restaurants/rst_01/menu", ""); w.Code != http.StatusOK {
			b.Fatal(w.Code)
		}
	}
}
