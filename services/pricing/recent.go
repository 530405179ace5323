package pricing

import "sync"

// recent remembers which orders confirmed which quotes, in memory and for a while, so that a confirmation that is
// repeated after the quote has expired gets its answer again although nothing was written for it.
type recent struct {
	mu       sync.Mutex
	now, old map[string]string // order id to quote id
}

// maxRecent bounds one generation; two are kept.
const maxRecent = 10_000

func newRecent() *recent { return &recent{now: map[string]string{}} }

func (r *recent) add(orderID, quoteID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.now) >= maxRecent {
		r.old, r.now = r.now, map[string]string{}
	}
	r.now[orderID] = quoteID
}

func (r *recent) has(orderID, quoteID string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now[orderID] == quoteID || r.old[orderID] == quoteID
}
