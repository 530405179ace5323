package cli

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/dishmesh/dishmesh/services/internal/daprruntime"
	"github.com/dishmesh/dishmesh/services/internal/platform"
)

// plainReporter writes a line for each thing that happens; for logs and pipes.
type plainReporter struct {
	mu        sync.Mutex
	out       io.Writer
	start     time.Time
	lastStep  string
	lastBuild time.Time
	up        bool
}

func newPlainReporter(out io.Writer) *plainReporter {
	return &plainReporter{out: out, start: time.Now()}
}

func (r *plainReporter) close() {}

func (r *plainReporter) line(format string, args ...any) {
	fmt.Fprintf(r.out, "%6.1fs  %s\n", time.Since(r.start).Seconds(), fmt.Sprintf(format, args...))
}

// Step implements platform.Reporter.
func (r *plainReporter) Step(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line("%s", text)
}

// Build implements platform.Reporter with a line every 15 s.
func (r *plainReporter) Build(p daprruntime.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.Step == r.lastStep && time.Since(r.lastBuild) < 15*time.Second {
		return
	}
	r.lastStep, r.lastBuild = p.Step, time.Now()
	r.line("%s", buildText(p))
}

// Parts implements platform.Reporter.
func (r *plainReporter) Parts(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line("starting %d processes", len(names))
}

// Event implements platform.Reporter.
func (r *plainReporter) Event(e platform.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch e.State {
	case platform.StateReady:
		if e.PID != 0 {
			r.line("%-24s ready, pid %d, %.1f s", e.Part, e.PID, e.Took.Seconds())
		}
	case platform.StateBackoff:
		r.line("%-24s %s; starting it again in %s", e.Part, e.Detail, e.Took)
	case platform.StateFailed:
		r.line("%-24s failed: %s", e.Part, e.Detail)
	}
}

// Note implements platform.Reporter.
func (r *plainReporter) Note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line("note: %s", text)
}

// Ready implements platform.Reporter.
func (r *plainReporter) Ready(info platform.RunInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.up = true
	printReady(r.out, info)
}

func buildText(p daprruntime.Progress) string {
	if p.Total == 0 {
		return p.Step
	}
	if p.Done >= p.Total {
		return fmt.Sprintf("%s (%s)", p.Step, p.Elapsed.Round(time.Second))
	}
	text := fmt.Sprintf("%s: %d of %d packages, %d %%", p.Step, p.Done, p.Total, min(99, 100*p.Done/p.Total))
	if left := p.Remaining(); left > 0 {
		text += fmt.Sprintf(", about %s left", left)
	}
	return text
}

// jsonReporter says nothing until everything runs, then one object.
type jsonReporter struct{ out io.Writer }

func (*jsonReporter) close()                     {}
func (*jsonReporter) Step(string)                {}
func (*jsonReporter) Build(daprruntime.Progress) {}
func (*jsonReporter) Parts([]string)             {}
func (*jsonReporter) Event(platform.Event)       {}
func (*jsonReporter) Note(string)                {}

// Ready implements platform.Reporter.
func (r *jsonReporter) Ready(info platform.RunInfo) { _ = printReadyJSON(r.out, info) }

// liveReporter keeps one line per part on a terminal until everything runs; then it writes what happens below.
type liveReporter struct {
	mu    sync.Mutex
	out   io.Writer
	pal   palette
	start time.Time
	names []string
	state map[string]string
	head  string
	drawn int
	up    bool
	stop  chan struct{}
	once  sync.Once
}

func newLiveReporter(out io.Writer) *liveReporter {
	r := &liveReporter{out: out, pal: newPalette(out), start: time.Now(), state: map[string]string{}, stop: make(chan struct{})}
	go func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				r.mu.Lock()
				r.draw()
				r.mu.Unlock()
			case <-r.stop:
				return
			}
		}
	}()
	return r
}

func (r *liveReporter) close() { r.once.Do(func() { close(r.stop) }) }

// draw writes all lines over the ones before; the lock must be held.
func (r *liveReporter) draw() {
	if r.up {
		return
	}
	var b strings.Builder
	if r.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", r.drawn)
	}
	lines := 0
	if r.head != "" {
		fmt.Fprintf(&b, "\r\x1b[2K%s %s\n", r.pal.dim.Render(fmt.Sprintf("%5.1fs", time.Since(r.start).Seconds())), r.head)
		lines++
	}
	for _, name := range r.names {
		state := r.state[name]
		if state == "" {
			state = r.pal.dim.Render("waiting")
		}
		fmt.Fprintf(&b, "\r\x1b[2K  %-22s %s\n", name, state)
		lines++
	}
	r.drawn = lines
	fmt.Fprint(r.out, b.String())
}

// above writes a line that stays, over the live ones; the lock must be held.
func (r *liveReporter) above(text string) {
	if r.drawn > 0 && !r.up {
		fmt.Fprintf(r.out, "\x1b[%dA\r\x1b[J", r.drawn)
		r.drawn = 0
	}
	fmt.Fprintln(r.out, text)
	r.draw()
}

// Step implements platform.Reporter.
func (r *liveReporter) Step(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up {
		fmt.Fprintln(r.out, text)
		return
	}
	r.head = text
	r.draw()
}

// Build implements platform.Reporter.
func (r *liveReporter) Build(p daprruntime.Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = buildText(p)
}

// Parts implements platform.Reporter.
func (r *liveReporter) Parts(names []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.names, r.head = names, "starting Dishmesh"
	r.draw()
}

// Event implements platform.Reporter.
func (r *liveReporter) Event(e platform.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text := string(e.State)
	switch e.State {
	case platform.StateReady:
		if e.PID == 0 {
			return
		}
		text = r.pal.good.Render("ready") + r.pal.dim.Render(fmt.Sprintf("  %.1f s", e.Took.Seconds()))
	case platform.StateBackoff:
		text = r.pal.bad.Render(e.Detail) + fmt.Sprintf("; again in %s", e.Took)
	case platform.StateFailed:
		text = r.pal.bad.Render("failed: ") + e.Detail
	case platform.StateStopped, platform.StateStarting:
		if r.up {
			return
		}
	}
	if r.up {
		fmt.Fprintf(r.out, "%s  %-22s %s\n", time.Now().Format(time.TimeOnly), e.Part, text)
		return
	}
	r.state[e.Part] = text
}

// Note implements platform.Reporter.
func (r *liveReporter) Note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.above("note: " + text)
}

// Ready implements platform.Reporter.
func (r *liveReporter) Ready(info platform.RunInfo) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.head = fmt.Sprintf("%d processes run", len(r.names))
	r.draw()
	r.up = true
	printReady(r.out, info)
}
