package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/term"

	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/internal/money"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// orderView shows an order's way: on a terminal as a picture that is drawn anew in place, elsewhere as a line for
// each step.
type orderView struct {
	out     io.Writer
	live    bool
	palette palette
	now     func() time.Time
	stop    chan struct{}
	drawing sync.WaitGroup

	mu       sync.Mutex
	progress customer.Progress
	shown    map[string]bool // plain: the steps that have a line
	lines    int             // live: how many were drawn
}

// newOrderView shows the bill and the first step.
func newOrderView(out io.Writer, o orderapi.Order) *orderView {
	v := &orderView{
		out: out, live: isTerminal(out), palette: newPalette(out), now: time.Now,
		stop: make(chan struct{}), shown: map[string]bool{},
	}
	v.progress.SeeOrder(o)
	fmt.Fprint(out, bill(o, v.palette))
	if v.live {
		v.drawing.Go(v.tick)
	}
	return v
}

// tick lets the clock of the picture run.
func (v *orderView) tick() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			v.mu.Lock()
			v.draw()
			v.mu.Unlock()
		case <-v.stop:
			return
		}
	}
}

// see takes in news, shows them, hands what is known to then, and reports whether the order has ended. The zero News is
// none.
func (v *orderView) see(n customer.News, then func(*customer.Progress)) (ended bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	news := false // most events of an order on its way only tell where the courier is
	switch {
	case n.Event != nil:
		news = v.progress.SeeEvent(*n.Event)
	case n.Order != nil:
		news = v.progress.SeeOrder(*n.Order)
	default:
		news = true
	}
	if news {
		v.draw()
	}
	then(&v.progress)
	return v.progress.Ended()
}

// cancelled shows the answer to a cancellation.
func (v *orderView) cancelled(err error) {
	s := customer.Step{Name: customer.StepCancelRequested, At: v.now()}
	if err != nil {
		s.Name, s.Note = customer.StepCancelRefused, err.Error()
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.progress.Note(s)
	v.draw()
}

// close shows how it ended and gives what is known.
func (v *orderView) close() *customer.Progress {
	close(v.stop)
	v.drawing.Wait()
	v.mu.Lock()
	defer v.mu.Unlock()
	v.draw()
	if v.progress.Ended() {
		fmt.Fprintf(v.out, "\n%s\n", v.ending())
	}
	return &v.progress
}

// draw shows what is known. The lock is held.
func (v *orderView) draw() {
	if v.live {
		picture := v.picture()
		if width := terminalWidth(v.out); width > 0 { // a line that wraps would be two
			lines := strings.Split(picture, "\n")
			for i := range lines {
				lines[i] = ansi.Truncate(lines[i], width, "…")
			}
			picture = strings.Join(lines, "\n")
		}
		if v.lines > 0 {
			fmt.Fprintf(v.out, "\x1b[%dA\x1b[J", v.lines) // up to the picture's first line, and clear from there
		}
		fmt.Fprint(v.out, picture)
		v.lines = strings.Count(picture, "\n")
		return
	}
	for _, s := range v.progress.Steps() {
		if !v.shown[s.Name] {
			v.shown[s.Name] = true
			fmt.Fprintln(v.out, v.step(s))
		}
	}
}

// terminalWidth is the width of a terminal in columns, 0 if that can't be told.
func terminalWidth(w io.Writer) int {
	f, ok := w.(term.File)
	if !ok {
		return 0
	}
	width, _, err := term.GetSize(f.Fd())
	if err != nil {
		return 0
	}
	return width
}

// picture has the steps that were taken and, while the order is on its way, those to come.
func (v *orderView) picture() string {
	var b strings.Builder
	for _, s := range v.progress.Steps() {
		fmt.Fprintln(&b, v.step(s))
	}
	if v.progress.Ended() {
		return b.String()
	}
	next := true
	for _, name := range customer.HappyPath() {
		if v.progress.Has(name) {
			continue
		}
		line := fmt.Sprintf("  ○ %-20s", stepWords(name))
		if next {
			line += fmt.Sprintf("%8.0f s …", max(0, v.now().Sub(v.progress.Placed()).Seconds()))
			next = false
		}
		fmt.Fprintln(&b, v.palette.dim.Render(strings.TrimRight(line, " ")))
	}
	return b.String()
}

// bad lists the steps that nobody wishes for.
var bad = map[string]bool{
	customer.StepPaymentDeclined: true, customer.StepKitchenRejected: true, customer.StepNoCourier: true,
	customer.StepCancelRefused: true, customer.StepRejected: true, customer.StepDeclined: true,
	customer.StepUndeliverable: true, customer.StepCompensationFailed: true, customer.StepCancelled: true,
}

func (v *orderView) step(s customer.Step) string {
	mark, style := "●", v.palette.good
	if bad[s.Name] {
		mark, style = "✗", v.palette.bad
	}
	line := fmt.Sprintf("  %s %-20s %8.3f s  %s", style.Render(mark), stepWords(s.Name), s.Seconds,
		v.palette.dim.Render(s.At.Local().Format("15:04:05")))
	if s.Note != "" {
		line += "  " + v.palette.dim.Render(s.Note)
	}
	return line
}

// ending says in a line how the order ended.
func (v *orderView) ending() string {
	p := &v.progress
	took := 0.0
	for _, s := range p.Steps() {
		if s.Name == string(p.Status) {
			took = s.Seconds
		}
	}
	text := fmt.Sprintf("%s after %.1f s", stepWords(string(p.Status)), took)
	if p.Status == orderapi.Delivered {
		return v.palette.good.Render(text)
	}
	if p.Reason != "" {
		text += ": " + stepWords(p.Reason)
	}
	if p.Detail != "" && p.Detail != p.Reason {
		text += " (" + stepWords(p.Detail) + ")"
	}
	return v.palette.bad.Render(text)
}

// bill shows what was ordered and what it costs.
func bill(o orderapi.Order, p palette) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s at %s\n", p.bold.Render(o.ID), p.bold.Render(o.RestaurantName))
	row := func(text string, amount int64) {
		fmt.Fprintf(&b, "  %-44s %12s\n", text, money.Format(amount, o.Currency))
	}
	for _, it := range o.Items {
		text := fmt.Sprintf("%d × %s", it.Quantity, it.Name)
		if len(it.Options) > 0 {
			text += ", " + strings.Join(it.Options, ", ")
		}
		row(text, it.UnitPrice*int64(it.Quantity))
	}
	row("delivery", o.DeliveryFee)
	if o.SurgeFee != 0 {
		row("many orders just now", o.SurgeFee)
	}
	if o.Discount != 0 {
		row(strings.TrimSpace("promotion "+o.Promotion), -o.Discount)
	}
	row("total, with "+money.Format(o.Tax, o.Currency)+" tax", o.Total)
	fmt.Fprintln(&b)
	return b.String()
}

// stepWords is a name for people.
func stepWords(name string) string { return strings.ReplaceAll(name, "_", " ") }
