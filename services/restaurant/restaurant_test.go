package restaurant_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/restaurant"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

// clock is a clock that a test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

type world struct {
	t       testing.TB
	clock   *clock
	deps    *run.Deps
	fakes   *runtest.Fakes
	service run.Service
	http    http.Handler
	client  restaurantapi.Client
	broken  atomic.Bool // writes of boards fail
}

// start makes the service, on the store of an earlier world if there is one. It watches deadlines after watch.
func start(t testing.TB, instance string, earlier *sidecartest.Store) *world {
	t.Helper()
	deps, fakes := runtest.New(t, "restaurant")
	if earlier != nil {
		deps.State, fakes.Store, deps.Instance = earlier, earlier, instance
		deps.Outbox = outbox.New(deps.State, deps.Publisher, outbox.Options{Instance: instance, Log: deps.Log})
	}
	var cfg restaurant.Config
	if err := run.Load(&cfg, func(string) (string, bool) { return "", false }); err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, deps: deps, fakes: fakes, clock: &clock{now: time.Date(2026, 3, 6, 12, 0, 0, 0, time.UTC)}} // a Friday
	cfg.Now = w.clock.Now
	if earlier == nil {
		fakes.Store.Fail = w.fail
	}
	var err error
	if w.service, err = restaurant.New(deps, cfg); err != nil {
		t.Fatal(err)
	}
	runtest.Start(t, deps)
	w.http = runtest.Router(deps, w.service)
	w.client = restaurantapi.Client{Invoker: sidecartest.Mesh{"restaurant": w.http}}
	return w
}

func (w *world) fail(ops []sidecar.Op) error {
	for _, op := range ops {
		if w.broken.Load() && strings.HasPrefix(op.Key, "board/") {
			return problem.New(problem.Unavailable, "no")
		}
	}
	return nil
}

func (w *world) watch() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- w.service.(run.Runner).Run(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Errorf("Run: %v", err)
		}
	})
	runtest.Eventually(w.t, "the service is ready", func() bool { return w.service.(run.Readier).Ready() == nil })
}

func (w *world) do(who web.Identity, method, path string, in, out any) error {
	return runtest.Do(w.http, who, method, path, in, out)
}

func kitchen(n int) web.Identity {
	return web.Identity{Subject: fmt.Sprintf("usr_kitchen%d", n), Role: web.RoleKitchen, Restaurant: fmt.Sprintf("rst_%d", n)}
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) open(order string) restaurantapi.OpenResult {
	w.t.Helper()
	got, err := w.client.Open(w.t.Context(), order, restaurantapi.OpenRequest{RestaurantID: "rst_1", CustomerID: "usr_c",
		Items: []restaurantapi.Item{{ItemID: "itm_1", Name: "Soup", Quantity: 2}}, Note: "no salt"})
	w.must(err)
	return got
}

// step is something that is done to ticket ord_1.
func (w *world) step(name string) error {
	w.t.Helper()
	switch name {
	case "open":
		w.open("ord_1")
		return nil
	case "cancel":
		_, err := w.client.Cancel(w.t.Context(), "ord_1", restaurantapi.CancelRequest{Reason: "customer"})
		return err
	case "accept":
		return w.do(kitchen(1), "POST", "/v1/tickets/ord_1/accept", map[string]any{"prep_minutes": 10}, nil)
	case "reject":
		return w.do(kitchen(1), "POST", "/v1/tickets/ord_1/reject", map[string]any{"reason": "no soup"}, nil)
	case "ready":
		return w.do(kitchen(1), "POST", "/v1/tickets/ord_1/ready", nil, nil)
	default:
		w.t.Fatalf("no step %s", name)
		return nil
	}
}

func (w *world) types() []string {
	var got []string
	for _, t := range w.fakes.Publisher.Types() {
		got = append(got, strings.TrimPrefix(t, "restaurant.ticket-"))
	}
	return got
}

func (w *world) listed(state string) []string {
	w.t.Helper()
	var got restaurantapi.TicketList
	w.must(w.do(kitchen(1), "GET", "/v1/restaurants/rst_1/tickets?state="+state, nil, &got))
	orders := []string{}
	for _, t := range got.Tickets {
		orders = append(orders, t.OrderID)
	}
	return orders
}

func wantProblem(t testing.TB, err error, want problem.Type) {
	t.Helper()
	if got := problem.Of(err); err == nil || got != want {
		t.Errorf("got %v (%v), want %s", got, err, want)
	}
}

func TestStates(t *testing.T) {
	tests := []struct {
		steps  string       // the last one is looked at
		want   problem.Type // "": works
		status restaurantapi.Status
		events string
	}{
		{"open", "", restaurantapi.Open, "opened"},
		{"open open", "", restaurantapi.Open, "opened"},
		{"open accept", "", restaurantapi.Accepted, "opened accepted"},
		{"open accept accept", problem.IllegalState, restaurantapi.Accepted, "opened accepted"},
		{"open accept open", "", restaurantapi.Accepted, "opened accepted"},
		{"open accept reject", problem.IllegalState, restaurantapi.Accepted, "opened accepted"},
		{"open accept ready", "", restaurantapi.Ready, "opened accepted ready"},
		{"open accept ready ready", problem.IllegalState, restaurantapi.Ready, "opened accepted ready"},
		{"open accept ready accept", problem.IllegalState, restaurantapi.Ready, "opened accepted ready"},
		{"open ready", problem.IllegalState, restaurantapi.Open, "opened"},
		{"open reject", "", restaurantapi.Rejected, "opened rejected"},
		{"open reject reject", problem.IllegalState, restaurantapi.Rejected, "opened rejected"},
		{"open reject accept", problem.IllegalState, restaurantapi.Rejected, "opened rejected"},
		{"open reject cancel", "", restaurantapi.Rejected, "opened rejected"},
		{"open cancel", "", restaurantapi.Cancelled, "opened cancelled"},
		{"open cancel cancel", "", restaurantapi.Cancelled, "opened cancelled"},
		{"open cancel accept", problem.IllegalState, restaurantapi.Cancelled, "opened cancelled"},
		{"open accept cancel", "", restaurantapi.Cancelled, "opened accepted cancelled"},
		{"open accept ready cancel", "", restaurantapi.Cancelled, "opened accepted ready cancelled"},
		{"open accept cancel ready", problem.IllegalState, restaurantapi.Cancelled, "opened accepted cancelled"},
		{"cancel", "", "", "barred"},
		{"cancel cancel", "", "", "barred"},
		{"cancel open", "", "", "barred"},
		{"cancel open accept", problem.NotFound, "", "barred"},
		{"accept", problem.NotFound, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.steps, func(t *testing.T) {
			w := start(t, "", nil)
			steps := strings.Fields(tt.steps)
			for _, s := range steps[:len(steps)-1] {
				_ = w.step(s) // some are refused on the way, which other cases look at
			}
			err := w.step(steps[len(steps)-1])
			if tt.want == "" {
				w.must(err)
			} else {
				wantProblem(t, err, tt.want)
			}
			ticket, err := w.client.Get(t.Context(), "ord_1")
			if tt.status == "" {
				wantProblem(t, err, problem.NotFound)
			} else if ticket.Status != tt.status {
				t.Errorf("status: got %s, want %s", ticket.Status, tt.status)
			}
			want := strings.Fields(tt.events)
			runtest.Eventually(t, "all events are published", func() bool { return len(w.types()) >= len(want) })
			if diff := cmp.Diff(want, w.types(), cmp.Transformer("empty", func(s []string) string { return strings.Join(s, " ") })); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
			listed := []string{}
			switch tt.status {
			case restaurantapi.Open, restaurantapi.Accepted, restaurantapi.Ready:
				listed = append(listed, "ord_1")
			}
			if diff := cmp.Diff(listed, w.listed("")); diff != "" {
				t.Errorf("list (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOpenAfterCancelIsCancelled(t *testing.T) {
	w := start(t, "", nil)
	w.must(w.step("cancel"))
	want := restaurantapi.OpenResult{Status: restaurantapi.Cancelled, Reason: "customer"}
	if got := w.open("ord_1"); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTicketIsWhatWasOrdered(t *testing.T) {
	w := start(t, "", nil)
	w.open("ord_1")
	w.must(w.step("accept"))
	got, err := w.client.Get(t.Context(), "ord_1")
	w.must(err)
	want := restaurantapi.Ticket{OrderID: "ord_1", RestaurantID: "rst_1", CustomerID: "usr_c", Status: restaurantapi.Accepted,
		Items: []restaurantapi.Item{{ItemID: "itm_1", Name: "Soup", Quantity: 2}}, Note: "no salt", PrepMinutes: 10,
		OpenedAt: got.OpenedAt, AcceptedAt: got.AcceptedAt, Deadline: w.clock.Now().Add(2 * time.Minute)}
	if diff := cmp.Diff(want, got); diff != "" || got.AcceptedAt.IsZero() {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestCapacity(t *testing.T) {
	w := start(t, "", nil)
	var k restaurantapi.Kitchen
	w.must(w.do(kitchen(1), "PUT", "/v1/restaurants/rst_1/capacity", map[string]any{"capacity": 2, "paused": false}, &k))
	if k.Capacity.Capacity != 2 || k.Paused || k.Active != 0 {
		t.Errorf("got %+v", k)
	}
	w.open("ord_1")
	w.must(w.step("accept"))
	w.open("ord_2")
	full := restaurantapi.OpenResult{Status: restaurantapi.Rejected, Reason: restaurantapi.ReasonCapacity}
	for range 2 {
		if got := w.open("ord_3"); got != full {
			t.Errorf("got %+v, want %+v", got, full)
		}
	}
	w.must(w.step("ready")) // makes room
	if got := w.open("ord_4"); got.Status != restaurantapi.Open {
		t.Errorf("got %+v", got)
	}
	if got := w.open("ord_3"); got != full {
		t.Errorf("a refusal is final: got %+v", got)
	}
	w.must(w.do(kitchen(1), "PUT", "/v1/restaurants/rst_1/capacity", map[string]any{"capacity": 9, "paused": true}, nil))
	if got := w.open("ord_5"); got.Reason != restaurantapi.ReasonPaused {
		t.Errorf("paused: got %+v", got)
	}
}

// TestCapacityHoldsUnderRace opens tickets through two replicas at once.
func TestCapacityHoldsUnderRace(t *testing.T) {
	a := start(t, "", nil)
	b := start(t, "other", a.fakes.Store)
	a.must(a.do(kitchen(1), "PUT", "/v1/restaurants/rst_1/capacity", map[string]any{"capacity": 10, "paused": false}, nil))
	var all sync.WaitGroup
	var mu sync.Mutex
	got := map[restaurantapi.Status]int{}
	for i := range 40 {
		all.Go(func() {
			w := []*world{a, b}[i%2]
			in := restaurantapi.OpenRequest{RestaurantID: "rst_1", CustomerID: "usr_c", Items: []restaurantapi.Item{{ItemID: "i", Name: "n", Quantity: 1}}}
			res, err := w.client.Open(t.Context(), fmt.Sprint("ord_", i), in)
			for problem.Of(err) == problem.WriteConflict {
				res, err = w.client.Open(t.Context(), fmt.Sprint("ord_", i), in)
			}
			if err != nil {
				t.Errorf("open: %v", err)
			}
			mu.Lock()
			got[res.Status]++
			mu.Unlock()
		})
	}
	all.Wait()
	want := map[restaurantapi.Status]int{restaurantapi.Open: 10, restaurantapi.Rejected: 30}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if n := len(a.listed("open")); n != 10 {
		t.Errorf("%d tickets are listed", n)
	}
}

func TestOneAnswerOnly(t *testing.T) {
	w := start(t, "", nil)
	w.open("ord_1")
	var all sync.WaitGroup
	var mu sync.Mutex
	worked := 0
	for i := range 20 {
		all.Go(func() {
			err := w.step([]string{"accept", "reject"}[i%2])
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				worked++
			} else if problem.Of(err) != problem.IllegalState {
				t.Errorf("got %v", err)
			}
		})
	}
	all.Wait()
	if worked != 1 {
		t.Errorf("%d answers were taken", worked)
	}
}

func TestDeadline(t *testing.T) {
	w := start(t, "", nil)
	w.watch()
	w.open("ord_1")
	w.open("ord_2")
	w.must(w.step("accept"))
	w.clock.add(3 * time.Minute)
	runtest.Eventually(t, "the late ticket is rejected", func() bool {
		got, err := w.client.Get(t.Context(), "ord_2")
		return err == nil && got.Status == restaurantapi.Rejected && got.Reason == restaurantapi.ReasonTimeout
	})
	if got, _ := w.client.Get(t.Context(), "ord_1"); got.Status != restaurantapi.Accepted {
		t.Errorf("the answered ticket is %s", got.Status)
	}
}

func TestDeadlineAfterARestart(t *testing.T) {
	first := start(t, "", nil)
	first.open("ord_1")
	w := start(t, "other", first.fakes.Store)
	w.clock.add(3 * time.Minute)
	w.watch()
	runtest.Eventually(t, "the late ticket is rejected", func() bool {
		got, err := w.client.Get(t.Context(), "ord_1")
		return err == nil && got.Status == restaurantapi.Rejected
	})
}

func TestFailedWriteLeavesNothing(t *testing.T) {
	w := start(t, "", nil)
	w.open("ord_1")
	w.broken.Store(true)
	wantProblem(t, w.step("accept"), problem.Unavailable)
	w.broken.Store(false)
	w.must(w.step("accept"))
}

func TestReadyTicketsLeaveTheListInTime(t *testing.T) {
	w := start(t, "", nil)
	w.open("ord_1")
	w.must(w.step("accept"))
	w.must(w.step("ready"))
	if diff := cmp.Diff([]string{"ord_1"}, w.listed("ready")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.clock.add(16 * time.Minute)
	w.open("ord_2")
	if diff := cmp.Diff([]string{"ord_2"}, w.listed("")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWhoMayDoWhat(t *testing.T) {
	w := start(t, "", nil)
	w.open("ord_1")
	operator := web.Identity{Subject: "usr_op", Role: web.RoleOperator}
	customer := web.Identity{Subject: "usr_c", Role: web.RoleCustomer}
	days := map[string]any{"timezone": "Europe/Berlin", "openings": []any{map[string]any{"day": "mon", "open": "11:00", "close": "24:00"}}}
	opening := func(day, from, to string) map[string]any {
		return map[string]any{"timezone": "UTC", "openings": []any{map[string]any{"day": day, "open": from, "close": to}}}
	}
	tests := []struct {
		name         string
		who          web.Identity
		method, path string
		in           any
		want         problem.Type
	}{
		{"another kitchen accepts", kitchen(2), "POST", "/v1/tickets/ord_1/accept", map[string]any{"prep_minutes": 5}, problem.NotFound},
		{"another kitchen rejects", kitchen(2), "POST", "/v1/tickets/ord_1/reject", map[string]any{"reason": "x"}, problem.NotFound},
		{"another kitchen is ready", kitchen(2), "POST", "/v1/tickets/ord_1/ready", nil, problem.NotFound},
		{"a customer accepts", customer, "POST", "/v1/tickets/ord_1/accept", map[string]any{"prep_minutes": 5}, problem.Forbidden},
		{"no minutes", kitchen(1), "POST", "/v1/tickets/ord_1/accept", map[string]any{}, problem.InvalidRequest},
		{"negative minutes", kitchen(1), "POST", "/v1/tickets/ord_1/accept", map[string]any{"prep_minutes": -1}, problem.InvalidRequest},
		{"too many minutes", kitchen(1), "POST", "/v1/tickets/ord_1/accept", map[string]any{"prep_minutes": 181}, problem.InvalidRequest},
		{"minutes as text", kitchen(1), "POST", "/v1/tickets/ord_1/accept", map[string]any{"prep_minutes": "10"}, problem.InvalidRequest},
		{"no reason", kitchen(1), "POST", "/v1/tickets/ord_1/reject", map[string]any{}, problem.InvalidRequest},
		{"no such ticket", kitchen(1), "POST", "/v1/tickets/ord_9/accept", map[string]any{"prep_minutes": 5}, problem.NotFound},
		{"own list", kitchen(1), "GET", "/v1/restaurants/rst_1/tickets", nil, ""},
		{"the operator's list", operator, "GET", "/v1/restaurants/rst_1/tickets", nil, ""},
		{"another's list", kitchen(2), "GET", "/v1/restaurants/rst_1/tickets", nil, problem.Forbidden},
		{"a list of no state", kitchen(1), "GET", "/v1/restaurants/rst_1/tickets?state=burnt", nil, problem.InvalidRequest},
		{"own hours", kitchen(1), "PUT", "/v1/restaurants/rst_1/hours", days, ""},
		{"another's hours", kitchen(2), "PUT", "/v1/restaurants/rst_1/hours", days, problem.Forbidden},
		{"another's capacity", kitchen(2), "PUT", "/v1/restaurants/rst_1/capacity", map[string]any{"capacity": 1, "paused": false}, problem.Forbidden},
		{"no capacity", kitchen(1), "PUT", "/v1/restaurants/rst_1/capacity", map[string]any{"capacity": 0, "paused": false}, problem.InvalidRequest},
		{"no such day", kitchen(1), "PUT", "/v1/restaurants/rst_1/hours", opening("someday", "10:00", "11:00"), problem.InvalidRequest},
		{"no such time", kitchen(1), "PUT", "/v1/restaurants/rst_1/hours", opening("mon", "10:00", "25:00"), problem.InvalidRequest},
		{"opens at midnight's end", kitchen(1), "PUT", "/v1/restaurants/rst_1/hours", opening("mon", "24:00", "10:00"), problem.InvalidRequest},
		{"no such zone", kitchen(1), "PUT", "/v1/restaurants/rst_1/hours", map[string]any{"timezone": "Mars/Olympus", "openings": []any{}}, problem.InvalidRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := w.do(tt.who, tt.method, tt.path, tt.in, nil)
			if tt.want == "" {
				w.must(err)
			} else {
				wantProblem(t, err, tt.want)
			}
		})
	}
}
