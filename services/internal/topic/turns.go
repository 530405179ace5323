package topic

import (
	"context"
	"sync"
	"time"
)

// turns lets those who want the same key take turns, in the order in which they came. Without it two deliveries of one
// stream, as brokers without order make them, would meet at the inbox, and one would have worked in vain.
type turns struct {
	mu    sync.Mutex
	lines map[string]*line
}

type line struct {
	gate    chan struct{} // holds one token while somebody has the turn; waiters are served first come, first served
	members int
}

func newTurns() *turns { return &turns{lines: map[string]*line{}} }

// patience is how long a turn is waited for: about as long as another event of the stream may take with its retries.
const patience = 30 * time.Second

// take waits for the turn, but not for longer than patience; then, or when ctx ends, it goes on without. That is
// harmless, because the inbox's ETag decides in the end. The function that it gives ends the turn.
func (t *turns) take(ctx context.Context, key string) func() {
	t.mu.Lock()
	l := t.lines[key]
	if l == nil {
		l = &line{gate: make(chan struct{}, 1)}
		t.lines[key] = l
	}
	l.members++
	t.mu.Unlock()
	held := true
	select {
	case l.gate <- struct{}{}:
	default:
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case l.gate <- struct{}{}:
		case <-timer.C:
			held = false
		case <-ctx.Done():
			held = false
		}
	}
	return func() {
		if held {
			<-l.gate
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if l.members--; l.members == 0 {
			delete(t.lines, key)
		}
	}
}
