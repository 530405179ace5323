package pricing

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/internal/run/runtest"
	"github.com/dishmesh/dishmesh/services/internal/sidecar"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

func TestConfirmRefuses(t *testing.T) {
	tests := []struct {
		name   string
		change func(f *fixture)
		want   problem.Type
	}{
		{"another customer", nil, problem.QuoteNotYours},
		{"expired", func(f *fixture) { f.clock.add(10 * time.Minute) }, problem.QuoteExpired},
		{"dearer", func(f *fixture) { f.menu.change("rst_a", 1, func(i *menuapi.Item) { i.Price++ }) }, problem.PriceChanged},
		{"cheaper", func(f *fixture) { f.menu.change("rst_a", 1, func(i *menuapi.Item) { i.Price-- }) }, problem.PriceChanged},
		{"sold out", func(f *fixture) { f.menu.change("rst_a", 1, func(i *menuapi.Item) { i.Available = false }) }, problem.ItemUnavailable},
		{"off the menu", func(f *fixture) { f.menu.change("rst_a", 1, func(i *menuapi.Item) { i.ID = "itm_new" }) }, problem.ItemUnavailable},
	}
	for _, promotion := range []string{"", "WELCOME10"} {
		for _, tt := range tests {
			t.Run(tt.name+promotion, func(t *testing.T) {
				f := setUp(t)
				q := f.mustAsk("usr_1", soups(2, promotion))
				customer := "usr_2"
				if tt.change != nil {
					customer = "usr_1"
					tt.change(f)
					f.menus.expire("rst_a")
				}
				_, err := f.confirmed(q.Token, "ord_1", customer)
				wantProblem(t, err, tt.want)
				for _, key := range f.fakes.Store.Keys() {
					if key != keysKey {
						t.Errorf("%s was written", key)
					}
				}
			})
		}
	}
}

func TestConfirmWithoutPromotionWritesNothing(t *testing.T) {
	f := setUp(t)
	q := f.mustAsk("usr_1", soups(2, ""))
	f.fakes.Store.Fail = func([]sidecar.Op) error { return errors.New("nothing is to be written") }
	lookups := f.menu.count()
	for n := range 3 {
		if _, err := f.confirmed(q.Token, fmt.Sprintf("ord_%d", n), "usr_1"); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.menu.count() - lookups; got != 0 {
		t.Errorf("%d lookups of a menu that is known", got)
	}
	if f.released("ord_0") {
		t.Error("something was released")
	}
}

func TestConfirmIsRepeatable(t *testing.T) {
	for _, promotion := range []string{"", "ONCE"} {
		t.Run(promotion, func(t *testing.T) {
			f := setUp(t)
			q := f.mustAsk("usr_1", soups(2, promotion))
			first, err := f.confirmed(q.Token, "ord_1", "usr_1")
			if err != nil {
				t.Fatal(err)
			}
			f.menu.change("rst_a", 1, func(i *menuapi.Item) { i.Price++ })
			f.menus.expire("rst_a")
			f.clock.add(time.Hour)
			again, err := f.confirmed(q.Token, "ord_1", "usr_1")
			if diff := cmp.Diff(first, again); err != nil || diff != "" {
				t.Errorf("again: error %v (-first +again):\n%s", err, diff)
			}
			_, err = f.confirmed(q.Token, "ord_2", "usr_1")
			wantProblem(t, err, problem.QuoteExpired)
		})
	}
}

func TestPromotionLimits(t *testing.T) {
	f := setUp(t)
	confirm := func(order, customer string, q string) error {
		_, err := f.confirmed(q, order, customer)
		return err
	}
	welcome1 := f.mustAsk("usr_1", soups(2, "WELCOME10"))
	welcome2 := f.mustAsk("usr_1", soups(3, "WELCOME10"))
	if err := confirm("ord_1", "usr_1", welcome1.Token); err != nil {
		t.Fatal(err)
	}
	wantProblem(t, confirm("ord_2", "usr_1", welcome2.Token), problem.PromotionExhausted)
	wantProblem(t, confirm("ord_2", "usr_1", welcome1.Token), problem.PromotionExhausted)
	wantProblem(t, confirm("ord_1", "usr_1", welcome2.Token), problem.IllegalState)
	_, err := f.ask("usr_1", soups(2, "WELCOME10"))
	wantProblem(t, err, problem.PromotionExhausted)

	other := f.mustAsk("usr_2", soups(2, "WELCOME10"))
	if err := confirm("ord_3", "usr_2", other.Token); err != nil {
		t.Errorf("another customer: %v", err)
	}
	for n := range 3 {
		lunch := f.mustAsk("usr_1", soups(5, "LUNCH5"))
		if lunch.Discount != 500 {
			t.Errorf("LUNCH5 gave %d", lunch.Discount)
		}
		if err := confirm(fmt.Sprintf("ord_lunch_%d", n), "usr_1", lunch.Token); err != nil {
			t.Errorf("LUNCH5 is without limit: %v", err)
		}
		wantProblem(t, confirm("ord_other", "usr_1", lunch.Token), problem.PromotionExhausted)
	}
}

func TestReleaseGivesTheRedemptionBack(t *testing.T) {
	for _, code := range []string{"ONCE", "WELCOME10", "LUNCH5"} {
		t.Run(code, func(t *testing.T) {
			f := setUp(t)
			q := f.mustAsk("usr_1", soups(5, code))
			if f.released("ord_1") {
				t.Error("released before it was redeemed")
			}
			for range 2 { // a released order may confirm again
				if _, err := f.confirmed(q.Token, "ord_1", "usr_1"); err != nil {
					t.Fatal(err)
				}
				if got := []bool{f.released("ord_1"), f.released("ord_1"), f.released("ord_1")}; !cmp.Equal(got, []bool{true, false, false}) {
					t.Errorf("releases: %v", got)
				}
			}
			next := f.mustAsk("usr_1", soups(5, code))
			if _, err := f.confirmed(next.Token, "ord_2", "usr_1"); err != nil {
				t.Errorf("after the release: %v", err)
			}
			if f.released("ord_1") {
				t.Error("ord_1 gave back what ord_2 took")
			}
		})
	}
}

// TestOnceIsRedeemedOnce has a hundred orders ask for the one redemption there is, at two replicas, with a store
// that makes them meet.
func TestOnceIsRedeemedOnce(t *testing.T) {
	f := setUp(t)
	deps, fakes := runtest.New(t, "pricing")
	deps.State = f.fakes.Store
	replica := setUpOn(t, defaults(t), deps, fakes, f.clock)
	const orders = 100
	tokens := make([]string, orders)
	for n := range tokens {
		tokens[n] = f.mustAsk(fmt.Sprintf("usr_%d", n), soups(1, "ONCE")).Token
	}
	errs := make([]error, orders)
	var wg sync.WaitGroup
	for n, token := range tokens {
		wg.Go(func() {
			_, errs[n] = []*fixture{f, replica}[n%2].confirmed(token, fmt.Sprintf("ord_%d", n), fmt.Sprintf("usr_%d", n))
		})
	}
	wg.Wait()
	redeemed := 0
	for _, err := range errs {
		if err == nil {
			redeemed++
			continue
		}
		wantProblem(t, err, problem.PromotionExhausted)
	}
	if redeemed != 1 {
		t.Errorf("%d orders redeemed ONCE", redeemed)
	}
}

// TestOneOrderRedeemsOnce confirms one order a hundred times at once.
func TestOneOrderRedeemsOnce(t *testing.T) {
	f := setUp(t)
	q := f.mustAsk("usr_1", soups(1, "WELCOME10"))
	var wg sync.WaitGroup
	for range 100 {
		wg.Go(func() {
			if _, err := f.confirmed(q.Token, "ord_1", "usr_1"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	item, err := f.fakes.Store.Get(t.Context(), customerKey("WELCOME10", "usr_1"))
	if err != nil || string(item.Value) != `{"redeemed":1}` {
		t.Errorf("counter is %s, error %v", item.Value, err)
	}
}

// TestLostAnswer has the store write a redemption and then fail: the repeat finds it done.
func TestLostAnswer(t *testing.T) {
	f := setUp(t)
	q := f.mustAsk("usr_1", soups(1, "ONCE"))
	lost := &lostAnswers{Store: f.fakes.Store}
	f.redemptions.state = lost
	_, err := f.confirmed(q.Token, "ord_1", "usr_1")
	wantProblem(t, err, problem.Unavailable)
	f.redemptions.state = f.fakes.Store
	if _, err := f.confirmed(q.Token, "ord_1", "usr_1"); err != nil {
		t.Errorf("the repeat: %v", err)
	}
}

type lostAnswers struct{ sidecar.Store }

func (s *lostAnswers) Transact(ctx context.Context, ops ...sidecar.Op) error {
	if err := s.Store.Transact(ctx, ops...); err != nil {
		return err
	}
	return problem.New(problem.Unavailable, "the answer is lost")
}

func TestReadPromotionsRefusesFaults(t *testing.T) {
	for _, text := range []string{
		"- {code: lower, amount: 1}", "- {code: BOTH, amount: 1, percent_bp: 1}", "- {code: NEITHER}", "- {code: A, amount: -1}",
		"- {code: A, percent_bp: 10001}", "- {code: A, amount: 1}\n- {code: A, amount: 1}", "- {code: A, amount: 1, limit: 1}",
	} {
		if _, err := readPromotions([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
