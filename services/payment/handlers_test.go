package payment_test

import (
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

func TestBadInput(t *testing.T) {
	b := newBench(t, patient)
	b.run("ord_have", "authorize")
	const good = `{"amount":100,"currency":"EUR","card":"card_ok","customer_id":"usr_1","restaurant_id":"rst_1","subtotal":100,"delivery_fee":0,"surge_fee":0,"discount":0,"tax":7}`
	tests := []struct {
		name, method, path, key, body string
		status                        int
		want                          string
	}{
		{"no key", "POST", "/internal/payments/ord_bad/authorize", "", good, 400, "idempotency-key-missing"},
		{"key of another step", "POST", "/internal/payments/ord_bad/authorize", "ord_bad/capture", good, 422, "ord_bad/authorize"},
		{"key of another order", "POST", "/internal/payments/ord_bad/capture", "ord_have/capture", "", 422, "ord_bad/capture"},
		{"no body", "POST", "/internal/payments/ord_bad/authorize", "ord_bad/authorize", "", 400, "malformed-json"},
		{"unknown field", "POST", "/internal/payments/ord_bad/authorize", "ord_bad/authorize", `{"amuont":1}`, 400, "amuont"},
		{"every faulty field", "POST", "/internal/payments/ord_bad/authorize", "ord_bad/authorize",
			`{"amount":-1,"currency":"euro","tax":-3}`, 400, "amount currency card customer_id restaurant_id tax"},
		{"too much", "POST", "/internal/payments/ord_bad/authorize", "ord_bad/authorize", strings.Replace(good, "100,", "100000000,", 1), 400, "amount"},
		{"order id", "POST", "/internal/payments/ord%20x/capture", "ord_x/capture", "", 400, "id of an order"},
		{"another amount", "POST", "/internal/payments/ord_have/authorize", "ord_have/authorize", good, 422, "idempotency-key-reused"},
		{"refund reason", "POST", "/internal/payments/ord_have/refund", "ord_have/refund", `{"reason":5}`, 400, "must be a string"},
		{"unknown payment", "GET", "/internal/payments/ord_none", "", "", 404, "not-found"},
		{"method", "GET", "/internal/payments/ord_have/capture", "", "", 405, "method-not-allowed"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
			if tt.key != "" {
				r.Header.Set("Idempotency-Key", tt.key)
			}
			if tt.body != "" {
				r.Header.Set("Content-Type", "application/json")
			}
			w := httptest.NewRecorder()
			b.router.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			for word := range strings.SplitSeq(tt.want, " ") {
				if !strings.Contains(w.Body.String(), word) {
					t.Errorf("%q is not in %s", word, w.Body)
				}
			}
		})
	}
	if got := len(b.line.log()); got != 1 {
		t.Errorf("%d calls to the acquirer, want the 1 of the good request", got)
	}
}

// Operators see every payment, a customer the own ones, others none.
func TestWhoSeesAPayment(t *testing.T) {
	b := newBench(t, patient)
	b.run("ord_seen", "authorize")
	tests := []struct {
		subject, role string
		want          int
	}{
		{"usr_op", "operator", 200},
		{"usr_1", "customer", 200},
		{"usr_2", "customer", 404},
		{"", "customer", 404},
		{"usr_1", "courier", 403},
		{"usr_k", "kitchen", 403},
		{"", "", 403},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", "/v1/payments/ord_seen", nil)
		r.Header.Set("Dishmesh-Subject", tt.subject)
		r.Header.Set("Dishmesh-Role", tt.role)
		w := httptest.NewRecorder()
		b.router.ServeHTTP(w, r)
		if w.Code != tt.want {
			t.Errorf("%s %q: status %d, want %d", tt.role, tt.subject, w.Code, tt.want)
		}
	}
}

// The journal and the balances of a delivered order, to the cent.
func TestJournal(t *testing.T) {
	b := newBench(t, patient)
	for _, c := range []string{"authorize", "capture", "deliver", "deliver"} {
		b.run("ord_1", c)
	}
	p, err := b.client.Get(t.Context(), "ord_1")
	if err != nil {
		t.Fatal(err)
	}
	type line struct {
		Type     string
		Postings []paymentapi.Posting
	}
	var got []line
	for _, e := range p.Journal {
		got = append(got, line{e.Type, e.Postings})
	}
	want := []line{
		{"payment.authorized", []paymentapi.Posting{{Account: "acquirer:held", Amount: 2590}, {Account: "order:ord_1:held", Amount: -2590}}},
		{"payment.captured", []paymentapi.Posting{
			{Account: "order:ord_1:held", Amount: 2590}, {Account: "acquirer:held", Amount: -2590},
			{Account: "acquirer:receivable", Amount: 2590}, {Account: "order:ord_1:clearing", Amount: -2590}}},
		// Of 28.40 undiscounted, 1.70 is tax: 1.43 of it on dishes, 0.26 on delivery. 80 % of 22.57 is 18.06.
		{"payment.paid-out", []paymentapi.Posting{
			{Account: "order:ord_1:clearing", Amount: 2590}, {Account: "platform:promotions", Amount: 250},
			{Account: "restaurant:rst_1:payable", Amount: -1806}, {Account: "courier:usr_9:payable", Amount: -414},
			{Account: "tax:vat", Amount: -170}, {Account: "platform:revenue", Amount: -450}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("journal (-want +got):\n%s", diff)
	}
	if p.Status != paymentapi.PaidOut || p.Version != 3 || p.Amount != 2590 {
		t.Errorf("got %s, version %d, amount %d", p.Status, p.Version, p.Amount)
	}
	wantEvents := []string{"payment.authorized", "payment.captured", "payment.paid-out"}
	runtest.Eventually(t, "all events are published", func() bool { return len(b.pub.Types()) >= len(wantEvents) })
	if diff := cmp.Diff(wantEvents, b.pub.Types()); diff != "" {
		t.Errorf("published (-want +got):\n%s", diff)
	}
}

// A card token is passed on to the acquirer and stays nowhere else: not in the store, the events or the log.
func TestCardTokenIsNotKept(t *testing.T) {
	b := newBench(t, patient)
	const token = "tok_4111111111111111"
	if _, err := b.client.Authorize(t.Context(), "ord_card", request(token)); err != nil {
		t.Fatal(err)
	}
	b.line.next(dropBefore, dropBefore)
	_, err := b.client.Authorize(t.Context(), "ord_fail", request(token))
	if err == nil {
		t.Fatal("the lost authorization is no error")
	}
	seen := b.logs.String() + err.Error()
	for _, key := range b.store.Keys() {
		item, err := b.store.Get(t.Context(), key)
		if err != nil {
			t.Fatal(err)
		}
		seen += key + string(item.Value)
	}
	for _, s := range b.pub.Sent() {
		seen += string(s.Event.Data)
	}
	if strings.Contains(seen, token) || strings.Contains(seen, "411111") {
		t.Error("the card token was kept")
	}
	if !strings.Contains(seen, `"card":"1111"`) {
		t.Error("the last 4 characters are missing")
	}
	if strings.Contains(seen, apiKey) {
		t.Error("the acquirer's API key was kept")
	}
}

// order events other than delivered are none of its business.
// What the subscription does not name, and the sidecar lets through all the same, changes nothing and is not lost.
func TestOtherEventsAreDeadLettered(t *testing.T) {
	b := newBench(t, patient)
	body := `{"specversion":"1.0","id":"order/ord_1/1","source":"dishmesh/order","type":"fooddelivery.order.placed","subject":"ord_1","sequence":"1","time":"2026-11-22T10:00:00Z","datacontenttype":"application/json","data":{}}`
	w := httptest.NewRecorder()
	b.router.ServeHTTP(w, httptest.NewRequest("POST", "/events/fooddelivery.order", strings.NewReader(body)))
	if sent := b.pub.Sent(); !strings.Contains(w.Body.String(), "SUCCESS") || len(sent) != 1 || sent[0].Event.Name() != "dead-letter" {
		t.Errorf("got %s and %v", w.Body, sent)
	}
}
