package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/charmbracelet/x/term"
)

// stepReporter shows steps as they are taken: a line for each that did something, and below them, on a terminal, the one
// under way with its progress and time. It implements cluster.Reporter.
type stepReporter struct {
	mu    sync.Mutex
	out   io.Writer
	pal   palette
	live  bool
	start time.Time

	title, text string
	begun, said time.Time
	stop        chan struct{}
	once        sync.Once
}

// sayEvery is how often progress is written where there is no terminal.
const sayEvery = 15 * time.Second

func newStepReporter(out io.Writer) *stepReporter {
	r := &stepReporter{out: out, pal: newPalette(out), live: isTerminal(out), start: time.Now(), stop: make(chan struct{})}
	if r.live {
		go r.redraw()
	}
	return r
}

func (r *stepReporter) redraw() {
	tick := time.NewTicker(200 * time.Millisecond)
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
}

// close takes the live line away.
func (r *stepReporter) close() {
	r.once.Do(func() {
		close(r.stop)
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.live {
			fmt.Fprint(r.out, "\r\x1b[2K")
		}
		r.title = ""
	})
}

// draw writes the live line over itself; the lock must be held.
func (r *stepReporter) draw() {
	if r.title == "" {
		return
	}
	line := r.pal.dim.Render(clock(time.Since(r.start))) + "  " + r.title
	if took := time.Since(r.begun); took > 2*time.Second {
		line += fmt.Sprintf(", %d s", int(took.Seconds()))
	}
	if r.text != "" {
		line += r.pal.dim.Render(": " + r.text)
	}
	width := 120
	if f, ok := r.out.(*os.File); ok {
		if w, _, err := term.GetSize(f.Fd()); err == nil && w > 20 {
			width = w
		}
	}
	fmt.Fprintf(r.out, "\r\x1b[2K%s", ansi.Truncate(line, width-1, "…"))
}

func clock(d time.Duration) string { return fmt.Sprintf("%7.1fs", d.Seconds()) }

// line writes one that stays; the lock must be held.
func (r *stepReporter) line(text string) {
	if r.live {
		fmt.Fprint(r.out, "\r\x1b[2K")
	}
	fmt.Fprintf(r.out, "%s  %s\n", r.pal.dim.Render(clock(time.Since(r.start))), text)
}

// Begin implements cluster.Reporter.
func (r *stepReporter) Begin(_, title string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.title, r.text, r.begun, r.said = title, "", time.Now(), time.Now()
}

// Progress implements cluster.Reporter.
func (r *stepReporter) Progress(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.text = strings.ReplaceAll(text, "\n", " ")
	if !r.live && time.Since(r.said) >= sayEvery {
		r.said = time.Now()
		r.line(fmt.Sprintf("%s: %s", r.title, r.text))
	}
}

// End implements cluster.Reporter.
func (r *stepReporter) End(name, did string, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.title = ""
	if did == "" {
		did = "ok"
	}
	r.line(fmt.Sprintf("%-10s %s %s", name, did, r.pal.dim.Render(fmt.Sprintf("%.1f s", took.Seconds()))))
}

// Note implements cluster.Reporter.
func (r *stepReporter) Note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.line("note: " + text)
}
