package audit_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/city/acquirer"
	"github.com/dishmesh/dishmesh/services/delivery/deliveryapi"
	"github.com/dishmesh/dishmesh/services/internal/audit"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/inbox"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

func TestGreen(t *testing.T) {
	w := newTown(t).settle()
	w.put("order", "inbox/ticket/ord_of_nobody", inbox.State{Last: 1}) // published by somebody else, for no order
	r := w.audit()
	for _, v := range r.Invariants {
		if !v.OK || v.Checked == 0 {
			t.Errorf("%d %s: ok %v, %d checked: %v", v.ID, v.Name, v.OK, v.Checked, v.Violations)
		}
	}
	want := map[string]int{"delivered": 1, "rejected": 1, "cancelled": 1, "declined": 1, "compensation_failed": 1, "placed": 1}
	if diff := cmp.Diff(want, r.Orders); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
	if !r.OK || r.InFlight != 1 {
		t.Errorf("ok %v, %d in flight; want true, 1", r.OK, r.InFlight)
	}
	if len(r.Notes) != 1 || !strings.Contains(r.Notes[0], "ord_broken: ended as compensation_failed") {
		t.Errorf("notes: %v", r.Notes)
	}
}

// Each invariant goes red by what it is there to find, and by nothing else.
func TestRed(t *testing.T) {
	tests := []struct {
		name   string
		damage func(*town)
		broken []int
		want   string
	}{
		{"acknowledged order is gone", func(w *town) {
			w.delete("order", "order/ord_declined")
			w.delete("order", "order/ord_declined/000001")
			w.delete("order", "order/ord_declined/000002")
			w.delete("payment", "payment/ord_declined")
			w.delete("payment", "payment/ord_declined/000001")
			w.delete("notification", "inbox/order/ord_declined")
		}, []int{1}, "ord_declined: was acknowledged at"},
		{"a stream is gone that somebody has heard of", func(w *town) {
			w.delete("restaurant", "ticket/ord_delivered")
			for i := range 2 {
				w.delete("restaurant", fmt.Sprintf("ticket/ord_delivered/%06d", i+1))
			}
		}, []int{5}, "ticket/ord_delivered: delivery took in event 2, but the stream ends at 0"},
		{"a stream ends before what somebody has heard of it", func(w *town) {
			w.put("payment", "inbox/order/ord_delivered", inbox.State{Last: 3})
		}, []int{5}, "order/ord_delivered: payment took in event 3, but the stream ends at 2"},
		{"order is another than acknowledged", func(w *town) {
			for _, key := range []string{"order/ord_declined", "order/ord_declined/000001"} {
				w.change("order", key, func(v map[string]any) {
					if data, ok := v["data"].(map[string]any); ok {
						data["total"] = 1
					} else {
						v["state"].(map[string]any)["order"].(map[string]any)["total"] = 1
					}
				})
			}
		}, []int{1}, "was acknowledged to usr_1 for 2590 EUR, and is usr_1's for 1 EUR"},
		{"order is stuck", func(w *town) {
			w.clock = noon.Add(-6 * time.Minute)
			w.placed("ord_stuck")
		}, []int{1}, "ord_stuck: is placed since"},
		{"captured twice", func(w *town) {
			w.ledger("ord_delivered", acquirer.Capture)
			w.charge("ord_delivered", acquirer.Capture, 0)
		}, []int{2, 8}, "ord_delivered: was captured 2 times"},
		{"delivered, not captured", func(w *town) {
			w.placed("ord_free")
			w.pay("ord_free", acquirer.Authorize)
			w.courier("ord_free", deliveryapi.TypeRequested, "")
			w.courier("ord_free", deliveryapi.TypeCourierAssigned, "usr_c2")
			w.courier("ord_free", deliveryapi.TypePickedUp, "usr_c2")
			w.courier("ord_free", deliveryapi.TypeDelivered, "usr_c2")
			w.end("ord_free", orderapi.Delivered)
		}, []int{2}, "ord_free: was delivered for 2590, but 0 are captured"},
		{"delivered long ago, not paid out", func(w *town) {
			w.clock = noon.Add(-time.Hour)
			w.placed("ord_unpaid")
			w.pay("ord_unpaid", acquirer.Authorize)
			w.pay("ord_unpaid", acquirer.Capture)
			w.end("ord_unpaid", orderapi.Delivered)
		}, []int{2}, "ord_unpaid: was delivered at"},
		{"rejected, money kept", func(w *town) {
			w.placed("ord_kept")
			w.pay("ord_kept", acquirer.Authorize)
			w.pay("ord_kept", acquirer.Capture)
			w.end("ord_kept", orderapi.Rejected)
		}, []int{2}, "ord_kept: ended as rejected, but 2590 are kept"},
		{"cancelled, hold not set free", func(w *town) {
			w.placed("ord_held")
			w.pay("ord_held", acquirer.Authorize)
			w.end("ord_held", orderapi.Cancelled)
		}, []int{2}, "ord_held: ended as cancelled, but 0 are kept and 2590 held"},
		{"payment without an order", func(w *town) {
			w.clock = noon.Add(-time.Hour)
			w.pay("ord_nobody", acquirer.Authorize)
		}, []int{2}, "ord_nobody: has a payment (authorized), but there is no such order"},
		{"postings don't sum to zero", func(w *town) {
			w.change("payment", "payment/ord_delivered/000002", func(v map[string]any) {
				v["data"].(map[string]any)["postings"].([]any)[0].(map[string]any)["amount"] = 2591
			})
		}, []int{3}, "ord_delivered: the postings of event 2 (payment.captured) sum to 1"},
		{"head is not what the events give", func(w *town) {
			w.change("payment", "payment/ord_new", func(v map[string]any) { v["state"].(map[string]any)["amount"] = 1 })
		}, []int{3}, "payment/ord_new: the head differs from its events at .amount"},
		{"order's head is not what the events give", func(w *town) {
			w.change("order", "order/ord_declined", func(v map[string]any) {
				v["state"].(map[string]any)["order"].(map[string]any)["reason"] = "another"
			})
		}, []int{3}, "order/ord_declined: the head differs from its events at .order.reason"},
		{"courier with two orders", func(w *town) {
			for _, id := range []string{"ord_two_a", "ord_two_b"} {
				w.placed(id)
				w.courier(id, deliveryapi.TypeRequested, "")
				w.courier(id, deliveryapi.TypeCourierAssigned, "usr_c3")
			}
		}, []int{4}, "courier usr_c3: got ord_two_b at"},
		{"courier's record is another than the delivery", func(w *town) {
			w.placed("ord_lost")
			w.courier("ord_lost", deliveryapi.TypeRequested, "")
			w.courier("ord_lost", deliveryapi.TypeCourierAssigned, "usr_c4")
			w.put("delivery", "courier/usr_c4", map[string]any{"courier_id": "usr_c4"})
		}, []int{4}, `ord_lost: is assigned with courier usr_c4, who is down as having ""`},
		{"courier not set free", func(w *town) {
			w.put("delivery", "courier/usr_c1", map[string]any{"courier_id": "usr_c1", "order_id": "ord_cancelled"})
		}, []int{4}, `courier usr_c1: is down as having ord_cancelled, which is released`},
		{"dead order has a courier", func(w *town) {
			w.placed("ord_dead")
			w.courier("ord_dead", deliveryapi.TypeRequested, "")
			w.courier("ord_dead", deliveryapi.TypeCourierAssigned, "usr_c5")
			w.end("ord_dead", orderapi.Undeliverable)
		}, []int{4}, "ord_dead: ended as undeliverable, but its delivery is assigned"},
		{"dead order has a ticket", func(w *town) {
			w.placed("ord_cooking")
			w.ticket("ord_cooking", restaurantapi.TypeTicketOpened)
			w.ticket("ord_cooking", restaurantapi.TypeTicketAccepted)
			w.end("ord_cooking", orderapi.Undeliverable)
		}, []int{4}, "ord_cooking: ended as undeliverable, but its ticket is accepted"},
		{"dead order is on a board", func(w *town) {
			w.put("restaurant", "board/rst_1", map[string]any{"tickets": []any{map[string]any{"order_id": "ord_cancelled", "status": "accepted"}}})
		}, []int{4}, "ord_cancelled: ended as cancelled, but is work on the board of rst_1"},
		{"charged again at the acquirer", func(w *town) {
			w.charge("ord_delivered", acquirer.Capture, 1)
		}, []int{8}, "ord_delivered: the acquirer has 2 operations to capture"},
		{"charged behind the ledger's back", func(w *town) {
			w.clock = noon.Add(-time.Hour)
			w.charge("ord_rejected", acquirer.Refund, 0)
		}, []int{8}, "ord_rejected: in the acquirer's book, but not in the ledger: refund 2590"},
		{"in the ledger, not in the book", func(w *town) {
			w.book = w.book[:len(w.book)-1]
		}, []int{8}, "ord_new: not in the acquirer's book: authorize 2590"},
		{"another amount in the book", func(w *town) {
			w.book[0].Amount--
		}, []int{8}, "ord_delivered: not in the acquirer's book: authorize 2590"},
		{"event is missing", func(w *town) {
			w.delete("delivery", "delivery/ord_delivered/000003")
			w.change("delivery", "delivery/ord_delivered", func(v map[string]any) {
				delete(v["state"].(map[string]any), "picked_up_at")
				delete(v["state"].(map[string]any), "eta")
			})
		}, []int{5}, "delivery/ord_delivered: event 3 is missing"},
		{"last event is missing", func(w *town) {
			w.change("order", "order/ord_new", func(v map[string]any) { v["version"] = 3 })
		}, []int{5}, "order/ord_new: the head has version 3, the last event is 1"},
		{"head is missing", func(w *town) {
			w.delete("restaurant", "ticket/ord_delivered")
		}, []int{5}, "ticket/ord_delivered: 2 events, but no head"},
		{"event says another sequence", func(w *town) {
			w.change("order", "order/ord_new/000001", func(v map[string]any) { v["sequence"] = "7" })
		}, []int{3, 5}, "order/ord_new: the event at 000001 says another sequence"},
		{"event of another aggregate", func(w *town) {
			w.change("order", "order/ord_new/000001", func(v map[string]any) { v["subject"] = "ord_other" })
		}, []int{5}, "order/ord_new: event 1 is about ord_other"},
		{"an event was not published", func(w *town) { w.outbox("order/ord_delivered/2", noon.Add(-10*time.Minute)) },
			[]int{5}, "outbox/0/7: order has not published order/ord_delivered/2 since 2026-11-22T11:50:00Z"},
		{"a message vanished", func(w *town) { w.delete("payment", "inbox/order/ord_delivered") },
			[]int{6}, "payment: never took in order/ord_delivered/2 (order.delivered) of 2026-11-22T11:00:11Z; its inbox ends at 0"},
		{"a message vanished behind another", func(w *town) {
			w.put("notification", "inbox/order/ord_delivered", inbox.State{Last: 1})
		}, []int{6}, "notification: never took in order/ord_delivered/2 (order.delivered)"},
		{"nobody was told", func(w *town) { w.delete("notification", "told/order/ord_rejected/1") },
			[]int{7}, "ord_rejected: usr_1 was never told of order/ord_rejected/1 (order.placed) by email"},
		{"told and not sent", func(w *town) {
			w.append(streams.Order, "ord_silent", event{orderapi.EventAccepted, map[string]any{"order_id": "ord_silent", "customer_id": customer1}})
			w.put("notification", "told/x", map[string]any{"cause": "order/ord_delivered/9", "channels": []map[string]any{{"channel": "push", "status": "sent", "sent_at": noon.Add(-time.Hour)}}})
			w.delete("order", "order/ord_silent")
			w.delete("order", "order/ord_silent/000001")
		}, []int{7}, "order/ord_delivered/9 by push: is down as sent at 2026-11-22T11:00:00Z, and nobody got ntf_"},
		{"sent again when it was recorded", func(w *town) {
			w.message("push", ids.Derive("ntf", "order/ord_delivered/1", "push"), noon.Add(-30*time.Minute))
		}, []int{7}, "order/ord_delivered/1 by push: was sent 2 times, and still at 2026-11-22T11:30:00Z"},
		{"sent and owed by nobody", func(w *town) { w.message("sms", "ntf_stray", noon.Add(-30*time.Minute)) },
			[]int{7}, "ntf_stray: was sent by sms at 2026-11-22T11:30:00Z, and nobody owed it"},
		{"not told by a channel that is wanted", func(w *town) {
			w.prefersFrom(noon.Add(-50*time.Minute), true, true, true)
			w.clock = noon.Add(-40 * time.Minute)
			w.append(streams.Order, "ord_delivered", event{orderapi.EventDelivered, map[string]any{"order_id": "ord_delivered", "customer_id": customer1}})
		}, []int{7}, "ord_delivered: usr_1 was never told of order/ord_delivered/3 (order.delivered) by sms"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newTown(t).settle()
			tt.damage(w)
			r := w.audit()
			var broken []int
			var all []string
			for _, v := range r.Invariants {
				if !v.OK {
					broken = append(broken, v.ID)
				}
				if v.OK != (len(v.Violations) == 0) {
					t.Errorf("%d: ok is %v with %d violations", v.ID, v.OK, len(v.Violations))
				}
				all = append(all, v.Violations...)
			}
			if diff := cmp.Diff(tt.broken, broken); diff != "" {
				t.Errorf("broken invariants (-want +got):\n%s\n%s", diff, strings.Join(all, "\n"))
			}
			if !strings.Contains(strings.Join(all, "\n"), tt.want) {
				t.Errorf("%q is not among:\n%s", tt.want, strings.Join(all, "\n"))
			}
			if r.OK {
				t.Error("the report is green")
			}
		})
	}
}

// What an open order is doing right now is no violation, unless nothing is forgiven.
func TestInFlight(t *testing.T) {
	w := newTown(t).settle()
	w.clock = noon.Add(-5 * time.Second)
	w.charge("ord_new", acquirer.Capture, 0) // captured, about to be recorded
	w.clock = noon.Add(time.Second)
	w.pay("ord_newer", acquirer.Authorize) // of an order placed after the orders were read
	if r := w.audit(); !r.OK {
		t.Errorf("red: %+v", r.Invariants)
	}
	cfg := w.config()
	cfg.Strict = true
	r, err := audit.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.Invariants[0].OK || r.Invariants[7].OK {
		t.Errorf("strict, but green: %+v", r.Invariants)
	}
}

// With Wait the audit polls until all is settled, and forgives nothing when the time is over.
func TestWait(t *testing.T) {
	w := newTown(t).settle()
	w.writeBook()
	cfg := w.config()
	cfg.Wait = time.Millisecond
	r, err := audit.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if r.OK || !strings.Contains(strings.Join(r.Invariants[0].Violations, ""), "ord_new") {
		t.Errorf("the order in flight is no violation: %+v", r.Invariants[0])
	}
	cfg.Wait = time.Minute
	cfg.Progress = func(n int) {
		if n != 1 {
			t.Errorf("%d in flight, want 1", n)
		}
		w.pay("ord_new", acquirer.Void)
		w.writeBook()
		w.end("ord_new", orderapi.Rejected)
	}
	if r, err = audit.Run(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	if !r.OK || r.InFlight != 0 {
		t.Errorf("not settled: %+v", r)
	}
}

// The stores are read while they are written to, and as a crash leaves them: with a log that was not merged.
func TestReadsALiveAndACrashedStore(t *testing.T) {
	w := newTown(t).settle()
	for _, db := range w.dbs {
		tx, err := db.Begin()
		w.must(err)
		_, err = tx.Exec(`DELETE FROM state`)
		w.must(err)
		defer func() { _ = tx.Rollback() }()
	}
	if r := w.audit(); !r.OK {
		t.Errorf("live: %+v", r.Invariants)
	}
	cfg := w.config()
	cfg.Stores = audit.SQLite{Dir: w.copyState()}
	r, err := audit.Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK || len(r.Orders) != 6 {
		t.Errorf("crashed: %+v", r)
	}
}

func TestUnreadable(t *testing.T) {
	tests := []struct {
		name   string
		damage func(*town)
		want   string
	}{
		{"no store", func(w *town) { w.must(os.Remove(filepath.Join(w.dir, "state", "payment.db"))) }, "payment.db"},
		{"no table", func(w *town) {
			_, err := w.dbs["order"].Exec(`DROP TABLE state`)
			w.must(err)
		}, "has no table"},
		{"no database", func(w *town) {
			for _, ext := range []string{".db-wal", ".db-shm"} {
				w.must(os.Remove(filepath.Join(w.dir, "state", "order"+ext)))
			}
			w.must(os.WriteFile(filepath.Join(w.dir, "state", "order.db"), []byte(strings.Repeat("not a database ", 100)), 0o600))
		}, "order.db"},
		{"damaged event", func(w *town) { w.put("order", "order/ord_new/000001", "no event") }, "order/ord_new/000001"},
		{"damaged head", func(w *town) { w.put("payment", "payment/ord_new", []int{}) }, "payment/ord_new"},
		{"damaged book", func(w *town) { w.book[3].Sequence = 9 }, "acquirer's book"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newTown(t).settle()
			tt.damage(w)
			w.writeBook()
			_, err := audit.Run(t.Context(), w.config())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want one about %q", err, tt.want)
			}
			if missing := strings.HasPrefix(tt.name, "no store") || tt.name == "no table"; missing != errors.Is(err, audit.ErrNoStore) {
				t.Errorf("is ErrNoStore: %v, for %v", !missing, err)
			}
		})
	}
}

// A line that a crash has torn is told, and spoils nothing.
func TestTornJournal(t *testing.T) {
	w := newTown(t).settle()
	f, err := os.OpenFile(w.config().Journal, os.O_APPEND|os.O_WRONLY, 0o600)
	w.must(err)
	_, err = f.WriteString(`{"order_id":"ord_t`)
	w.must(err)
	w.must(f.Close())
	r := w.audit()
	if !r.OK || len(r.Notes) != 2 || !strings.Contains(r.Notes[0], "line 7 of the customers' journal is torn") {
		t.Errorf("ok %v, notes %v", r.OK, r.Notes)
	}
}
