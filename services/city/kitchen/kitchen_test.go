package kitchen_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/city/actor"
	"github.com/dishmesh/dishmesh/services/city/actor/actortest"
	"github.com/dishmesh/dishmesh/services/city/kitchen"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/publicapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

const live = "/v1/restaurants/rst_01/live"

// board is the platform's tickets of one restaurant.
type board struct {
	mu      sync.Mutex
	gateway *actortest.Gateway
	status  map[string]restaurantapi.Status
	note    map[string]string
	faults  int // how many changes still get a 503
}

// start opens a board and a kitchen that works on it at time scale 0.
func start(t *testing.T, tickets ...restaurantapi.Ticket) *board {
	t.Helper()
	b := &board{gateway: actortest.New(t), status: map[string]restaurantapi.Status{}, note: map[string]string{}}
	for _, ticket := range tickets {
		b.add(ticket.OrderID, ticket.Note, ticket.Status)
	}
	for _, s := range []restaurantapi.Status{restaurantapi.Open, restaurantapi.Accepted} {
		b.gateway.On("GET /v1/restaurants/rst_01/tickets?state="+string(s), b.list(s))
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	town := actor.NewTown(b.gateway.URL, publicapi.NewHTTPClient(), actor.Pace{Seed: 1}, slog.New(slog.DiscardHandler))
	go func() {
		defer close(done)
		kitchen.Run(ctx, town, actor.Account{Email: "k@example.org", Password: "p", Role: actor.RoleKitchen, RestaurantID: "rst_01"})
	}()
	t.Cleanup(func() { cancel(); <-done })
	actortest.Eventually(t, "the kitchen follows its tickets", func() bool { return b.gateway.Followed(live) })
	return b
}

func (b *board) add(order, note string, s restaurantapi.Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status[order], b.note[order] = s, note
	for action, to := range map[string]restaurantapi.Status{
		"accept": restaurantapi.Accepted, "reject": restaurantapi.Rejected, "ready": restaurantapi.Ready,
	} {
		b.gateway.On("POST /v1/tickets/"+order+"/"+action, b.change(order, to))
	}
}

func (b *board) list(s restaurantapi.Status) actortest.Answer {
	return func([]byte) (any, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		var l restaurantapi.TicketList
		for order, status := range b.status {
			if status == s {
				l.Tickets = append(l.Tickets, restaurantapi.Ticket{OrderID: order, Status: s, Note: b.note[order]})
			}
		}
		return l, nil
	}
}

func (b *board) change(order string, to restaurantapi.Status) actortest.Answer {
	return func([]byte) (any, error) {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.faults > 0 {
			b.faults--
			return nil, problem.New(problem.Unavailable, "")
		}
		if from := b.status[order]; from == to || to == restaurantapi.Ready && from != restaurantapi.Accepted {
			return nil, problem.New(problem.IllegalState, "it is %s", from)
		}
		b.status[order] = to
		return restaurantapi.Ticket{OrderID: order, Status: to}, nil
	}
}

func (b *board) is(order string, s restaurantapi.Status) func() bool {
	return func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.status[order] == s
	}
}

func (b *board) emit(t *testing.T, order string) {
	t.Helper()
	b.gateway.Emit(t, live, restaurantapi.TypeTicketOpened, order,
		&restaurantapi.TicketOpened{OrderId: order, RestaurantId: "rst_01", Note: b.note[order]})
}

func TestKitchenCooksWhatIsOrdered(t *testing.T) {
	b := start(t)
	b.add("ord_1", "no onions", restaurantapi.Open)
	b.emit(t, "ord_1")
	b.emit(t, "ord_1") // delivered twice
	actortest.Eventually(t, "the ticket is ready", b.is("ord_1", restaurantapi.Ready))
	want := []string{"POST /v1/tickets/ord_1/accept", "POST /v1/tickets/ord_1/ready"}
	if diff := cmp.Diff(want, b.gateway.Calls()); diff != "" {
		t.Errorf("calls -want +got:\n%s", diff)
	}
}

func TestKitchenFindsWhatItMissed(t *testing.T) {
	b := start(t,
		restaurantapi.Ticket{OrderID: "ord_1", Status: restaurantapi.Open},
		restaurantapi.Ticket{OrderID: "ord_2", Status: restaurantapi.Accepted})
	actortest.Eventually(t, "the open ticket is ready", b.is("ord_1", restaurantapi.Ready))
	actortest.Eventually(t, "the accepted ticket is ready", b.is("ord_2", restaurantapi.Ready))
	b.add("ord_3", "", restaurantapi.Open) // its event gets lost
	b.gateway.Cut()
	actortest.Eventually(t, "the ticket without an event is ready", b.is("ord_3", restaurantapi.Ready))
	if slices.Contains(b.gateway.Calls(), "POST /v1/tickets/ord_2/accept") {
		t.Error("an accepted ticket was accepted again")
	}
}

func TestKitchenObeysDirectives(t *testing.T) {
	b := start(t)
	b.add("ord_1", "city:kitchen=reject", restaurantapi.Open)
	b.add("ord_2", "please city:kitchen=ignore.", restaurantapi.Open)
	b.add("ord_3", "city:courier=none", restaurantapi.Open)
	for _, order := range []string{"ord_1", "ord_2", "ord_3"} {
		b.emit(t, order)
	}
	actortest.Eventually(t, "the ticket is rejected", b.is("ord_1", restaurantapi.Rejected))
	actortest.Eventually(t, "the ticket is ready", b.is("ord_3", restaurantapi.Ready))
	for _, call := range b.gateway.Calls() {
		if strings.Contains(call, "ord_2") {
			t.Errorf("a ticket that was to be ignored: %s", call)
		}
	}
}

func TestKitchenTriesAgain(t *testing.T) {
	b := start(t)
	b.add("ord_1", "", restaurantapi.Open)
	b.mu.Lock()
	b.faults = 3
	b.mu.Unlock()
	b.emit(t, "ord_1")
	actortest.Eventually(t, "the ticket is ready", b.is("ord_1", restaurantapi.Ready))
}
