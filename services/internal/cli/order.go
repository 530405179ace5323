package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
	"github.com/dishmesh/dishmesh/services/pricing/pricingapi"
)

// Exit codes of `dishmesh order`, by how the order ended. 0 is delivered.
const (
	exitRejected           = 10
	exitCancelled          = 11
	exitDeclined           = 12
	exitUndeliverable      = 13
	exitCompensationFailed = 14
	exitTimeout            = 124 // as timeout(1) has it
	exitInterrupted        = 130 // as shells have it for SIGINT
)

var endExit = map[orderapi.Status]int{
	orderapi.Delivered: ExitOK, orderapi.Rejected: exitRejected, orderapi.Cancelled: exitCancelled,
	orderapi.Declined: exitDeclined, orderapi.Undeliverable: exitUndeliverable,
	orderapi.CompensationFailed: exitCompensationFailed,
}

const (
	// lookEvery is how often the order is read besides its live stream.
	lookEvery = 3 * time.Second
	// choices is how often another choice is made when the first can't be had.
	choices = 5
)

func init() { register(newOrder) }

// orderFlags are the flags of `dishmesh order`.
type orderFlags struct {
	restaurant, card, kitchen, cancelAfter, promotion, note string
	items                                                   []string
	noCourier, json                                         bool
	seed                                                    uint64
	timeout                                                 time.Duration
}

func newOrder() *cobra.Command {
	var f orderFlags
	cmd := &cobra.Command{
		Use:     "order",
		GroupID: groupOrders,
		Short:   "Place an order as a demo customer and follow it live",
		Long: `Places an order through the public API, as any customer would, and follows it to its end. The first time it registers
a demo customer. Without flags it orders a few dishes somewhere, and a courier brings them.

The flags --card, --kitchen, --no-courier and --cancel-after show what happens when something goes wrong: the test cards
are those of the simulated card acquirer, and the simulated kitchens and couriers obey words in the notes.

With --json the answer is one object at the end:
{order_id, status, reason, total, currency, steps [{name, at, seconds, note}]}; amounts are minor units.
Every acknowledged order is recorded in client/orders.jsonl of the data folder, for ` + "`dishmesh audit`" + `.

Exit codes: 0 delivered, 10 rejected by the kitchen, 11 cancelled, 12 card declined, 13 no courier, 14 something could not
be undone, 124 not ended within --timeout, 130 interrupted, 1 not placed, 2 wrong flag, 3 no platform is running.`,
		Example: `  dishmesh order
  dishmesh order --card timeout-after-capture
  dishmesh order --restaurant rst_03 --item Lasagne:2 --promotion WELCOME
  dishmesh order --cancel-after accept; echo $?`,
		Args: cobra.NoArgs,
	}
	site := addSiteFlags(cmd)
	fl := cmd.Flags()
	fl.StringVar(&f.restaurant, "restaurant", "", "id or part of the name of a restaurant (default: one that is open)")
	fl.StringArrayVar(&f.items, "item", nil, "id or part of the name of a dish, as dish or dish:quantity; can be given again")
	fl.StringVar(&f.card, "card", "ok", "test card: ok, "+strings.Join(customer.Cards(), ", "))
	fl.StringVar(&f.kitchen, "kitchen", "", "what the kitchen does: rejects, ignores, slow")
	fl.BoolVar(&f.noCourier, "no-courier", false, "every courier declines")
	fl.StringVar(&f.cancelAfter, "cancel-after", "", "cancel after: "+strings.Join(customer.CancelPoints(), ", ")+" (too late)")
	fl.StringVar(&f.promotion, "promotion", "", "promotion code")
	fl.StringVar(&f.note, "note", "", "note for the kitchen")
	fl.Uint64Var(&f.seed, "seed", 0, "makes the same choice again; 0: another one each time")
	fl.DurationVar(&f.timeout, "timeout", 5*time.Minute, "how long to wait for the end")
	fl.BoolVar(&f.json, "json", false, "print JSON at the end instead")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		wish, err := f.wish()
		if err != nil {
			return err
		}
		return runOrder(cmd, f, wish, site)
	}
	return cmd
}

// wish checks the flags and turns them into what the order is meant to meet with.
func (f orderFlags) wish() (customer.Wish, error) {
	var w customer.Wish
	var errCard, errKitchen error
	var kitchen string
	w.Card, errCard = customer.Card(f.card)
	kitchen, errKitchen = customer.KitchenNote(f.kitchen)
	faults := []string{}
	for flag, err := range map[string]error{"--card": errCard, "--kitchen": errKitchen} {
		if err != nil {
			faults = append(faults, flag+": "+err.Error())
		}
	}
	if f.cancelAfter != "" && !slices.Contains(customer.CancelPoints(), f.cancelAfter) {
		faults = append(faults, fmt.Sprintf("--cancel-after: %q is no moment: take one of %s", f.cancelAfter, strings.Join(customer.CancelPoints(), ", ")))
	}
	if f.timeout <= 0 {
		faults = append(faults, "--timeout must be more than 0")
	}
	if len(faults) > 0 {
		slices.Sort(faults)
		return w, usageError("%s", strings.Join(faults, "; "))
	}
	w.CancelAfter = f.cancelAfter
	w.Note = strings.TrimSpace(f.note + " " + kitchen)
	switch {
	case f.noCourier:
		w.CourierNote = customer.NoCourierNote
	case f.cancelAfter == "accept" || f.cancelAfter == "assigned":
		w.CourierNote = customer.SlowCourierNote
	}
	return w, nil
}

func runOrder(cmd *cobra.Command, f orderFlags, wish customer.Wish, flags *siteFlags) error {
	site, data, err := flags.site(min(f.timeout, time.Minute))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
	defer cancel()
	journal, err := customer.OpenJournal(flags.clients(data))
	if err != nil {
		return err
	}
	defer func() { _ = journal.Close() }() // every line is on the disk already
	customers, err := site.Enter(ctx, clientFile(flags.clients(data), customer.CustomerFile), 1, nil)
	if err != nil {
		return orderFailure(ctx, err)
	}
	c := customers[0]
	o, err := place(ctx, site, c, f, wish)
	if err != nil {
		return orderFailure(ctx, err)
	}
	if err := journal.Append(o, time.Now()); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	picture := out
	if f.json {
		picture = io.Discard
	}
	view := newOrderView(picture, o)
	err = follow(ctx, c, o.ID, wish.CancelAfter, view)
	progress := view.close()
	if f.json {
		if jerr := printOrderJSON(out, o, progress); jerr != nil {
			return jerr
		}
	}
	if !progress.Ended() {
		return orderFailure(ctx, err)
	}
	if code := endExit[progress.Status]; code != ExitOK {
		return &ExitError{Code: code}
	}
	return nil
}

// orderFailure gives a failure the exit code that fits.
func orderFailure(ctx context.Context, err error) error {
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return &ExitError{Code: exitTimeout, Err: errors.New("the time of --timeout is over: see `dishmesh status` and `dishmesh logs order`")}
	case ctx.Err() != nil:
		return &ExitError{Code: exitInterrupted, Err: errors.New("interrupted; an order that was placed goes on without being watched")}
	case problem.Of(err) == problem.Unavailable:
		return fmt.Errorf("the platform does not answer (see `dishmesh status`): %w", err)
	}
	return err
}

// place chooses dishes, asks for a quote and places the order. When a dish is sold out meanwhile or a price has
// changed, it does so again.
func place(ctx context.Context, site customer.Site, c *customer.Customer, f orderFlags, wish customer.Wish) (orderapi.Order, error) {
	seed := f.seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	town, err := site.Explore(ctx, f.restaurant)
	if err != nil {
		return orderapi.Order{}, err
	}
	var o orderapi.Order
	for range choices {
		var basket pricingapi.QuoteRequest
		if len(f.items) == 0 {
			basket = town.Choose(rng)
		} else if basket, err = town.ChooseItems(rng, f.items); err != nil {
			return o, err
		}
		basket.Promotion = f.promotion
		var quote pricingapi.Quote
		if quote, err = c.Quote(ctx, basket); err == nil {
			o, err = c.Place(ctx, ids.New("key"), orderapi.PlaceRequest{
				Quote: quote.Token, Card: wish.Card, Note: wish.Note, CourierNote: wish.CourierNote,
			})
		}
		if err == nil || ctx.Err() != nil || !customer.ChooseAgain(err) {
			break
		}
	}
	return o, err
}

// follow shows the order until it ends, and cancels it when the moment has come.
func follow(ctx context.Context, c *customer.Customer, id, cancelAfter string, view *orderView) error {
	var cancelling sync.WaitGroup
	defer cancelling.Wait()
	due := func(p *customer.Progress) {
		if cancelAfter == "" || !p.CancelDue(cancelAfter) {
			return
		}
		cancelAfter = ""
		cancelling.Go(func() {
			_, err := c.Cancel(ctx, id, "changed my mind")
			view.cancelled(err)
		})
	}
	view.see(customer.News{}, due)
	return c.Follow(ctx, id, lookEvery, func(n customer.News) bool { return !view.see(n, due) })
}

// orderResult is what --json prints. Its keys are stable.
type orderResult struct {
	OrderID  string          `json:"order_id"`
	Status   orderapi.Status `json:"status"`
	Reason   string          `json:"reason"`
	Total    int64           `json:"total"` // minor units
	Currency string          `json:"currency"`
	Steps    []customer.Step `json:"steps"`
}

func printOrderJSON(w io.Writer, o orderapi.Order, p *customer.Progress) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(orderResult{
		OrderID: o.ID, Status: p.Status, Reason: p.Reason, Total: o.Total, Currency: o.Currency, Steps: p.Steps(),
	})
}
