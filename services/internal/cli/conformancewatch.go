package cli

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"

	"github.com/dishmesh/dishmesh/services/internal/conformance"
)

// checkWatcher shows how a conformance run goes: a line for each check that is done, and on a terminal one more with
// those that run.
type checkWatcher struct {
	mu      sync.Mutex
	out     io.Writer
	live    bool
	start   time.Time
	total   int
	done    int
	running []string
	said    map[string]string
	stop    chan struct{}
	once    sync.Once
}

func newCheckWatcher(out io.Writer, total int) *checkWatcher {
	w := &checkWatcher{out: out, live: isTerminal(out), start: time.Now(), total: total, said: map[string]string{}, stop: make(chan struct{})}
	if w.live {
		go func() {
			tick := time.NewTicker(250 * time.Millisecond)
			defer tick.Stop()
			for {
				select {
				case <-tick.C:
					w.mu.Lock()
					w.status()
					w.mu.Unlock()
				case <-w.stop:
					return
				}
			}
		}()
	}
	return w
}

func (w *checkWatcher) close() {
	w.once.Do(func() {
		close(w.stop)
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.live {
			fmt.Fprint(w.out, "\r\x1b[2K")
			w.live = false
		}
	})
}

// paintOn colours verdicts where a writer shows colours.
func paintOn(out io.Writer) conformance.Paint {
	p := newPalette(out)
	return func(v conformance.Verdict, text string) string {
		switch v {
		case conformance.Kept, conformance.KeptOnTop:
			return p.good.Render(text)
		case conformance.NotApplicable:
			return p.dim.Render(text)
		}
		return p.bad.Render(text)
	}
}

// line writes a line that stays; the lock must be held.
func (w *checkWatcher) line(format string, args ...any) {
	if w.live {
		fmt.Fprint(w.out, "\r\x1b[2K")
	}
	fmt.Fprintf(w.out, "%6.1fs  %s\n", time.Since(w.start).Seconds(), fmt.Sprintf(format, args...))
	w.status()
}

// status writes what runs over the last line; the lock must be held.
func (w *checkWatcher) status() {
	if !w.live {
		return
	}
	var now []string
	for _, name := range w.running {
		if text := w.said[name]; text != "" {
			name += " (" + text + ")"
		}
		now = append(now, name)
	}
	text := fmt.Sprintf("%6.1fs  %d of %d done; now: %s", time.Since(w.start).Seconds(), w.done, w.total, strings.Join(now, ", "))
	fmt.Fprintf(w.out, "\r\x1b[2K%s", ansi.Truncate(text, 110, "…"))
}

func (w *checkWatcher) say(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.line(format, args...)
}

// Started implements conformance.Watcher.
func (w *checkWatcher) Started(c conformance.Check) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.running = append(w.running, c.Name)
	w.status()
}

// Said implements conformance.Watcher.
func (w *checkWatcher) Said(c conformance.Check, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said[c.Name] = text
	if !w.live {
		w.line("  %s: %s", c.Name, text)
	}
}

// Done implements conformance.Watcher.
func (w *checkWatcher) Done(r conformance.Result) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done++
	w.running = slices.DeleteFunc(w.running, func(n string) bool { return n == r.Name })
	w.line("%s", r.Line(paintOn(w.out)))
}
