package notification_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/gorilla/mux"
	"google.golang.org/protobuf/proto"

	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract/catalogue"
	"github.com/dishmesh/dishmesh/services/internal/outbox"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/internal/sidecar/sidecartest"
	"github.com/dishmesh/dishmesh/services/internal/web"
	"github.com/dishmesh/dishmesh/services/notification"
	"github.com/dishmesh/dishmesh/services/notification/notificationapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi/orderv2"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
	"github.com/dishmesh/dishmesh/services/user/userapi"
)

type obj = map[string]any

// sent is what a provider got.
type sent struct {
	Binding, To, Subject, ID string
}

type service struct {
	t      testing.TB
	fakes  *runtest.Fakes
	router *mux.Router

	mu    sync.Mutex
	got   []sent
	fail  func(binding string) (int, error) // nil: every provider takes everything
	deny  func(ops []sidecar.Op) error      // nil: the store takes everything
	enter func()                            // at the start of every call of a provider
}

func newService(t testing.TB) *service {
	t.Helper()
	s := &service{t: t}
	d, f := runtest.New(t, notification.Name)
	s.fakes = f
	f.Store.Fail = func(ops []sidecar.Op) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.deny == nil {
			return nil
		}
		return s.deny(ops)
	}
	d.Binding = sidecartest.Binding(s.invoke)
	n, err := notification.New(d, notification.Config{SendTimeout: time.Second, KeepFor: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s.router = runtest.Router(d, n)
	runtest.Start(t, d)
	return s
}

func (s *service) setDeny(deny func([]sidecar.Op) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.deny = deny
}

// replica is the service on the store of s, under another name.
func (s *service) replica(instance string) *service {
	s.t.Helper()
	other := &service{t: s.t, fakes: s.fakes}
	d, _ := runtest.New(s.t, notification.Name)
	d.Instance, d.State = instance, s.fakes.Store
	d.Outbox = outbox.New(s.fakes.Store, s.fakes.Publisher, outbox.Options{Instance: instance})
	d.Binding = sidecartest.Binding(other.invoke)
	n, err := notification.New(d, notification.Config{SendTimeout: time.Second, KeepFor: time.Hour})
	if err != nil {
		s.t.Fatal(err)
	}
	other.router = runtest.Router(d, n)
	runtest.Start(s.t, d)
	return other
}

func (s *service) invoke(_ context.Context, name, operation string, data []byte, md map[string]string) (sidecar.BindingResult, error) {
	if s.enter != nil {
		s.enter()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if status, err := s.fail(name); err != nil || status != 0 {
			return sidecar.BindingResult{Status: status}, err
		}
	}
	m := sent{Binding: name}
	if name == "mail" {
		m.To, m.Subject = md["emailTo"], md["subject"]
		_, rest, _ := strings.Cut(string(data), `<meta name="notification-id" content="`)
		m.ID, _, _ = strings.Cut(rest, `"`)
		if operation != "create" {
			s.t.Errorf("mail by operation %q", operation)
		}
	} else {
		var body struct {
			NotificationID string `json:"notification_id"`
			To             string
			Title          string
			Text           string
		}
		if err := json.Unmarshal(data, &body); err != nil || operation != "post" || body.Text == "" || md["Idempotency-Key"] != body.NotificationID {
			s.t.Errorf("%s %s %q: %s (%v)", operation, name, md, data, err)
		}
		m.To, m.Subject, m.ID = body.To, body.Title, body.NotificationID
	}
	s.got = append(s.got, m)
	return sidecar.BindingResult{Status: 202}, nil
}

// messages lists what the providers got, sorted, as "binding to: subject".
func (s *service) messages() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, m := range s.got {
		all = append(all, fmt.Sprintf("%s %s: %s", m.Binding, m.To, m.Subject))
	}
	slices.Sort(all)
	return all
}

func event(name, subject string, seq int, data any) cloudevent.Event {
	schema, b, err := encode(name, data)
	if err != nil {
		panic(err)
	}
	entity, _, _ := strings.Cut(name, ".")
	return cloudevent.Event{
		SpecVersion: "1.0", ID: fmt.Sprintf("%s/%s/%d", entity, subject, seq), Source: "dishmesh/" + entity,
		Type: cloudevent.Prefix + name, Subject: subject, Time: time.Now(), Sequence: strconv.Itoa(seq), DataSchema: schema, Data: b,
	}
}

func encode(name string, data any) (string, []byte, error) {
	if m, ok := data.(proto.Message); ok {
		return catalogue.All.Encode(name, m)
	}
	b, err := json.Marshal(data)
	return "", b, err
}

func (s *service) deliver(e cloudevent.Event) string { return runtest.Deliver(s.t, s.router, e) }

func (s *service) deliverAll(events ...cloudevent.Event) {
	s.t.Helper()
	for _, e := range events {
		if got := s.deliver(e); got != "SUCCESS" {
			s.t.Fatalf("%s: %s, want SUCCESS", e.ID, got)
		}
	}
}

// outcomes lists the channels of the outcome events that were published, once there are n.
func (s *service) outcomes(n int) []string {
	s.t.Helper()
	var all []string
	runtest.Eventually(s.t, fmt.Sprintf("%d outcomes are published", n), func() bool {
		all = nil
		for _, p := range s.fakes.Publisher.Sent() {
			var o notificationapi.Outcome
			if err := notificationapi.Events.Into(p.Event, &o); err != nil {
				s.t.Fatal(err)
			}
			for _, c := range o.Channels {
				all = append(all, fmt.Sprintf("%s %s %s", p.Event.Name(), o.Template, c.Channel))
			}
		}
		return len(all) >= n
	})
	slices.Sort(all)
	return all
}

func (s *service) list(user string) []notificationapi.Notification {
	s.t.Helper()
	r := httptest.NewRequest("GET", "/v1/notifications", nil)
	web.Identity{Subject: user, Role: web.RoleCustomer}.Set(r.Header)
	w := httptest.NewRecorder()
	s.router.ServeHTTP(w, r)
	var l notificationapi.List
	if err := json.Unmarshal(w.Body.Bytes(), &l); err != nil || w.Code != http.StatusOK {
		s.t.Fatalf("GET /v1/notifications: %d %s", w.Code, w.Body)
	}
	return l.Notifications
}

func registered(role string, email, sms, push bool) cloudevent.Event {
	return event(userapi.EventRegistered, "usr_1", 1, &userapi.RegisteredEvent{UserId: "usr_1", Email: "ada@example.org", Name: "Ada", Role: role,
		Phone: "+4915112345678", Preferences: &userapi.ChannelPreferences{Email: email, Sms: sms, Push: push}})
}

const order = "ord_0123456789abcdefghjkmn"

var (
	bill       = orderapi.Bill{Currency: "EUR", Subtotal: 1890, DeliveryFee: 290, Discount: 100, Total: 2080}
	placed     = event(orderapi.EventPlaced, order, 1, &orderapi.PlacedEvent{OrderId: order, CustomerId: "usr_1", RestaurantId: "rst_1", RestaurantName: "Da Rosa", Currency: bill.Currency, Subtotal: bill.Subtotal, DeliveryFee: bill.DeliveryFee, Discount: bill.Discount, Total: bill.Total, Items: []*orderapi.PlacedEvent_Item{{Name: "Pizza & <b>", Quantity: 2, UnitPrice: 945, Total: 1890, Options: []string{"large", "thin"}}}})
	accepted   = event(orderapi.EventAccepted, order, 2, &orderapi.AcceptedEvent{OrderId: order, CustomerId: "usr_1", PrepMinutes: 12})
	assigned   = event(deliveryapi.TypeCourierAssigned, order, 3, &deliveryapi.CourierAssignedData{OrderId: order, CustomerId: "usr_1", CourierId: "usr_c"})
	pickedUp   = event(orderapi.EventPickedUp, order, 3, &orderapi.PickedUpEvent{OrderId: order, CustomerId: "usr_1"})
	deliveredE = event(orderapi.EventDelivered, order, 4, &orderv2.DeliveredEvent{OrderId: order, CustomerId: "usr_1", Bill: bill.Message()})
	cancelled  = event(orderapi.EventCancelled, order, 5, &orderapi.EndedEvent{OrderId: order, CustomerId: "usr_1", Status: string(orderapi.Cancelled), Reason: "customer"})
	refunded   = event(paymentapi.EventRefunded, order, 3, &paymentapi.Event{OrderId: order, Amount: 2080, Currency: "EUR"})
)

func TestHappyPath(t *testing.T) {
	s := newService(t)
	s.deliverAll(registered(web.RoleCustomer, true, false, true), placed, accepted, assigned, pickedUp, deliveredE)
	want := []string{
		"mail ada@example.org: Delivered: your order GHJKMN from Da Rosa",
		"mail ada@example.org: Welcome to Dishmesh",
		"mail ada@example.org: Your order GHJKMN at Da Rosa",
		"push usr_1: A courier is on the way to the kitchen",
		"push usr_1: Da Rosa is cooking",
		"push usr_1: Delivered",
		"push usr_1: Order placed",
		"push usr_1: Your order is on its way",
	}
	if diff := cmp.Diff(want, s.messages()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	if got := s.outcomes(8); len(got) != 8 || slices.ContainsFunc(got, func(o string) bool { return !strings.HasPrefix(o, "notification.sent ") }) {
		t.Errorf("outcomes: %q, want 8 × notification.sent", got)
	}
	list := s.list("usr_1")
	if len(list) != 8 || list[0].Template != orderapi.EventDelivered || list[7].Template != "user.registered" || list[0].OrderID != order {
		t.Errorf("listed: %+v", list)
	}
	for _, n := range list {
		if n.Status != notificationapi.Sent || n.SentAt == nil {
			t.Errorf("%s by %s is %s", n.Template, n.Channel, n.Status)
		}
	}
	const causes = 6
	runtest.Eventually(t, "an event is published for each cause", func() bool { return len(s.fakes.Publisher.Sent()) >= causes })
	if got := len(s.fakes.Publisher.Sent()); got != causes {
		t.Errorf("%d events, want one for each of %d causes", got, causes)
	}
	if got := s.list("usr_2"); len(got) != 0 {
		t.Errorf("somebody else sees %+v", got)
	}
}

// However often and however many at once an event comes, it is told of once.
func TestSentOncePerCause(t *testing.T) {
	s := newService(t)
	s.deliverAll(registered(web.RoleCustomer, true, true, true))
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() {
			if got := s.deliver(cancelled); got != "SUCCESS" {
				t.Errorf("%s, want SUCCESS", got)
			}
		})
	}
	all.Wait()
	s.deliverAll(cancelled, registered(web.RoleCustomer, true, true, true))
	want := []string{
		"mail ada@example.org: Welcome to Dishmesh",
		"mail ada@example.org: Your order GHJKMN is cancelled",
		"push usr_1: Order cancelled",
		"sms +4915112345678: ",
	}
	if diff := cmp.Diff(want, s.messages()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
	if got := len(s.outcomes(4)); got != 4 {
		t.Errorf("%d outcomes, want 4", got)
	}
}

func TestPreferences(t *testing.T) {
	tests := []struct {
		email, sms, push bool
		want             []string
	}{
		{true, true, true, []string{"mail", "push", "sms"}},
		{true, false, false, []string{"mail"}},
		{false, true, false, []string{"sms"}},
		{false, false, true, []string{"push"}},
		{false, false, false, nil},
	}
	for _, tt := range tests {
		s := newService(t)
		// The newer event comes first: the older one must not undo it.
		newer := event(userapi.EventPreferencesChanged, "usr_1", 2, &userapi.PreferencesChangedEvent{UserId: "usr_1", Email: "ada@example.org", Name: "Ada",
			Phone: "+4915112345678", Preferences: &userapi.ChannelPreferences{Email: tt.email, Sms: tt.sms, Push: tt.push}})
		s.deliverAll(newer, registered(web.RoleKitchen, true, true, true), cancelled)
		var got []string
		for _, m := range s.messages() {
			binding, _, _ := strings.Cut(m, " ")
			got = append(got, binding)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("email %t sms %t push %t (-want +got):\n%s", tt.email, tt.sms, tt.push, diff)
		}
	}
}

// One channel fails once: it is tried again, the other is not.
func TestRetryOfOneChannel(t *testing.T) {
	s := newService(t)
	failures := 1
	s.fail = func(binding string) (int, error) {
		if binding == "mail" && failures > 0 {
			failures--
			return 0, problem.New(problem.Unavailable, "mail can't be reached")
		}
		return 0, nil
	}
	s.deliverAll(registered(web.RoleKitchen, true, false, true), placed)
	want := []string{"mail ada@example.org: Your order GHJKMN at Da Rosa", "push usr_1: Order placed"}
	if diff := cmp.Diff(want, s.messages()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

// A refusal is final: told of, not tried again, not dead-lettered.
func TestRefusal(t *testing.T) {
	s := newService(t)
	s.fail = func(binding string) (int, error) {
		if binding == "push" {
			return 400, nil
		}
		return 0, nil
	}
	s.deliverAll(registered(web.RoleKitchen, true, false, true), placed, placed)
	want := []string{"notification.failed order.placed push", "notification.sent order.placed email"}
	if diff := cmp.Diff(want, s.outcomes(2)); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
}

func TestMalformedAddress(t *testing.T) {
	s := newService(t)
	e := event("user.registered", "usr_1", 1, obj{"user_id": "usr_1", "email": "a@example.org;b@example.org", "role": "customer"})
	s.deliverAll(e)
	if diff := cmp.Diff([]string{"notification.failed user.registered email"}, s.outcomes(1)); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if got := s.messages(); len(got) != 0 {
		t.Errorf("sent: %q", got)
	}
}

// An order's event before its customer's: it waits, as long as the schedule lasts.
func TestContactComesLate(t *testing.T) {
	s := newService(t)
	answer := make(chan string)
	go func() { answer <- s.deliver(accepted) }()
	s.deliverAll(registered(web.RoleKitchen, false, false, true))
	if got := <-answer; got != "SUCCESS" {
		t.Errorf("%s, want SUCCESS", got)
	}
	if diff := cmp.Diff([]string{"push usr_1: The kitchen is cooking"}, s.messages()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

// A refund that names no customer goes to the one who placed the order.
func TestRefundWithoutCustomer(t *testing.T) {
	s := newService(t)
	s.deliverAll(registered(web.RoleKitchen, true, false, false), placed, refunded)
	want := []string{"mail ada@example.org: 20.80 EUR paid back for order GHJKMN", "mail ada@example.org: Your order GHJKMN at Da Rosa"}
	if diff := cmp.Diff(want, s.messages()); diff != "" {
		t.Errorf("messages (-want +got):\n%s", diff)
	}
}

// Two mails are never under way at once: the SMTP binding would mix up their recipients.
func TestMailsOneAtATime(t *testing.T) {
	s := newService(t)
	s.deliverAll(registered(web.RoleKitchen, true, false, false))
	var mu sync.Mutex
	inside, most := 0, 0
	s.enter = func() {
		mu.Lock()
		inside++
		most = max(most, inside)
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
		inside--
		mu.Unlock()
	}
	var all sync.WaitGroup
	for i := range 8 {
		id := fmt.Sprintf("ord_%d", i)
		all.Go(func() {
			s.deliver(event(orderapi.EventDelivered, id, 1, &orderv2.DeliveredEvent{OrderId: id, CustomerId: "usr_1", Bill: bill.Message()}))
		})
	}
	all.Wait()
	if got := len(s.messages()); got != 8 || most != 1 {
		t.Errorf("%d mails, up to %d at once; want 8, one at a time", got, most)
	}
	if got := len(s.list("usr_1")); got != 8 {
		t.Errorf("%d are listed, want all 8 that were written at once", got)
	}
}

func TestListIsBounded(t *testing.T) {
	s := newService(t)
	s.deliverAll(registered(web.RoleKitchen, false, false, true))
	for i := range 60 {
		id := fmt.Sprintf("ord_%d", i)
		s.deliverAll(event(orderapi.EventAccepted, id, 1, &orderapi.AcceptedEvent{OrderId: id, CustomerId: "usr_1"}))
	}
	list := s.list("usr_1")
	if len(list) != 50 || list[0].OrderID != "ord_59" || list[49].OrderID != "ord_10" {
		t.Errorf("%d listed, from %s to %s; want 50, the newest first", len(list), list[0].OrderID, list[len(list)-1].OrderID)
	}
	for path, want := range map[string]int{"/v1/notifications?limit=3": 200, "/v1/notifications?limit=0": 400, "/v1/notifications?limit=51": 400, "/v1/notifications?limit=all": 400} {
		r := httptest.NewRequest("GET", path, nil)
		web.Identity{Subject: "usr_1"}.Set(r.Header)
		w := httptest.NewRecorder()
		s.router.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("GET %s: %d, want %d", path, w.Code, want)
		}
	}
	w := httptest.NewRecorder()
	s.router.ServeHTTP(w, httptest.NewRequest("GET", "/v1/notifications", nil))
	if w.Code != 401 {
		t.Errorf("without a caller: %d, want 401", w.Code)
	}
}

// Events that nobody is told of cost nothing.
func TestOtherEventsAreIgnored(t *testing.T) {
	s := newService(t)
	keys := len(s.fakes.Store.Keys())
	s.deliverAll(event(paymentapi.EventCaptured, order, 2, &paymentapi.Event{OrderId: order}),
		event("delivery.offered", order, 1, obj{"order_id": order}), event("user.password-changed", "usr_1", 2, obj{}))
	if got := len(s.fakes.Store.Keys()); got != keys || len(s.messages()) != 0 {
		t.Errorf("%d keys more, messages %q", got-keys, s.messages())
	}
}
