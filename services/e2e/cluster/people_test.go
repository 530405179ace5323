package cluster

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/audit"
	"github.com/dishmesh/dishmesh/services/internal/cluster"
	"github.com/dishmesh/dishmesh/services/internal/communication"
	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/load"
	"github.com/dishmesh/dishmesh/services/internal/platform"
	"github.com/dishmesh/dishmesh/services/internal/probe"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

// person is somebody with an account. Nothing that a person asks is tried again: a failure is seen as one.
type person struct {
	*customer.Customer
	token string // good for 15 minutes
}

// raw makes a request of the public API, through the ingress, with a person's token or, for "", without one.
func (s *site) raw(token, method, path string, body any) probe.Request {
	r := probe.Request{URL: s.url + path, Method: method, Header: map[string]string{}}
	if token != "" {
		r.Header["Authorization"] = "Bearer " + token
	}
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			panic(err) // only what is made here
		}
		r.Body, r.Header["Content-Type"] = string(text), "application/json"
	}
	return r
}

// with adds a header to a request.
func with(r probe.Request, name, value string) probe.Request {
	r.Header = maps.Clone(r.Header)
	if r.Header == nil {
		r.Header = map[string]string{}
	}
	r.Header[name] = value
	return r
}

// register makes a customer.
func (s *site) register(t *T) person {
	t.Helper()
	email, password := ids.New("proof")+"@example.com", ids.New("password")
	in := map[string]string{"email": email, "password": password, "name": "Proof", "role": "customer"}
	if a := s.caller.Do(t.Context(), s.raw("", http.MethodPost, "/v1/users", in)); a.Status != http.StatusCreated {
		t.Fatalf("register: %s", a)
	}
	return s.login(t, email, password)
}

func (s *site) login(t *T, email, password string) person {
	t.Helper()
	p := person{Customer: &customer.Customer{API: publicapi.New(s.url, s.http)}}
	var err error
	if p.User, err = p.API.Login(t.Context(), email, password); err != nil {
		t.Fatalf("log in as %s: %v", email, err)
	}
	p.token = s.newToken(t, email, password)
	return p
}

// newToken logs in and gives the access token.
func (s *site) newToken(t *T, email, password string) string {
	t.Helper()
	var got userapi.Tokens
	err := publicapi.New(s.url, s.http).Do(t.Context(), http.MethodPost, "/v1/tokens", userapi.Credentials{Email: email, Password: password}, &got)
	if err != nil {
		t.Fatalf("log in as %s: %v", email, err)
	}
	return got.AccessToken
}

// staff logs in the first of the accounts that exist from the beginning with a role; of a kitchen, that of a restaurant.
func (s *site) staff(t *T, role, restaurant string) person {
	t.Helper()
	var accounts []platform.Account
	if err := json.Unmarshal([]byte(s.secret(t, communication.CityNamespace, "city", "accounts.json")), &accounts); err != nil {
		t.Fatal(err)
	}
	for _, a := range accounts {
		if a.Role == role && (restaurant == "" || a.RestaurantID == restaurant) {
			return s.login(t, a.Email, a.Password)
		}
	}
	t.Fatalf("no account of a %s %s", role, restaurant)
	return person{}
}

// town reads the restaurants once.
func (s *site) town(t *T) *customer.Town {
	t.Helper()
	town, err := s.visit().Explore(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return town
}

// visit is the site as customers know it who are patient.
func (s *site) visit() customer.Site {
	return customer.Site{URL: s.url, HTTP: s.http, Patience: time.Minute}
}

// outcomes of orders and their exit codes of `dishmesh order`.
const (
	codeDelivered     = 0
	codeRejected      = 10
	codeCancelled     = 11
	codeDeclined      = 12
	codeUndeliverable = 13
)

// order places an order by the command, as people do, and follows it to its end, which must be one of want.
func (s *site) order(t *T, want []int, flags ...string) {
	t.Helper()
	s.dishmesh(t, want, append([]string{"order", "--json", "--timeout", "4m", "--url", s.url}, flags...)...)
}

// load places n orders, so many at once, and follows them to their ends.
func (s *site) load(t *T, n, atOnce int, flags ...string) load.Report {
	t.Helper()
	return s.loadFed(t, nil, n, atOnce, flags...)
}

// crowd places orders at a steady pace, whatever has ended, until somebody has enough, and then follows those under way to their
// ends. It returns when the first ones are acknowledged.
func (s *site) crowd(t *T, perSecond float64, flags ...string) (enough func() load.Report) {
	t.Helper()
	acknowledged := func() int {
		journal, err := os.ReadFile(filepath.Join(customer.Folder(s.clients()), customer.JournalFile))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return bytes.Count(journal, []byte("\n"))
	}
	before := acknowledged()
	in, w := io.Pipe()
	var r load.Report
	var done sync.WaitGroup
	done.Go(func() {
		r = s.loadFed(t, in, 5000, 300, append([]string{"--until-eof", "--rate", fmt.Sprint(perSecond), "--customers", "30"}, flags...)...)
	})
	t.Eventually(time.Minute, "orders come in", func() error {
		if n := acknowledged() - before; n < 5 {
			return fmt.Errorf("%d so far", n)
		}
		return nil
	})
	return func() load.Report {
		_ = w.Close() // of a pipe: there is no error
		done.Wait()
		return r
	}
}

func (s *site) loadFed(t *T, in io.Reader, n, atOnce int, flags ...string) load.Report {
	t.Helper()
	out := s.dishmeshFed(t, commandWithin, in, []int{0, 1}, append([]string{"load", "--json", "--patience", "3m", "--url", s.url, "--orders", strconv.Itoa(n), "--concurrency", strconv.Itoa(atOnce)}, flags...)...)
	var r load.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("load --json: %v: %s", err, clip(out))
	}
	return r
}

// ended wants every order of a load to have come to an end that was to be expected.
func ended(t *T, r load.Report) {
	t.Helper()
	t.Figure("orders placed and ended, per second", fmt.Sprintf("%d, %.1f/s", r.Ended, r.OrdersPerSecond), "")
	t.Figure("from placed to delivered, p50 / p99 / longest", fmt.Sprintf("%.1f / %.1f / %.1f s", r.Delivered.P50/1000, r.Delivered.P99/1000, r.Delivered.Max/1000), "")
	if !r.OK() {
		t.Errorf("of %d orders %d ended, %d are stuck %v, %d refused; unexpected %v; answers %v", r.Orders, r.Ended, r.Stuck, r.StuckOrders, r.Refused, r.Unexpected, r.Errors)
	}
}

// background runs a load until wait is called, which gives its report.
func (s *site) background(t *T, n, atOnce int, flags ...string) (wait func() load.Report) {
	t.Helper()
	var r load.Report
	var done sync.WaitGroup
	done.Go(func() { r = s.load(t, n, atOnce, flags...) })
	return func() load.Report { done.Wait(); return r }
}

// auditGreen waits until orders and what follows from them have ended, and wants every invariant to hold.
func (s *site) auditGreen(t *T) {
	t.Helper()
	start := time.Now()
	out := s.dishmesh(t, []int{0, 1}, "audit", "--json", "--cluster", "--wait", "2m")
	var r audit.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("audit --json: %v: %s", err, clip(out))
	}
	checked, hold := 0, 0
	for _, i := range r.Invariants {
		checked += i.Checked
		if i.OK {
			hold++
		} else {
			t.Errorf("audit, invariant %d (%s): %d violations, such as %s", i.ID, i.Name, len(i.Violations), strings.Join(i.Violations[:min(3, len(i.Violations))], "; "))
		}
	}
	if r.InFlight > 0 || r.Pending > 0 {
		t.Errorf("audit: %d orders are in flight and %d messages on their way", r.InFlight, r.Pending)
	}
	total := 0
	for _, n := range r.Orders {
		total += n
	}
	t.Figure("audit", fmt.Sprintf("%d of %d invariants hold over %d orders (%d things checked)", hold, len(r.Invariants), total, checked), fmt.Sprintf("all, after %.0f s", time.Since(start).Seconds()))
}

// wish is what a placed order is meant to meet with.
type wish struct {
	restaurant        string // "": any
	note, courierNote string
}

// place places an order and writes it into the journal of the audit.
func (s *site) place(t *T, p person, w wish) orderapi.Order {
	t.Helper()
	town, err := s.visit().Explore(t.Context(), w.restaurant)
	if err != nil {
		t.Fatal(err)
	}
	q, err := p.Quote(t.Context(), town.Choose(rand.New(rand.NewPCG(rand.Uint64(), 0))))
	if err != nil {
		t.Fatalf("quote: %v", err)
	}
	o, err := p.Place(t.Context(), ids.New("key"), orderapi.PlaceRequest{Quote: q.Token, Card: customer.CardOK, Note: w.note, CourierNote: w.courierNote})
	if err != nil {
		t.Fatalf("place an order: %v", err)
	}
	s.acknowledged(t, o)
	return o
}

// clients is the folder where `dishmesh` keeps who orders from a cluster, and what; its audit goes by that.
func (s *site) clients() string { return cluster.NewLayout(s.data).Dir }

// acknowledged writes down an order that was promised, for the audit.
func (s *site) acknowledged(t *T, o orderapi.Order) {
	t.Helper()
	journal, err := customer.OpenJournal(s.clients())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(journal.Append(o, time.Now()), journal.Close()); err != nil {
		t.Fatal(err)
	}
}

// reaches waits until an order has one of some states.
func (s *site) reaches(t *T, p person, id string, within time.Duration, want ...orderapi.Status) orderapi.Order {
	t.Helper()
	var o orderapi.Order
	t.Eventually(within, fmt.Sprintf("order %s is %v", id, want), func() (err error) {
		if o, err = p.Order(t.Context(), id); err != nil {
			return err
		}
		if !slices.Contains(want, o.Status) {
			return fmt.Errorf("it is %s", o.Status)
		}
		return nil
	})
	return o
}
