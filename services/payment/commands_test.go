package payment_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/payment"
	"github.com/dishmesh/dishmesh/services/payment/paymentapi"
)

// Every command in every state: what it answers, and what it moves at the acquirer.
func TestStateTable(t *testing.T) {
	paths := []struct {
		state string
		by    []string
	}{
		{"none", nil},
		{"authorized", []string{"authorize"}},
		{"declined", []string{"authorize declined"}},
		{"captured", []string{"authorize", "capture"}},
		{"voided", []string{"authorize", "void"}},
		{"called off", []string{"void"}},
		{"refunding", []string{"authorize", "capture", "refund crashes"}},
		{"refunded", []string{"authorize", "capture", "refund"}},
		{"paid out", []string{"authorize", "capture", "deliver"}},
	}
	const illegal = "illegal-state-change"
	want := map[string]map[string]string{ // by state and command: answer [+ movements]
		"none":       {"authorize": "authorized +authorize", "capture": illegal, "void": "voided", "refund": "voided", "deliver": "dead letter"},
		"authorized": {"authorize": "authorized", "capture": "captured +capture", "void": "voided +void", "refund": "voided +void", "deliver": "dead letter"},
		"declined":   {"authorize declined": "declined card_declined", "capture": illegal, "void": "declined card_declined", "refund": "declined card_declined", "deliver": "dead letter"},
		"captured":   {"authorize": "authorized", "capture": "captured", "void": illegal, "refund": "refunded +refund", "deliver": "ok"},
		"voided":     {"authorize": "declined voided", "capture": illegal, "void": "voided", "refund": "voided", "deliver": "dead letter"},
		"called off": {"authorize": "declined voided", "capture": illegal, "void": "voided called_off", "refund": "voided called_off", "deliver": "dead letter"},
		"refunding":  {"authorize": "declined refunding", "capture": illegal, "void": illegal, "refund": "refunded +refund", "deliver": "dead letter"},
		"refunded":   {"authorize": "declined refunded", "capture": illegal, "void": "refunded kitchen_rejected", "refund": "refunded kitchen_rejected", "deliver": "dead letter"},
		"paid out":   {"authorize": "authorized", "capture": "captured", "void": illegal, "refund": illegal, "deliver": "ok"},
	}
	b := newBench(t, patient)
	n := 0
	for _, p := range paths {
		for command, expected := range want[p.state] {
			t.Run(p.state+"/"+command, func(t *testing.T) {
				n++
				order := "ord_" + pad(n)
				for _, c := range p.by {
					b.run(order, c)
				}
				before := b.agree(order)
				got := b.run(order, command)
				after := b.agree(order)
				if moved := after[len(before):]; len(moved) > 0 {
					got += " +" + strings.Join(moved, "+")
				}
				if got != expected {
					t.Errorf("got %q, want %q", got, expected)
				}
				version := len(b.ledger(order))
				if again := b.run(order, command); len(b.ledger(order)) != version {
					t.Errorf("the repeat (%s) wrote another event", again)
				}
			})
		}
	}
}

// One happy path costs three calls to the acquirer at most, and asks for nothing.
func TestHappyPathIsCheap(t *testing.T) {
	b := newBench(t, patient)
	for _, c := range []string{"authorize", "capture", "deliver"} {
		b.run("ord_cheap", c)
	}
	if diff := cmp.Diff([]string{"post authorizations", "post capture"}, b.line.log()); diff != "" {
		t.Errorf("calls (-want +got):\n%s", diff)
	}
}

// What a call leaves open is settled by asking, for every operation and both ways in which a call gets lost.
func TestUnknownIsAsked(t *testing.T) {
	commands := []struct{ name, prepare, want string }{
		{"authorize", "", "authorized"},
		{"authorize declined", "", "declined card_declined"},
		{"capture", "authorize", "captured"},
		{"void", "authorize", "voided"},
		{"refund", "authorize,capture", "refunded"},
	}
	faults := []struct {
		name   string
		faults []fault
		first  string // answer of the command, "" for the final one
		calls  int    // exchanges of the first run
	}{
		{"request lost", []fault{dropBefore}, "", 3},                                         // post, ask: 404, post
		{"answer lost", []fault{dropAfter}, "", 2},                                           // post, ask
		{"request lost, ask lost", []fault{dropBefore, dropBefore}, "unavailable", 2},        // the saga comes again
		{"answer lost, ask lost", []fault{dropAfter, dropBefore}, "unavailable", 2},          //
		{"lost twice, asked twice", []fault{dropBefore, pass, dropBefore}, "unavailable", 4}, //
		{"second answer lost", []fault{dropBefore, pass, dropAfter}, "", 4},                  //
	}
	b := newBench(t, patient)
	n := 0
	for _, c := range commands {
		for _, f := range faults {
			t.Run(c.name+"/"+f.name, func(t *testing.T) {
				n++
				order := "ord_" + pad(n)
				for p := range strings.SplitSeq(c.prepare, ",") {
					if p != "" {
						b.run(order, p)
					}
				}
				before := len(b.line.log())
				b.line.next(f.faults...)
				want := f.first
				if want == "" {
					want = c.want
				}
				if got := b.run(order, c.name); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				if got := len(b.line.log()) - before; got != f.calls {
					t.Errorf("got %d exchanges, want %d: %v", got, f.calls, b.line.log()[before:])
				}
				b.line.next()
				if got := b.run(order, c.name); !strings.HasPrefix(got, c.want) {
					t.Errorf("the saga's repeat: got %q, want %q", got, c.want)
				}
				b.agree(order)
			})
		}
	}
}

// The test cards of the city, as the saga meets them: it repeats a step that is unavailable.
func TestTestCards(t *testing.T) {
	tests := []struct {
		card   string
		want   paymentapi.Result
		rounds int
	}{
		{"card_ok", paymentapi.Result{Status: paymentapi.Authorized}, 1},
		{"card_declined", paymentapi.Result{Status: paymentapi.Declined, Reason: "card_declined"}, 1},
		{"card_insufficient", paymentapi.Result{Status: paymentapi.Declined, Reason: "insufficient_funds"}, 1},
		{"card_unheard_of", paymentapi.Result{Status: paymentapi.Declined, Reason: "unknown_card"}, 1},
		{"card_slow", paymentapi.Result{Status: paymentapi.Authorized}, 1},
		{"card_timeout_before", paymentapi.Result{Status: paymentapi.Authorized}, 1},
		{"card_timeout_after_authorize", paymentapi.Result{Status: paymentapi.Authorized}, 1},
		{"card_timeout_after_capture", paymentapi.Result{Status: paymentapi.Authorized}, 1},
		{"card_fail_2", paymentapi.Result{Status: paymentapi.Authorized}, 2},
		{"card_duplicate", paymentapi.Result{Status: paymentapi.Authorized}, 1},
	}
	b := newBench(t, 150*time.Millisecond)
	for _, tt := range tests {
		t.Run(tt.card, func(t *testing.T) {
			order := "ord_" + tt.card
			var got paymentapi.Result
			var err error
			rounds := 0
			for rounds < 10 {
				rounds++
				if got, err = b.client.Authorize(t.Context(), order, request(tt.card)); err == nil {
					break
				}
			}
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want || rounds < tt.rounds {
				t.Errorf("got %v in %d rounds, want %v in at least %d", got, rounds, tt.want, tt.rounds)
			}
			want := []string{}
			if got.Status == paymentapi.Authorized {
				if got := b.run(order, "capture"); got != "captured" {
					t.Errorf("capture: %s", got)
				}
				want = []string{"authorize", "capture"}
			}
			if diff := cmp.Diff(want, b.agree(order)); diff != "" {
				t.Errorf("movements (-want +got):\n%s", diff)
			}
		})
	}
}

// The answer was had, but the process died before it was recorded. Whoever comes next finds it out.
func TestCrashBetweenCallAndRecord(t *testing.T) {
	tests := []struct {
		name, prepare, crashed, next, want string
		moved                              []string
	}{
		{"authorize again", "", "authorize", "authorize", "authorized", []string{"authorize"}},
		{"authorize, then void", "", "authorize", "void", "voided", []string{"authorize", "void"}},
		{"authorize, then refund", "", "authorize", "refund", "voided", []string{"authorize", "void"}},
		{"declined, then void", "", "authorize declined", "void", "declined card_declined", []string{}},
		{"capture again", "authorize", "capture", "capture", "captured", []string{"authorize", "capture"}},
		{"capture, then refund", "authorize", "capture", "refund", "refunded", []string{"authorize", "capture", "refund"}},
		{"capture, then void", "authorize", "capture", "void", "illegal-state-change", []string{"authorize", "capture"}},
		{"void again", "authorize", "void", "void", "voided", []string{"authorize", "void"}},
		{"void, then refund", "authorize", "void", "refund", "voided", []string{"authorize", "void"}},
		{"refund again", "authorize,capture", "refund", "refund", "refunded", []string{"authorize", "capture", "refund"}},
	}
	b := newBench(t, patient)
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			order := "ord_crash_" + pad(i)
			for p := range strings.SplitSeq(tt.prepare, ",") {
				if p != "" {
					b.run(order, p)
				}
			}
			skip := 0
			if tt.crashed == "refund" {
				skip = 1 // the intent
			}
			b.store.fail(skip, 1, 0)
			if got := b.run(order, tt.crashed); got != "unavailable" {
				t.Fatalf("the step that can't record: got %q", got)
			}
			if got := b.run(order, tt.next); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if diff := cmp.Diff(tt.moved, b.agree(order)); diff != "" {
				t.Errorf("movements (-want +got):\n%s", diff)
			}
		})
	}
}

// An authorization that arrives at the acquirer after its void is set free by the tombstone's own check, and, in
// another run, by its own repeat.
func TestAuthorizationOvertakenByVoid(t *testing.T) {
	for _, way := range []string{"check", "repeat"} {
		t.Run(way, func(t *testing.T) {
			b := newBench(t, 50*time.Millisecond)
			b.line.next(arriveLate, pass, arriveLate)
			if got := b.run("ord_late", "authorize"); got != "unavailable" {
				t.Fatalf("authorize: %q", got)
			}
			if got := b.run("ord_late", "void"); got != "voided" {
				t.Fatalf("void: %q", got)
			}
			b.line.deliver()
			if way == "repeat" {
				if got := b.run("ord_late", "authorize"); got != "declined voided" {
					t.Errorf("repeat: %q", got)
				}
			}
			runtest.Eventually(t, "the hold is set free", func() bool {
				ledger, book := b.movements("ord_late")
				return len(ledger) == 2 && cmp.Equal(ledger, book)
			})
			if err := payment.CheckLate(t.Context(), b.service, "ord_late"); err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff([]string{"authorize", "void"}, b.agree("ord_late")); diff != "" {
				t.Errorf("movements (-want +got):\n%s", diff)
			}
		})
	}
}

// Many callers at once, on two replicas: the money moves once.
func TestConcurrentCommands(t *testing.T) {
	one := newBench(t, patient)
	two := newBenchOn(t, one.line, one.store, "two", patient)
	both := func(order, command string) (answers []string) {
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				got := []*bench{one, two}[i%2].run(order, command)
				mu.Lock()
				defer mu.Unlock()
				answers = append(answers, got)
			})
		}
		wg.Wait()
		return answers
	}
	for _, command := range []string{"authorize", "capture", "refund"} {
		for _, got := range both("ord_busy", command) {
			if strings.Contains(got, "-") {
				t.Errorf("%s: %s", command, got)
			}
		}
	}
	if diff := cmp.Diff([]string{"authorize", "capture", "refund"}, one.agree("ord_busy")); diff != "" {
		t.Errorf("movements (-want +got):\n%s", diff)
	}
}
