package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// refuses wants a request to be refused as a documented problem of a type, with all the faulty fields named.
func refuses(t *testing.T, p person, r request, want problem.Type, fields ...string) answer {
	t.Helper()
	a := p.send(t, r)
	checkProblem(t, p.site, a, r.path, want, fields...)
	return a
}

// documented remembers the types whose page was looked at.
var documented = map[string]bool{}

func checkProblem(t *testing.T, s *site, a answer, path string, want problem.Type, fields ...string) {
	t.Helper()
	if a.status != want.Status() {
		t.Fatalf("want status %d and %s, got %s", want.Status(), want, a)
	}
	if got := a.header.Get("Content-Type"); got != problem.ContentType {
		t.Errorf("Content-Type: want %s, got %s", problem.ContentType, got)
	}
	if got := a.header.Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("X-Content-Type-Options: want nosniff, got %q", got)
	}
	var doc problem.Document
	if err := json.Unmarshal(a.body, &doc); err != nil {
		t.Fatalf("%v: %s", err, a)
	}
	if doc.Type != want.URI() || doc.Status != a.status || doc.Title == "" || doc.TraceID == "" {
		t.Errorf("want type %s, status %d, a title and a trace id, got %s", want.URI(), a.status, a)
	}
	if where, _, _ := strings.Cut(path, "?"); doc.Instance != where {
		t.Errorf("instance: want %s, got %s", where, doc.Instance)
	}
	got := []string{}
	for _, f := range doc.Errors {
		got = append(got, f.Name)
		if f.Reason == "" {
			t.Errorf("the fault of %s has no reason", f.Name)
		}
	}
	slices.Sort(got)
	slices.Sort(fields)
	if diff := cmp.Diff(append([]string{}, fields...), got); diff != "" {
		t.Errorf("faulty fields (-want +got):\n%s%s", diff, a)
	}
	if documented[doc.Type] {
		return
	}
	documented[doc.Type] = true
	var page struct {
		Type    string `json:"type"`
		Status  int    `json:"status"`
		Meaning string `json:"meaning"`
	}
	s.nobody().get(t, doc.Type, &page)
	if page.Type != doc.Type || page.Status != a.status || page.Meaning == "" {
		t.Errorf("%s is documented as %+v", doc.Type, page)
	}
}

// Bad form: what is refused whatever the state of the platform.
func TestBadForm(t *testing.T) {
	s := shared.use(t)
	eve, mallory := s.customer(t), s.customer(t)
	kitchen, courier := s.staff(t, "kitchen", nil), s.staff(t, "courier", nil)
	m := s.meal(t, 0)
	good := func() pricingapi.QuoteRequest { return m.basket(1) }
	quote := func(change func(*pricingapi.QuoteRequest)) request {
		in := good()
		change(&in)
		return request{method: "POST", path: "/v1/quotes", body: in}
	}
	raw := func(body string) request { return request{method: "POST", path: "/v1/quotes", body: body} }
	text := encode(t, good())
	place := func(header map[string]string, body any) request {
		return request{method: "POST", path: "/v1/orders", header: header, body: body}
	}
	key := func(k string) map[string]string { return map[string]string{"Idempotency-Key": k} }
	anOrder := orderapi.PlaceRequest{Quote: "not.a.quote", Card: "card_ok"}
	id := "ord_" + strings.Repeat("0", 26)

	tests := []struct {
		name   string
		as     person
		r      request
		want   problem.Type
		fields []string
	}{
		{"unknown field", eve, raw(strings.Replace(text, "{", `{"tip":5,`, 1)), problem.InvalidRequest, []string{"tip"}},
		{"wrong type", eve, raw(strings.Replace(text, `"quantity":1`, `"quantity":"one"`, 1)), problem.InvalidRequest, []string{"items.quantity"}},
		{"fraction", eve, raw(strings.Replace(text, `"quantity":1`, `"quantity":1.5`, 1)), problem.InvalidRequest, []string{"items.quantity"}},
		{"too large", eve, raw(`{"restaurant_id":"` + strings.Repeat("x", 65<<10) + `"}`), problem.TooLarge, nil},
		{"not JSON", eve, raw("restaurant_id=rst_1"), problem.MalformedJSON, nil},
		{"half JSON", eve, raw(text[:len(text)/2]), problem.MalformedJSON, nil},
		{"two values", eve, raw(text + text), problem.MalformedJSON, nil},
		{"an array", eve, raw("[" + text + "]"), problem.MalformedJSON, nil},
		{"empty body", eve, raw(""), problem.MalformedJSON, nil},
		{"a body where none is", courier, request{method: "POST", path: "/v1/deliveries/" + id + "/accept", body: `{"x":1}`}, problem.MalformedJSON, nil},
		{"content type", eve, request{method: "POST", path: "/v1/quotes", body: text, header: map[string]string{"Content-Type": "text/plain"}}, problem.UnsupportedMedia, nil},
		{"everything is missing", eve, raw("{}"), problem.InvalidRequest, []string{"restaurant_id", "items", "dropoff"}},
		{"several faults", eve, quote(func(q *pricingapi.QuoteRequest) {
			north := 91.0
			q.Items[0].Quantity, q.Dropoff.Lat, q.Promotion = -1, &north, strings.Repeat("P", 33)
		}), problem.InvalidRequest, []string{"items[0].quantity", "dropoff.lat", "promotion"}},
		{"negative quantity", eve, quote(func(q *pricingapi.QuoteRequest) { q.Items[0].Quantity = -3 }), problem.InvalidRequest, []string{"items[0].quantity"}},
		{"huge quantity", eve, quote(func(q *pricingapi.QuoteRequest) { q.Items[0].Quantity = 1_000_000 }), problem.InvalidRequest, []string{"items[0].quantity"}},
		{"absurd quantity", eve, raw(strings.Replace(text, `"quantity":1`, `"quantity":99999999999999999999`, 1)), problem.InvalidRequest, []string{"items.quantity"}},

		{"no token", s.nobody(), raw(text), problem.Unauthenticated, nil},
		{"no bearer token", s.nobody(), request{method: "GET", path: "/v1/users/me", header: map[string]string{"Authorization": "Basic ZXZlOmV2ZQ=="}}, problem.Unauthenticated, nil},
		{"token of a courier", courier, raw(text), problem.Forbidden, nil},
		{"token of a kitchen", kitchen, place(key("key-12345"), anOrder), problem.Forbidden, nil},
		{"token of a customer", eve, request{method: "GET", path: "/v1/payments/" + id}, problem.Forbidden, nil},
		{"claimed role", eve, request{method: "GET", path: "/v1/analytics/summary", header: map[string]string{"Dishmesh-Role": "operator"}}, problem.Forbidden, nil},

		{"unknown restaurant", eve, quote(func(q *pricingapi.QuoteRequest) { q.RestaurantID = "rst_none" }), problem.NotFound, nil},
		{"unknown item", eve, quote(func(q *pricingapi.QuoteRequest) { q.Items[0].ItemID = "itm_none" }), problem.UnknownItem, []string{"items[0].item_id"}},
		{"unknown option", eve, quote(func(q *pricingapi.QuoteRequest) { q.Items[0].Options = []string{"opt_none"} }), problem.UnknownItem, []string{"items[0].options"}},
		{"too far away", eve, quote(func(q *pricingapi.QuoteRequest) { *q.Dropoff.Lat += 2 }), problem.OutOfRange, nil},
		{"unknown promotion", eve, quote(func(q *pricingapi.QuoteRequest) { q.Promotion = "NOSUCH" }), problem.PromotionInvalid, nil},
		{"promotion that ended", eve, quote(func(q *pricingapi.QuoteRequest) { q.Promotion = "EXPIRED" }), problem.PromotionInvalid, nil},

		{"no idempotency key", eve, place(nil, anOrder), problem.MissingKey, nil},
		{"short idempotency key", eve, place(key("k"), anOrder), problem.MissingKey, nil},
		{"malformed idempotency key", eve, place(key("with some spaces"), anOrder), problem.MissingKey, nil},
		{"no quote", eve, place(key("key-12345"), orderapi.PlaceRequest{}), problem.InvalidRequest, []string{"quote", "card"}},
		{"quote that is none", eve, place(key("key-12345"), anOrder), problem.QuoteInvalid, nil},
		{"altered quote", eve, place(key("key-12345"), orderapi.PlaceRequest{Quote: altered(eve.quote(t, good()).Token), Card: "card_ok"}), problem.QuoteInvalid, nil},
		{"quote of another customer", eve, place(key("key-12345"), orderapi.PlaceRequest{Quote: mallory.quote(t, good()).Token, Card: "card_ok"}), problem.QuoteNotYours, nil},

		{"unknown order", eve, request{method: "GET", path: "/v1/orders/" + id}, problem.NotFound, nil},
		{"no id", eve, request{method: "GET", path: "/v1/orders/" + "%2e%2e%2fusers"}, problem.NotFound, nil},
		{"unknown path", eve, request{method: "GET", path: "/v1/nothing"}, problem.NotFound, nil},
		{"internal path", eve, request{method: "POST", path: "/internal/quotes/confirm", body: "{}"}, problem.NotFound, nil},
		{"typed call", eve, request{method: "POST", path: "/dishmesh.pricing.v1.PricingService/ConfirmQuote", body: "{}"}, problem.NotFound, nil},
		{"wrong query", eve, request{method: "GET", path: "/v1/restaurants?limit=many&offset=-1"}, problem.InvalidRequest, []string{"limit", "offset"}},
		{"wrong query of orders", eve, request{method: "GET", path: "/v1/orders?limit=0"}, problem.InvalidRequest, []string{"limit"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { refuses(t, tt.as, tt.r, tt.want, tt.fields...) })
	}
	t.Run("wrong method", func(t *testing.T) {
		a := refuses(t, eve, request{method: "DELETE", path: "/v1/orders"}, problem.MethodNotAllowed)
		if got := a.header.Get("Allow"); got != "GET, POST" {
			t.Errorf("Allow: want GET, POST, got %q", got)
		}
	})
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// altered changes a token's payload in one place and leaves the rest.
func altered(token string) string {
	i := strings.IndexByte(token, '.') + 40
	c := byte('A')
	if token[i] == c {
		c = 'B'
	}
	return token[:i] + string(c) + token[i+1:]
}

// Bad timing: what is refused because of what has happened before, and changes nothing.
func TestBadTiming(t *testing.T) {
	s := shared.use(t)
	eve, mallory, operator := s.customer(t), s.customer(t), s.operator(t)
	m := s.meal(t, 0)
	kitchen := s.kitchen(t, m.restaurant.ID)
	strangers := s.staff(t, "kitchen", func(a account) bool { return a.RestaurantID != m.restaurant.ID })

	open := eve.order(t, m, "city:kitchen=ignore") // this kitchen is ours
	rejected := eve.ended(t, eve.order(t, m, "city:kitchen=reject").ID, orderapi.Rejected)
	delivered := eve.ended(t, eve.order(t, m, "").ID, orderapi.Delivered)

	t.Run("kitchen accepts twice", func(t *testing.T) {
		path := "/v1/tickets/" + open.ID + "/accept"
		accept := request{method: "POST", path: path, body: restaurantapi.AcceptRequest{PrepMinutes: 10}}
		refuses(t, kitchen, request{method: "POST", path: path, body: restaurantapi.AcceptRequest{PrepMinutes: 999}}, problem.InvalidRequest, "prep_minutes")
		eventually(t, endsWithin, "the ticket is open", func() error {
			var list restaurantapi.TicketList
			kitchen.get(t, "/v1/restaurants/"+m.restaurant.ID+"/tickets?state=open", &list)
			if !slices.ContainsFunc(list.Tickets, func(k restaurantapi.Ticket) bool { return k.OrderID == open.ID }) {
				return fmt.Errorf("%d others are", len(list.Tickets))
			}
			return nil
		})
		refuses(t, strangers, accept, problem.NotFound)
		kitchen.must(t, http.StatusOK, accept, nil)
		refuses(t, kitchen, accept, problem.IllegalState)
		refuses(t, kitchen, request{method: "POST", path: "/v1/tickets/" + open.ID + "/reject", body: restaurantapi.RejectRequest{Reason: "no"}}, problem.IllegalState)
		kitchen.must(t, http.StatusOK, request{method: "POST", path: "/v1/tickets/" + open.ID + "/ready"}, nil)
		checkMoney(t, operator, open.ID, eve.ended(t, open.ID, orderapi.Delivered).Total, taken)
	})
	t.Run("illegal state change", func(t *testing.T) {
		refuses(t, kitchen, request{method: "POST", path: "/v1/tickets/" + rejected.ID + "/ready"}, problem.IllegalState)
		refuses(t, kitchen, request{method: "POST", path: "/v1/tickets/" + delivered.ID + "/ready"}, problem.IllegalState)
	})
	t.Run("courier", func(t *testing.T) {
		courier, other := s.couriers(t, delivered.CourierID)
		act := func(what string) request {
			return request{method: "POST", path: "/v1/deliveries/" + delivered.ID + "/" + what}
		}
		refuses(t, other, act("accept"), problem.OfferLost)
		refuses(t, other, act("pickup"), problem.NotFound)
		refuses(t, courier, act("pickup"), problem.IllegalState)
		refuses(t, other, request{method: "POST", path: "/v1/deliveries/" + rejected.ID + "/accept"}, problem.NotFound)
		courier.must(t, http.StatusOK, act("deliver"), nil) // said before: harmless
	})
	t.Run("cancel too late", func(t *testing.T) {
		for _, id := range []string{delivered.ID, rejected.ID} {
			refuses(t, eve, request{method: "POST", path: "/v1/orders/" + id + "/cancel"}, problem.TooLate)
		}
	})
	t.Run("somebody else's order", func(t *testing.T) {
		for _, r := range []request{
			{method: "GET", path: "/v1/orders/" + delivered.ID},
			{method: "GET", path: "/v1/orders/" + delivered.ID + "/events"},
			{method: "GET", path: "/v1/orders/" + delivered.ID + "/live"},
			{method: "GET", path: "/v1/deliveries/" + delivered.ID},
			{method: "POST", path: "/v1/orders/" + delivered.ID + "/cancel"},
		} {
			refuses(t, mallory, r, problem.NotFound)
		}
		refuses(t, strangers, request{method: "GET", path: "/v1/orders/" + delivered.ID}, problem.NotFound)
		refuses(t, strangers, request{method: "GET", path: "/v1/restaurants/" + m.restaurant.ID + "/tickets"}, problem.Forbidden)
	})
	t.Run("reused idempotency key", func(t *testing.T) {
		key, q := ids.New("key"), eve.quote(t, m.basket(1))
		r := placing(key, orderapi.PlaceRequest{Quote: q.Token, Card: "card_ok"})
		first := eve.must(t, http.StatusCreated, r, nil)
		again := eve.must(t, http.StatusCreated, r, nil)
		if diff := cmp.Diff(string(first.body), string(again.body)); diff != "" {
			t.Errorf("the repeat got another answer (-first +again):\n%s", diff)
		}
		for _, name := range []string{"Location", "ETag"} {
			if f, a := first.header.Get(name), again.header.Get(name); f != a || f == "" {
				t.Errorf("%s: first %q, then %q", name, f, a)
			}
		}
		refuses(t, eve, placing(key, orderapi.PlaceRequest{Quote: q.Token, Card: "card_declined"}), problem.ReusedKey)
		refuses(t, eve, placing(key, orderapi.PlaceRequest{Quote: q.Token, Card: "card_ok", Note: "x"}), problem.ReusedKey)
		var o orderapi.Order
		if err := json.Unmarshal(first.body, &o); err != nil {
			t.Fatal(err)
		}
		checkMoney(t, operator, o.ID, eve.ended(t, o.ID, orderapi.Delivered).Total, taken)
		final := eve.must(t, http.StatusCreated, r, nil)
		if diff := cmp.Diff(string(first.body), string(final.body)); diff != "" {
			t.Errorf("the repeat after the end got another answer (-first +final):\n%s", diff)
		}
	})
	t.Run("promotion overused", func(t *testing.T) {
		for _, code := range []string{"WELCOME10", "ONCE"} {
			in := m.basket(1)
			in.Promotion = code
			first, second := eve.quote(t, in), eve.quote(t, in)
			if first.Discount <= 0 || first.Discount != second.Discount {
				t.Errorf("%s: discounts %d and %d", code, first.Discount, second.Discount)
			}
			var o orderapi.Order
			eve.must(t, http.StatusCreated, placing(ids.New("key"), orderapi.PlaceRequest{Quote: first.Token, Card: "card_ok"}), &o)
			refuses(t, eve, placing(ids.New("key"), orderapi.PlaceRequest{Quote: second.Token, Card: "card_ok"}), problem.PromotionExhausted)
			checkMoney(t, operator, o.ID, eve.ended(t, o.ID, orderapi.Delivered).Total, taken)
			refuses(t, eve, request{method: "POST", path: "/v1/quotes", body: in}, problem.PromotionExhausted)
		}
		in := m.basket(1)
		in.Promotion = "ONCE" // once for all customers
		refuses(t, mallory, request{method: "POST", path: "/v1/quotes", body: in}, problem.PromotionExhausted)
	})
	s.auditGreen(t)
}

// couriers logs in the courier who is called id, and another one who is at work.
func (s *site) couriers(t *testing.T, id string) (courier, other person) {
	t.Helper()
	s.staff(t, "courier", func(a account) bool {
		p := s.login(t, a.Email, a.Password)
		if p.user.ID == id {
			courier = p
			return other.token != ""
		}
		var view deliveryapi.CourierView
		if p.get(t, "/v1/couriers/me", &view); view.Courier.Online && view.Courier.OrderID == "" {
			other = p
		}
		return courier.token != "" && other.token != ""
	})
	return courier, other
}

// A dish that is sold out, or has become dearer, is not sold on an old quote.
func TestSoldOutAndDearer(t *testing.T) {
	s := shared.use(t)
	eve := s.customer(t)
	m := s.meal(t, 1)
	kitchen := s.kitchen(t, m.restaurant.ID)
	strangers := s.staff(t, "kitchen", func(a account) bool { return a.RestaurantID != m.restaurant.ID })
	patch := func(body string) request {
		return request{method: "PATCH", path: "/v1/restaurants/" + m.restaurant.ID + "/items/" + m.dish.ID, body: body}
	}
	before := eve.quote(t, m.basket(1))
	ask := request{method: "POST", path: "/v1/quotes", body: m.basket(1)}
	place := placing(ids.New("key"), orderapi.PlaceRequest{Quote: before.Token, Card: "card_ok"})

	refuses(t, strangers, patch(`{"available":false}`), problem.Forbidden)
	refuses(t, eve, patch(`{"available":false}`), problem.Forbidden)
	refuses(t, kitchen, patch(`{"price":-1}`), problem.InvalidRequest, "price")

	until := func(what string, body string, status int) {
		t.Helper()
		kitchen.must(t, http.StatusOK, patch(body), nil)
		eventually(t, endsWithin, "pricing knows that the dish is "+what, func() error {
			var q pricingapi.Quote
			a := eve.send(t, ask)
			if a.status == http.StatusCreated {
				if err := json.Unmarshal(a.body, &q); err != nil {
					return err
				}
			}
			if a.status != status || status == http.StatusCreated && strings.Contains(body, "price") && q.Subtotal == before.Subtotal {
				return fmt.Errorf("%s", a)
			}
			return nil
		})
	}
	until("sold out", `{"available":false}`, http.StatusConflict)
	refuses(t, eve, ask, problem.ItemUnavailable, "items[0].item_id")
	refuses(t, eve, place, problem.ItemUnavailable, "items[0]")
	until("to be had", `{"available":true}`, http.StatusCreated)

	until("dearer", fmt.Sprintf(`{"price":%d}`, m.dish.Price+100), http.StatusCreated)
	refuses(t, eve, place, problem.PriceChanged, "items[0].unit_price")
	kitchen.must(t, http.StatusOK, patch(fmt.Sprintf(`{"price":%d}`, m.dish.Price)), nil)
	eventually(t, endsWithin, "the old quote holds again", func() error {
		if a := eve.send(t, place); a.status != http.StatusCreated {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
	s.auditGreen(t)
}
