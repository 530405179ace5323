package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// person is an account that is logged in, or nobody.
type person struct {
	site  *site
	token string
	user  userapi.User
}

// request is what a person asks of the public API. Body is sent as it is if it is a string, else as JSON.
type request struct {
	method, path string
	header       map[string]string
	body         any
}

// answer is what comes back.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) String() string { return fmt.Sprintf("status %d, %s", a.status, clip(string(a.body))) }

var httpClient = &http.Client{Timeout: 30 * time.Second}

// send sends a request and fails the test only if nothing comes back.
func (p person) send(t *testing.T, r request) answer {
	t.Helper()
	a, err := p.try(t, r)
	if err != nil {
		t.Fatalf("%s %s: %v", r.method, r.path, err)
	}
	return a
}

func (p person) try(t *testing.T, r request) (answer, error) {
	t.Helper()
	var body []byte
	switch b := r.body.(type) {
	case nil:
	case string:
		body = []byte(b)
	default:
		var err error
		if body, err = json.Marshal(b); err != nil {
			return answer{}, err
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), r.method, p.site.url+r.path, bytes.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
	}
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	resp, err := httpClient.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	a := answer{status: resp.StatusCode, header: resp.Header}
	a.body, err = io.ReadAll(resp.Body)
	return a, err
}

// must sends a request that has to succeed with a status, and decodes the answer into out unless that is nil.
func (p person) must(t *testing.T, status int, r request, out any) answer {
	t.Helper()
	a := p.send(t, r)
	if a.status != status {
		t.Fatalf("%s %s: want status %d, got %s", r.method, r.path, status, a)
	}
	if out != nil {
		if err := json.Unmarshal(a.body, out); err != nil {
			t.Fatalf("%s %s: %v: %s", r.method, r.path, err, a)
		}
	}
	return a
}

func (p person) get(t *testing.T, path string, out any) answer {
	t.Helper()
	return p.must(t, http.StatusOK, request{method: "GET", path: path}, out)
}

// nobody has no token.
func (s *site) nobody() person { return person{site: s} }

// login logs an account in.
func (s *site) login(t *testing.T, email, password string) person {
	t.Helper()
	var tokens userapi.Tokens
	s.nobody().must(t, http.StatusOK, request{method: "POST", path: "/v1/tokens",
		body: userapi.Credentials{Email: email, Password: password}}, &tokens)
	return person{site: s, token: tokens.AccessToken, user: tokens.User}
}

// customer registers a customer.
func (s *site) customer(t *testing.T) person {
	t.Helper()
	in := userapi.Registration{Email: strings.ToLower(ids.New("e2e")) + "@example.com", Password: ids.New("password"), Name: "Eve to End"}
	s.nobody().must(t, http.StatusCreated, request{method: "POST", path: "/v1/users", body: in}, nil)
	return s.login(t, in.Email, in.Password)
}

// account is a line of accounts.json, which up writes for those who run the platform.
type account struct {
	Email        string `json:"email"`
	Password     string `json:"password"`
	Role         string `json:"role"`
	RestaurantID string `json:"restaurant_id"`
}

// staff logs the first account in that is wanted.
func (s *site) staff(t *testing.T, role string, wanted func(account) bool) person {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.data, "accounts.json"))
	if err != nil {
		t.Fatal(err)
	}
	var all []account
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatalf("accounts.json: %v", err)
	}
	i := slices.IndexFunc(all, func(a account) bool { return a.Role == role && (wanted == nil || wanted(a)) })
	if i < 0 {
		t.Fatalf("accounts.json has no such account of role %s", role)
	}
	return s.login(t, all[i].Email, all[i].Password)
}

func (s *site) operator(t *testing.T) person { return s.staff(t, "operator", nil) }

func (s *site) kitchen(t *testing.T, restaurant string) person {
	t.Helper()
	return s.staff(t, "kitchen", func(a account) bool { return a.RestaurantID == restaurant })
}

// meal is a dish of a restaurant that is open, and where to bring it.
type meal struct {
	restaurant menuapi.Restaurant
	dish       menuapi.Item
	menu       menuapi.Menu
}

// meal finds a dish that needs no options, of the n-th restaurant that is open.
func (s *site) meal(t *testing.T, n int) meal {
	t.Helper()
	var list menuapi.List
	s.nobody().get(t, "/v1/restaurants?limit=100", &list)
	open := slices.DeleteFunc(list.Restaurants, func(r menuapi.Restaurant) bool { return !r.Open })
	if len(open) == 0 {
		t.Fatal("no restaurant is open")
	}
	m := meal{restaurant: open[n%len(open)]}
	s.nobody().get(t, "/v1/restaurants/"+m.restaurant.ID+"/menu", &m.menu)
	i := slices.IndexFunc(m.menu.Items, func(it menuapi.Item) bool {
		return it.Available && !slices.ContainsFunc(it.OptionGroups, func(g menuapi.OptionGroup) bool { return g.Min > 0 })
	})
	if i < 0 {
		t.Fatalf("%s has no dish without options", m.restaurant.Name)
	}
	m.dish = m.menu.Items[i]
	return m
}

// basket is a quote's request for some of the dish, brought across the street.
func (m meal) basket(quantity int) pricingapi.QuoteRequest {
	lat, lon := m.restaurant.Lat+0.002, m.restaurant.Lon+0.002
	return pricingapi.QuoteRequest{
		RestaurantID: m.restaurant.ID,
		Items:        []pricingapi.ItemLine{{ItemID: m.dish.ID, Quantity: quantity}},
		Dropoff:      &pricingapi.Dropoff{Lat: &lat, Lon: &lon, Street: "Across the street 1"},
	}
}

func (p person) quote(t *testing.T, in pricingapi.QuoteRequest) pricingapi.Quote {
	t.Helper()
	var q pricingapi.Quote
	p.must(t, http.StatusCreated, request{method: "POST", path: "/v1/quotes", body: in}, &q)
	return q
}

// placing is the request that places an order.
func placing(key string, in orderapi.PlaceRequest) request {
	return request{method: "POST", path: "/v1/orders", header: map[string]string{"Idempotency-Key": key}, body: in}
}

// order places an order of a meal with a note for the kitchen.
func (p person) order(t *testing.T, m meal, note string) orderapi.Order {
	t.Helper()
	var o orderapi.Order
	in := orderapi.PlaceRequest{Quote: p.quote(t, m.basket(1)).Token, Card: "card_ok", Note: note}
	p.must(t, http.StatusCreated, placing(ids.New("key"), in), &o)
	return o
}

// endsWithin is how long an order may take that waits for nobody.
const endsWithin = 2 * time.Minute

// ended waits for the end of an order, which must be as wanted.
func (p person) ended(t *testing.T, id string, want orderapi.Status) orderapi.Order {
	t.Helper()
	var o orderapi.Order
	eventually(t, endsWithin, id+" has ended", func() error {
		p.get(t, "/v1/orders/"+id, &o)
		if !o.Status.Terminal() {
			return fmt.Errorf("it is %s", o.Status)
		}
		return nil
	})
	if o.Status != want {
		t.Fatalf("%s: want %s, got %s (%s, %s)", id, want, o.Status, o.Reason, o.Detail)
	}
	return o
}
