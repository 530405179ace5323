package customer

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// Wish is what an order is meant to meet with. The city obeys the words in the notes and the test cards; any
// customer may write and use them.
type Wish struct {
	Name        string // such as "card declined"
	Card        string // a test card of the city's acquirer
	Note        string // for the kitchen
	CourierNote string // for the courier
	CancelAfter string // one of CancelPoints; "": no cancellation
	// May lists the states that the order may end in.
	May []orderapi.Status
	// Slack is how much longer than others the order may take, because a deadline of the platform has to pass.
	Slack time.Duration
}

// CardOK is the test card that is always approved.
const CardOK = "card_ok"

// Cards lists what can be wished of the acquirer, by the words of the command line.
func Cards() []string {
	return []string{
		"declined", "insufficient", "timeout-before", "timeout-after-authorize", "timeout-after-capture",
		"slow", "fail-2", "duplicate",
	}
}

// Card is the test card for a word of Cards; "" and "ok" are the card that is approved.
func Card(word string) (string, error) {
	if word == "" || word == "ok" {
		return CardOK, nil
	}
	if !slices.Contains(Cards(), word) {
		return "", fmt.Errorf("no test card is called %q: take one of %s", word, strings.Join(Cards(), ", "))
	}
	return "card_" + strings.ReplaceAll(word, "-", "_"), nil
}

// kitchenWords maps the words of the command line to those that the city's kitchens obey.
var kitchenWords = map[string]string{"rejects": "reject", "ignores": "ignore", "slow": "slow"}

// KitchenNote is the note that makes the kitchen do what a word says; "" is no note.
func KitchenNote(word string) (string, error) {
	if word == "" {
		return "", nil
	}
	if kitchenWords[word] == "" {
		return "", fmt.Errorf("a kitchen can't be %q: take one of rejects, ignores, slow", word)
	}
	return "city:kitchen=" + kitchenWords[word], nil
}

// NoCourierNote makes every courier decline.
const NoCourierNote = "city:courier=none"

// SlowCourierNote makes the courier take seconds even where the city takes no time, so that there is an instant at
// which to cancel before the pick-up.
const SlowCourierNote = "city:courier=slow"

// CancelPoints lists the moments after which an order can be wished to be cancelled. After the last it is too late.
func CancelPoints() []string { return []string{"placed", "accept", "assigned", "pickup"} }

// CancelDue reports whether the moment of a cancel point has come.
func (p *Progress) CancelDue(point string) bool {
	switch point {
	case "placed":
		return true
	case "accept":
		return p.Has(StepKitchenAccepted)
	case "assigned":
		return p.Has(StepCourierAssigned)
	case "pickup":
		return rank(p.Status) >= rank(orderapi.PickedUp) // as the order itself sees it
	}
	return false
}

// TooLate reports whether a cancellation was refused because the order has been picked up or has ended.
func TooLate(err error) bool {
	t := problem.Of(err)
	return t == problem.TooLate || t == problem.IllegalState
}

// ChooseAgain reports whether an order was refused for a reason that another quote or another choice may mend.
func ChooseAgain(err error) bool {
	switch problem.Of(err) {
	case problem.QuoteExpired, problem.PriceChanged, problem.ItemUnavailable, problem.RestaurantClosed, problem.OutOfRange:
		return true
	}
	return false
}

// ErrorType names an error for a tally: a problem's type, "interrupted", or "client" for a fault on this side.
func ErrorType(err error) string {
	var p *problem.Error
	switch {
	case errors.As(err, &p):
		return string(p.Type)
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, context.DeadlineExceeded):
		return string(problem.Timeout)
	default:
		return "client"
	}
}

// well is how an order may end that nothing is meant to befall: a kitchen may be full, every courier busy.
func well(more ...orderapi.Status) []orderapi.Status {
	return append([]orderapi.Status{orderapi.Delivered, orderapi.Rejected, orderapi.Undeliverable}, more...)
}

// Plain is the wish that nothing befalls the order.
func Plain() Wish { return Wish{Name: "ok", Card: CardOK, May: well()} }

// searching is the slack of an order that no courier takes: a minute by default is searched for one.
const searching = 90 * time.Second

// Mishaps lists what befalls a fifth of mixed orders. A kitchen that ignores an order is not among them: the order
// ends at the kitchen's deadline of two minutes, and nothing else happens.
func Mishaps() []Wish {
	cancel := func(point string) Wish {
		return Wish{Name: "cancel after " + point, Card: CardOK, CancelAfter: point, May: well(orderapi.Cancelled)}
	}
	card := func(word string, may []orderapi.Status) Wish {
		return Wish{Name: "card " + word, Card: "card_" + strings.ReplaceAll(word, "-", "_"), May: may}
	}
	declined := []orderapi.Status{orderapi.Declined}
	return []Wish{
		card("declined", declined),
		card("insufficient", declined),
		card("timeout-before", well(orderapi.Declined)),
		card("timeout-after-authorize", well()),
		card("timeout-after-capture", well()),
		card("slow", well()),
		card("fail-2", well()),
		card("duplicate", well()),
		{Name: "kitchen rejects", Card: CardOK, Note: "city:kitchen=reject", May: []orderapi.Status{orderapi.Rejected}},
		{Name: "kitchen slow", Card: CardOK, Note: "city:kitchen=slow", May: well()},
		{Name: "no courier", Card: CardOK, CourierNote: NoCourierNote, Slack: searching,
			May: []orderapi.Status{orderapi.Undeliverable, orderapi.Rejected}},
		cancel("placed"),
		cancel("accept"),
	}
}

// MixedWish is the wish of the i-th of many orders: four out of five are plain, and the others take turns at all that
// can befall an order, in an order that depends on the seed.
func MixedWish(seed uint64, i int) Wish {
	if i%5 != 4 {
		return Plain()
	}
	all := Mishaps()
	turns := rand.New(rand.NewPCG(seed, 0)).Perm(len(all))
	return all[turns[i/5%len(all)]]
}
