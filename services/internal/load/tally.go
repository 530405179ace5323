package load

import (
	"slices"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/dishmesh/dishmesh/services/internal/customer"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// stuckListed bounds the list of stuck orders in a report.
const stuckListed = 20

// tally counts what happens in a run.
type tally struct {
	mu          sync.Mutex
	inFlight    int
	nPlaced     int
	nEnded      int
	nStuck      int
	nRefused    int
	nLate       int
	nRetries    int
	first, last time.Time // of the placements, of the ends
	outcomes    map[orderapi.Status]int
	errors      map[string]int
	stuckOrders []string
	unexpected  map[string]int
	quote       *latency
	accept      *latency
	toAccepted  *latency
	toDelivered *latency
	steps       map[string]*latency
}

func newTally() *tally {
	t := &tally{
		outcomes: map[orderapi.Status]int{}, errors: map[string]int{}, unexpected: map[string]int{},
		quote: newLatency(), accept: newLatency(), toAccepted: newLatency(), toDelivered: newLatency(),
		steps: map[string]*latency{},
	}
	for _, step := range customer.HappyPath()[1:] {
		t.steps[step] = newLatency()
	}
	return t
}

func (t *tally) lock() func() {
	t.mu.Lock()
	return t.mu.Unlock
}

func (t *tally) began() { defer t.lock()(); t.inFlight++ }
func (t *tally) left()  { defer t.lock()(); t.inFlight-- }
func (t *tally) late()  { defer t.lock()(); t.nLate++ }

func (t *tally) retried(err error) {
	defer t.lock()()
	t.nRetries++
	t.errors[customer.ErrorType(err)]++
}

func (t *tally) failed(err error) {
	defer t.lock()()
	t.errors[customer.ErrorType(err)]++
}

func (t *tally) refused(err error) {
	defer t.lock()()
	t.nRefused++
	t.errors[customer.ErrorType(err)]++
}

func (t *tally) quoted(took time.Duration) { defer t.lock()(); t.quote.add(took) }

func (t *tally) placed(began, now time.Time) {
	defer t.lock()()
	t.nPlaced++
	t.accept.add(now.Sub(began))
	if t.first.IsZero() || began.Before(t.first) {
		t.first = began
	}
}

func (t *tally) stuck(order string) {
	defer t.lock()()
	t.nStuck++
	if len(t.stuckOrders) < stuckListed {
		t.stuckOrders = append(t.stuckOrders, order)
	}
}

// ending is how an order went.
type ending struct {
	wish     customer.Wish
	progress *customer.Progress
	began    time.Time // the request to place it
	accepted time.Time // zero: never
	at       time.Time
}

func (t *tally) ended(e ending) {
	defer t.lock()()
	t.nEnded++
	t.last = e.at
	t.outcomes[e.progress.Status]++
	if !slices.Contains(e.wish.May, e.progress.Status) {
		t.unexpected[e.wish.Name+": "+string(e.progress.Status)]++
	}
	if !e.accepted.IsZero() {
		t.toAccepted.add(e.accepted.Sub(e.began))
	}
	if e.progress.Status == orderapi.Delivered {
		t.toDelivered.add(e.at.Sub(e.began))
	}
	for _, s := range e.progress.Steps() {
		if l := t.steps[s.Name]; l != nil {
			l.add(time.Duration(s.Seconds * float64(time.Second)))
		}
	}
}

// Snapshot is how far a run is.
type Snapshot struct {
	Orders, InFlight, Placed, Ended, Stuck, Refused, Retries int
	PerSecond                                                float64 // orders ended, since the first was placed
}

// Done is how many orders need no more attention.
func (s Snapshot) Done() int { return s.Ended + s.Stuck + s.Refused }

func (t *tally) snapshot(orders int, now time.Time) Snapshot {
	defer t.lock()()
	s := Snapshot{Orders: orders, InFlight: t.inFlight, Placed: t.nPlaced, Ended: t.nEnded, Stuck: t.nStuck, Refused: t.nRefused, Retries: t.nRetries}
	if !t.first.IsZero() {
		s.PerSecond = perSecond(t.nEnded, now.Sub(t.first))
	}
	return s
}

func perSecond(n int, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// latency is a histogram of durations from 1 µs to 30 min with three significant digits.
type latency struct{ h *hdrhistogram.Histogram }

func newLatency() *latency {
	return &latency{hdrhistogram.New(1, (30 * time.Minute).Microseconds(), 3)}
}

func (l *latency) add(d time.Duration) {
	us := min(max(d.Microseconds(), l.h.LowestTrackableValue()), l.h.HighestTrackableValue())
	_ = l.h.RecordValue(us) // it is within the bounds
}
