package pricing

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/dishmesh/dishmesh/services/internal/geo"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/rpc"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

var (
	noon    = time.Date(2026, 11, 23, 11, 0, 0, 0, time.UTC) // a Monday, 12:00 in Berlin
	kitchen = geo.Point{Lat: 53.9, Lon: 9.9}
	nearby  = geo.Point{Lat: 53.909, Lon: 9.9} // 1001 m to the north
)

// clock stands still until a test moves it.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// menuService answers lookups from a map.
type menuService struct {
	mu      sync.Mutex
	menus   map[string]menuapi.Menu
	lookups int
	during  func() // called within a lookup, after its answer was made
	away    bool
	hangs   bool // answers nothing until the caller gives up
}

// LookupMenu implements menuapi.MenuServiceHandler.
func (m *menuService) LookupMenu(ctx context.Context, r *connect.Request[menuapi.LookupMenuRequest]) (*connect.Response[menuapi.LookupMenuResponse], error) {
	m.mu.Lock()
	m.lookups++
	menu, ok := m.menus[r.Msg.GetRestaurantId()]
	away, hangs, during := m.away, m.hangs, m.during
	answer := menuapi.NewLookupMenuResponse(menu)
	m.mu.Unlock()
	if during != nil {
		during()
	}
	if hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	switch {
	case away:
		return nil, problem.New(problem.Unavailable, "")
	case !ok:
		return nil, problem.New(problem.NotFound, "no such restaurant")
	}
	return connect.NewResponse(answer), nil
}

func (m *menuService) change(restaurantID string, i int, f func(*menuapi.Item)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.menus[restaurantID].Items[i])
}

func (m *menuService) set(f func(*menuService)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(m)
}

func (m *menuService) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.lookups
}

func testMenu(id string) menuapi.Menu {
	return menuapi.Menu{
		Restaurant: menuapi.Restaurant{ID: id, Name: "Test Kitchen", Address: "Marktplatz 1", Lat: kitchen.Lat, Lon: kitchen.Lon,
			TimeZone: "Europe/Berlin", OpeningHours: []menuapi.Period{{Days: []string{"mon"}, From: "10:00", To: "22:00"}}, DeliveryRadiusM: 5000},
		Currency: "EUR",
		Items: []menuapi.Item{
			{ID: "itm_pizza", Name: "Pizza", Price: 1000, TaxClass: menuapi.TaxFood, Available: true, OptionGroups: []menuapi.OptionGroup{
				{ID: "size", Name: "Size", Min: 1, Max: 1, Options: []menuapi.Option{{ID: "small", Name: "Small"}, {ID: "large", Name: "Large", Price: 350}}},
				{ID: "extras", Name: "Extras", Min: 0, Max: 2, Options: []menuapi.Option{{ID: "ham", Name: "Ham", Price: 150}, {ID: "egg", Name: "Egg", Price: 100}, {ID: "corn", Name: "Corn", Price: 50}}},
			}},
			{ID: "itm_soup", Name: "Soup", Price: 555, TaxClass: menuapi.TaxFood, Available: true},
			{ID: "itm_wine", Name: "Wine", Price: 1995, TaxClass: menuapi.TaxStandard, Available: true},
			{ID: "itm_cake", Name: "Cake", Price: 400, TaxClass: menuapi.TaxFood, Available: false},
			{ID: "itm_gold", Name: "Gold leaf steak", Price: 1_000_000, TaxClass: menuapi.TaxFood, Available: true},
		},
	}
}

// fixture is a pricing service with all that it needs.
type fixture struct {
	*Service
	t       testing.TB
	deps    *run.Deps
	fakes   *runtest.Fakes
	clock   *clock
	menu    *menuService
	handler http.Handler
}

func defaults(t testing.TB) Config {
	var cfg Config
	if err := run.Load(&cfg, func(string) (string, bool) { return "", false }); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func setUp(t testing.TB, configure ...func(*Config)) *fixture {
	t.Helper()
	cfg := defaults(t)
	for _, f := range configure {
		f(&cfg)
	}
	deps, fakes := runtest.New(t, "pricing")
	return setUpOn(t, cfg, deps, fakes, &clock{at: noon})
}

func setUpOn(t testing.TB, cfg Config, deps *run.Deps, fakes *runtest.Fakes, c *clock) *fixture {
	t.Helper()
	f := &fixture{t: t, deps: deps, fakes: fakes, clock: c}
	f.menu = &menuService{menus: map[string]menuapi.Menu{"rst_a": testMenu("rst_a"), "rst_b": testMenu("rst_b")}}
	_, fakes.Mesh["menu"] = menuapi.NewMenuServiceHandler(f.menu, rpc.HandlerOptions())
	var err error
	if f.Service, err = build(deps, cfg, c.now); err != nil {
		t.Fatal(err)
	}
	if err := f.signer.ensure(context.Background()); err != nil {
		t.Fatal(err)
	}
	f.handler = runtest.Router(deps, f.Service)
	return f
}

// post sends body as a customer and decodes the answer into out, or returns the problem.
func (f *fixture) post(path, customer string, body, out any) error {
	text, ok := body.(string)
	if !ok {
		b, err := json.Marshal(body)
		if err != nil {
			f.t.Fatal(err)
		}
		text = string(b)
	}
	r := httptest.NewRequest("POST", path, bytes.NewReader([]byte(text)))
	r.Header.Set("Content-Type", "application/json")
	if customer != "" {
		web.Identity{Subject: customer, Role: web.RoleCustomer}.Set(r.Header)
	}
	w := httptest.NewRecorder()
	f.handler.ServeHTTP(w, r)
	if w.Code/100 != 2 {
		return problem.Read(w.Result())
	}
	return json.Unmarshal(w.Body.Bytes(), out)
}

func (f *fixture) ask(customer string, req pricingapi.QuoteRequest) (q pricingapi.Quote, err error) {
	err = f.post("/v1/quotes", customer, req, &q)
	return q, err
}

func (f *fixture) mustAsk(customer string, req pricingapi.QuoteRequest) pricingapi.Quote {
	f.t.Helper()
	q, err := f.ask(customer, req)
	if err != nil {
		f.t.Fatalf("quote: %v", err)
	}
	return q
}

// client calls the service as other services do.
func (f *fixture) client() pricingapi.Client {
	return pricingapi.NewClient(sidecartest.Mesh{pricingapi.App: f.handler})
}

func (f *fixture) confirmed(token, orderID, customer string) (q pricingapi.Quote, err error) {
	return f.client().Confirm(f.t.Context(), pricingapi.ConfirmRequest{Token: token, OrderID: orderID, CustomerID: customer})
}

func (f *fixture) released(orderID string) bool {
	f.t.Helper()
	res, err := f.client().Release(f.t.Context(), pricingapi.ReleaseRequest{OrderID: orderID})
	if err != nil {
		f.t.Fatalf("release: %v", err)
	}
	return res.Released
}

// soups asks for a number of soups, 5.55 each.
func soups(n int, promotion string) pricingapi.QuoteRequest {
	return pricingapi.QuoteRequest{RestaurantID: "rst_a", Items: []pricingapi.ItemLine{{ItemID: "itm_soup", Quantity: n}},
		Dropoff: pricingapi.DropoffAt(nearby, "Lindenallee 1"), Promotion: promotion}
}

func wantProblem(t testing.TB, err error, want problem.Type) {
	t.Helper()
	if err == nil || problem.Of(err) != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}
