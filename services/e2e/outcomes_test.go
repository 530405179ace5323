package e2e

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// ordered is the answer of order --json.
type ordered struct {
	OrderID string          `json:"order_id"`
	Status  orderapi.Status `json:"status"`
	Reason  string          `json:"reason"`
	Total   int64           `json:"total"`
	Steps   []struct {
		Name string `json:"name"`
	} `json:"steps"`
}

// order runs the order command, which must end with the exit code want.
func (s *site) order(t *testing.T, want int, args ...string) ordered {
	t.Helper()
	o := s.command(t, want, append([]string{"order", "--json", "--timeout", "3m"}, args...)...)
	var got ordered
	if err := json.Unmarshal([]byte(o.stdout), &got); err != nil {
		t.Fatalf("order --json: %v: %s", err, o)
	}
	return got
}

// charge is what an order must have come to in the ledger.
type charge string

const (
	nothing    charge = "nothing"     // never authorized
	setFree    charge = "set free"    // at most authorized, and voided
	taken      charge = "taken"       // captured once and shared out
	nothingNet charge = "nothing net" // voided, or captured and refunded
)

// checkMoney wants the payment of an order to have come to what was to be charged.
func checkMoney(t *testing.T, operator person, id string, total int64, want charge) {
	t.Helper()
	eventually(t, endsWithin, "the payment of "+id+" has come to "+string(want), func() error {
		var p paymentapi.Payment
		operator.get(t, "/v1/payments/"+id, &p)
		sum := map[string]int64{}
		count := map[string]int{}
		for _, e := range p.Journal {
			sum[e.Type] += e.Amount
			count[e.Type]++
			var balance int64
			for _, posting := range e.Postings {
				balance += posting.Amount
			}
			if balance != 0 {
				t.Fatalf("the postings of %s of %s sum to %d", e.Type, id, balance)
			}
		}
		if n := count[paymentapi.EventCaptured]; n > 1 {
			t.Fatalf("%s was captured %d times", id, n)
		}
		net := sum[paymentapi.EventCaptured] - sum[paymentapi.EventRefunded]
		ok := false
		switch want {
		case nothing:
			ok = net == 0 && count[paymentapi.EventAuthorized] == 0
		case setFree:
			ok = p.Status == paymentapi.Voided && count[paymentapi.EventCaptured] == 0
		case taken:
			ok = p.Status == paymentapi.PaidOut && net == total && sum[paymentapi.EventPaidOut] == total
		case nothingNet:
			ok = net == 0 && (p.Status == paymentapi.Voided || p.Status == paymentapi.Refunded)
		}
		if !ok {
			return fmt.Errorf("it is %q with %v of %d", p.Status, sum, total)
		}
		return nil
	})
}

// Every way in which an order can go has its own end, exit code and money, and the audit is green after all of them.
// A kitchen that was told to be slow takes seconds at every time scale, so that a cancellation comes in time.
func TestOutcomes(t *testing.T) {
	s := shared.use(t)
	operator := s.operator(t)
	tests := []struct {
		name   string
		args   []string
		exit   int
		status orderapi.Status
		reason string
		detail string
		step   string
		money  charge
	}{
		{"ok", nil, 0, orderapi.Delivered, "", "", "delivered", taken},
		{"card slow", []string{"--card", "slow"}, 0, orderapi.Delivered, "", "", "", taken},
		{"card fails twice", []string{"--card", "fail-2"}, 0, orderapi.Delivered, "", "", "", taken},
		{"card answers twice", []string{"--card", "duplicate"}, 0, orderapi.Delivered, "", "", "", taken},
		{"time-out before", []string{"--card", "timeout-before"}, 0, orderapi.Delivered, "", "", "", taken},
		{"time-out after authorize", []string{"--card", "timeout-after-authorize"}, 0, orderapi.Delivered, "", "", "", taken},
		{"time-out after capture", []string{"--card", "timeout-after-capture"}, 0, orderapi.Delivered, "", "", "", taken},
		{"card declined", []string{"--card", "declined"}, 12, orderapi.Declined, "payment_declined", "card_declined", "", nothing},
		{"insufficient funds", []string{"--card", "insufficient"}, 12, orderapi.Declined, "payment_declined", "insufficient_funds", "", nothing},
		{"kitchen rejects", []string{"--kitchen", "rejects"}, 10, orderapi.Rejected, "kitchen_rejected", "", "", setFree},
		{"kitchen ignores", []string{"--kitchen", "ignores"}, 10, orderapi.Rejected, "kitchen_rejected", "timeout", "", setFree},
		{"kitchen slow", []string{"--kitchen", "slow"}, 0, orderapi.Delivered, "", "", "", taken},
		{"no courier", []string{"--no-courier"}, 13, orderapi.Undeliverable, "no_courier", "all_declined", "", nothingNet},
		{"cancel after placed", []string{"--cancel-after", "placed", "--kitchen", "ignores"}, 11, orderapi.Cancelled, "customer", "", "", nothingNet},
		{"cancel after accept", []string{"--cancel-after", "accept", "--kitchen", "slow"}, 11, orderapi.Cancelled, "customer", "", "", nothingNet},
		{"cancel after assigned", []string{"--cancel-after", "assigned", "--kitchen", "slow"}, 11, orderapi.Cancelled, "customer", "", "", nothingNet},
		{"cancel after pick-up", []string{"--cancel-after", "pickup"}, 0, orderapi.Delivered, "", "", "cancel_refused", taken},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := s.order(t, tt.exit, tt.args...)
			if got.Status != tt.status || got.Reason != tt.reason {
				t.Errorf("want %s %q, got %s %q", tt.status, tt.reason, got.Status, got.Reason)
			}
			has := map[string]bool{"": true}
			for _, step := range got.Steps {
				has[step.Name] = true
			}
			if !has[tt.step] {
				t.Errorf("want a step %s, got %v", tt.step, got.Steps)
			}
			var o orderapi.Order
			operator.get(t, "/v1/orders/"+got.OrderID, &o)
			if o.Status != tt.status || o.Total != got.Total || got.Total <= 0 {
				t.Errorf("want %s with %d, the order is %s with %d", tt.status, got.Total, o.Status, o.Total)
			}
			if o.Reason != tt.reason || tt.detail != "" && o.Detail != tt.detail {
				t.Errorf("want the reason %q (%s), the order has %q (%s)", tt.reason, tt.detail, o.Reason, o.Detail)
			}
			checkMoney(t, operator, got.OrderID, got.Total, tt.money)
		})
	}
	s.auditGreen(t)
}
