package order

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/dapr/durabletask-go/workflow"
	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/saga"
	"github.com/dishmesh/dishmesh/services/internal/saga/sagatest"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// scene is one run of the saga: what each activity answers, and the signals that follow an activity.
type scene struct {
	name    string
	answers map[string]any      // by activity; an error fails it; default: done
	first   map[string]error    // fails an activity the first time only
	signals map[string][]signal // raised after the activity has run
	overdue bool                // it stands in for a saga that stood still
	calls   []string            // the exact list of activities that must run, in order
	status  orderapi.Status
	end     ending // what end-order must be given, if it runs
}

var errDown = errors.New("down")

func refused(reason string) verdict { return verdict{Refused: true, Reason: reason} }

// happy is what happens when all goes well.
var happy = map[string][]signal{
	stepTicket:   {{Kind: kitchenAccepted}},
	stepDispatch: {{Kind: pickedUp}},
}

// with replaces what follows some activities.
func with(base map[string][]signal, activity string, signals ...signal) map[string][]signal {
	m := map[string][]signal{}
	for k, v := range base {
		m[k] = v
	}
	m[activity] = signals
	return m
}

var (
	forward     = []string{stepAuthorize, stepTicket, stepCapture, stepDispatch}
	undoNone    = []string{undoAuthorize}
	undoKitchen = []string{undoTicket, undoAuthorize}
	undoMoney   = []string{undoCapture, undoTicket, undoAuthorize}
	undoAll     = []string{undoDispatch, undoCapture, undoTicket, undoAuthorize}
)

// list is the calls of a saga that went n steps forward, undid some and ended. A step that fails runs twice, the
// policy of these tests.
func list(steps []string, undone []string, tail ...string) []string {
	return append(append(append([]string{}, steps...), undone...), tail...)
}

func scenes() []scene {
	return []scene{
		{name: "all goes well", signals: happy, calls: forward, status: orderapi.PickedUp},

		{name: "payment away for a moment", first: map[string]error{stepAuthorize: errDown}, signals: happy,
			calls: list([]string{stepAuthorize}, forward), status: orderapi.PickedUp},
		{name: "kitchen away for a moment", first: map[string]error{stepTicket: errDown}, signals: with(happy, stepTicket, signal{Kind: kitchenAccepted}),
			calls: list([]string{stepAuthorize, stepTicket}, forward[1:]), status: orderapi.PickedUp},
		{name: "delivery away for a moment", first: map[string]error{stepDispatch: errDown}, signals: happy,
			calls: list(forward, []string{stepDispatch}), status: orderapi.PickedUp},
		{name: "a callee away while it is undone", answers: map[string]any{stepCapture: refused("payment_declined")}, first: map[string]error{undoTicket: errDown}, signals: happy,
			calls:  list(forward[:3], []string{undoCapture, undoTicket, undoTicket, undoAuthorize}, stepEnd),
			status: orderapi.Declined, end: ending{Status: orderapi.Declined, Reason: "payment_declined"}},

		{name: "card declined", answers: map[string]any{stepAuthorize: refused("payment_declined")}, signals: happy,
			calls: list(forward[:1], undoNone, stepEnd), status: orderapi.Declined, end: ending{Status: orderapi.Declined, Reason: "payment_declined"}},
		{name: "authorization fails", answers: map[string]any{stepAuthorize: errDown}, signals: happy,
			calls: list([]string{stepAuthorize, stepAuthorize}, undoNone, stepEnd), status: orderapi.Declined, end: ending{Status: orderapi.Declined, Reason: "payment_unavailable"}},

		{name: "kitchen full", answers: map[string]any{stepTicket: refused("kitchen_rejected")}, signals: happy,
			calls: list(forward[:2], undoKitchen, stepEnd), status: orderapi.Rejected, end: ending{Status: orderapi.Rejected, Reason: "kitchen_rejected"}},
		{name: "ticket fails", answers: map[string]any{stepTicket: errDown}, signals: map[string][]signal{},
			calls: list([]string{stepAuthorize, stepTicket, stepTicket}, undoKitchen, stepEnd), status: orderapi.Rejected, end: ending{Status: orderapi.Rejected, Reason: "kitchen_unavailable"}},
		{name: "kitchen rejects", signals: with(happy, stepTicket, signal{Kind: kitchenRejected, Reason: "kitchen_rejected"}),
			calls: list(forward[:2], undoKitchen, stepEnd), status: orderapi.Rejected, end: ending{Status: orderapi.Rejected, Reason: "kitchen_rejected"}},
		{name: "cancelled while the kitchen decides", signals: with(happy, stepTicket, signal{Kind: cancelled, Reason: "customer"}),
			calls: list(forward[:2], undoKitchen, stepEnd), status: orderapi.Cancelled, end: ending{Status: orderapi.Cancelled, Reason: "customer"}},
		{name: "cancelled before the ticket is open", signals: with(happy, stepAuthorize, signal{Kind: cancelled, Reason: "customer"}),
			calls: list(forward[:2], undoKitchen, stepEnd), status: orderapi.Cancelled, end: ending{Status: orderapi.Cancelled, Reason: "customer"}},
		{name: "overdue in the kitchen", signals: with(happy, stepTicket, signal{Kind: overdue, Reason: "overdue"}),
			calls: list(forward[:2], undoKitchen, stepEnd), status: orderapi.Rejected, end: ending{Status: orderapi.Rejected, Reason: "overdue"}},

		{name: "capture refused", answers: map[string]any{stepCapture: refused("payment_declined")}, signals: happy,
			calls: list(forward[:3], undoMoney, stepEnd), status: orderapi.Declined, end: ending{Status: orderapi.Declined, Reason: "payment_declined"}},
		{name: "capture fails", answers: map[string]any{stepCapture: errDown}, signals: happy,
			calls:  list([]string{stepAuthorize, stepTicket, stepCapture, stepCapture}, undoMoney, stepEnd),
			status: orderapi.Declined, end: ending{Status: orderapi.Declined, Reason: "payment_unavailable"}},

		{name: "nobody to dispatch", answers: map[string]any{stepDispatch: refused("no_courier")}, signals: happy,
			calls: list(forward, undoAll, stepEnd), status: orderapi.Undeliverable, end: ending{Status: orderapi.Undeliverable, Reason: "no_courier"}},
		{name: "dispatch fails", answers: map[string]any{stepDispatch: errDown}, signals: with(happy, stepDispatch),
			calls:  list([]string{stepAuthorize, stepTicket, stepCapture, stepDispatch, stepDispatch}, undoAll, stepEnd),
			status: orderapi.Undeliverable, end: ending{Status: orderapi.Undeliverable, Reason: "dispatch_unavailable"}},
		{name: "no courier takes it", signals: with(happy, stepDispatch, signal{Kind: noCourier, Reason: "no_courier"}),
			calls: list(forward, undoAll, stepEnd), status: orderapi.Undeliverable, end: ending{Status: orderapi.Undeliverable, Reason: "no_courier"}},
		{name: "cancelled while a courier is on the way", signals: with(happy, stepDispatch, signal{Kind: cancelled, Reason: "customer"}),
			calls: list(forward, undoAll, stepEnd), status: orderapi.Cancelled, end: ending{Status: orderapi.Cancelled, Reason: "customer"}},
		{name: "cancelled, but picked up meanwhile", signals: with(happy, stepDispatch, signal{Kind: cancelled, Reason: "customer"}),
			answers: map[string]any{undoDispatch: saga.Undone{TooLate: true}},
			calls:   list(forward, []string{undoDispatch}, stepTooLate), status: orderapi.PickedUp},
		{name: "in the place of one that stood still", overdue: true,
			calls: list(nil, undoAll, stepEnd), status: orderapi.Undeliverable, end: ending{Status: orderapi.Undeliverable, Reason: "overdue"}},
		{name: "in the place of one that stood still, but picked up meanwhile", overdue: true, answers: map[string]any{undoDispatch: saga.Undone{TooLate: true}},
			calls: list(nil, []string{undoDispatch}, stepTooLate), status: orderapi.PickedUp},
		{name: "signals that nobody waits for are passed over", signals: with(with(happy, stepTicket, signal{Kind: kitchenAccepted}, signal{Kind: kitchenAccepted}), stepDispatch, signal{Kind: kitchenRejected}, signal{Kind: pickedUp}),
			calls: forward, status: orderapi.PickedUp},

		{name: "the refund fails, the rest is still undone", answers: map[string]any{undoCapture: errDown}, signals: with(happy, stepDispatch, signal{Kind: noCourier, Reason: "no_courier"}),
			calls:  list(forward, []string{undoDispatch, undoCapture, undoCapture, undoTicket, undoAuthorize}, stepEnd),
			status: orderapi.CompensationFailed, end: ending{Status: orderapi.CompensationFailed, Reason: "compensation_failed", Detail: "no_courier; not undone: refund-payment"}},
		{name: "nothing can be undone", answers: map[string]any{undoDispatch: errDown, undoCapture: errDown, undoTicket: errDown, undoAuthorize: errDown},
			signals: with(happy, stepDispatch, signal{Kind: noCourier, Reason: "no_courier"}),
			calls:   list(forward, []string{undoDispatch, undoDispatch, undoCapture, undoCapture, undoTicket, undoTicket, undoAuthorize, undoAuthorize}, stepEnd),
			status:  orderapi.CompensationFailed, end: ending{Status: orderapi.CompensationFailed, Reason: "compensation_failed",
				Detail: "no_courier; not undone: release-courier, refund-payment, cancel-ticket, void-payment"}},
	}
}

// TestSaga fails every step in turn and asserts the exact list of what runs, on the real workflow engine.
func TestSaga(t *testing.T) {
	conn := sagatest.Engine(t)
	twice := workflow.RetryPolicy{MaxAttempts: 2, InitialRetryInterval: time.Millisecond, BackoffCoefficient: 1, MaxRetryInterval: time.Millisecond}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel) // after the parallel subtests

	client := workflow.NewClientWithLogger(conn, engineLog{discard()})
	var mu sync.Mutex
	running := map[string]*scene{} // by order id
	calls := map[string][]string{}
	ends := map[string]ending{}

	registry := workflow.NewRegistry()
	add := func(err error) {
		if err != nil {
			t.Fatal(err)
		}
	}
	add(registry.AddWorkflowN(sagaName, func(ctx *workflow.WorkflowContext) (any, error) {
		return orderSaga(ctx, saga.WithRetries(twice, twice))
	}))
	for _, name := range []string{stepAuthorize, stepTicket, stepCapture, stepDispatch, stepEnd, stepTooLate, undoAuthorize, undoTicket, undoCapture, undoDispatch} {
		add(registry.AddActivityN(name, func(actx workflow.ActivityContext) (any, error) {
			var id string
			var end ending
			switch name {
			case stepAuthorize:
				var in sagaInput
				if err := actx.GetInput(&in); err != nil {
					return nil, err
				}
				id = in.OrderID
			case stepEnd:
				if err := actx.GetInput(&end); err != nil {
					return nil, err
				}
				id = end.OrderID
			default:
				if err := actx.GetInput(&id); err != nil {
					return nil, err
				}
			}
			mu.Lock()
			sc := running[id]
			again := slices.Contains(calls[id], name)
			calls[id] = append(calls[id], name)
			if name == stepEnd {
				ends[id] = end
			}
			mu.Unlock()
			if err := sc.first[name]; err != nil && !again {
				return nil, err
			}
			for _, sig := range sc.signals[name] {
				if err := client.RaiseEvent(actx.Context(), id, signalEvent, workflow.WithEventPayload(sig)); err != nil {
					return nil, err
				}
			}
			if err, ok := sc.answers[name].(error); ok {
				return nil, err
			}
			return sc.answers[name], nil
		}))
	}
	if err := client.StartWorker(ctx, registry); err != nil {
		t.Fatal(err)
	}
	for _, sc := range scenes() {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			id := ids.New("ord")
			mu.Lock()
			running[id] = &sc
			mu.Unlock()
			wait, stop := context.WithTimeout(context.Background(), time.Minute)
			defer stop()
			if _, err := client.ScheduleWorkflow(wait, sagaName, workflow.WithInstanceID(id), workflow.WithInput(sagaInput{OrderID: id, Card: "card_ok", Overdue: sc.overdue})); err != nil {
				t.Fatal(err)
			}
			meta, err := client.WaitForWorkflowCompletion(wait, id, workflow.WithFetchPayloads(true))
			if err != nil {
				t.Fatalf("the saga did not end: %v", err)
			}
			mu.Lock()
			defer mu.Unlock()
			if diff := cmp.Diff(sc.calls, calls[id]); diff != "" {
				t.Errorf("activities (-want +got):\n%s", diff)
			}
			if got, want := meta.Output.GetValue(), `"`+string(sc.status)+`"`; got != want {
				t.Errorf("status %s, want %s", got, want)
			}
			end := ends[id]
			if end.OrderID != "" {
				if sc.end.Detail == "" {
					end.Detail = ""
				}
				end.OrderID = ""
			}
			if diff := cmp.Diff(sc.end, end); diff != "" {
				t.Errorf("ending (-want +got):\n%s", diff)
			}
		})
	}
}
