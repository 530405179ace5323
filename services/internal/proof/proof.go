// Package proof records what tests on a real system have seen, with figures, and writes it down for people. The document
// says what one run saw, failures included, so it is never edited by hand.
package proof

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Outcome is how a test ended.
type Outcome string

// The outcomes.
const (
	Passed  Outcome = "passed"
	Failed  Outcome = "FAILED"
	Skipped Outcome = "skipped"
)

// Figure is something that was measured, and what it is held against.
type Figure struct {
	What, Value string
	Bound       string // "" where nothing is asked of it
}

// Entry is one test.
type Entry struct {
	Subject string
	Test    string   // its name in Go
	Claim   string   // what it shows, in a sentence
	Files   []string // the files whose effect it shows, from the top of the repository
	Saw     []string
	Figures []Figure
	Outcome Outcome
	Why     []string // what failed, or why it was skipped
	Took    time.Duration
	Began   time.Time
	Commit  string // that was tested
}

// Book gathers entries. It is safe for use by several goroutines.
type Book struct {
	mu      sync.Mutex
	entries []Entry
	earlier []Entry // of runs before this one
	kept    string  // file, "" if nothing is kept
}

// Open has the book keep its entries in a file, one a line, and take in those of earlier runs. They count in what is
// written, not in Count.
func (b *Book) Open(file string) error {
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("what earlier runs saw can't be read: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept = file
	for dec := json.NewDecoder(bytes.NewReader(raw)); dec.More(); {
		var e Entry
		if err := dec.Decode(&e); err != nil {
			return fmt.Errorf("what earlier runs saw, %s: %w", file, err)
		}
		b.earlier = append(b.earlier, e)
	}
	return nil
}

// Add puts an entry in, and into the file, if the book has one.
func (b *Book) Add(e Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries = append(b.entries, e)
	if b.kept == "" {
		return nil
	}
	line, err := json.Marshal(e)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(b.kept, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("what a test saw can't be kept: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	return errors.Join(err, f.Close())
}

// latest are the entries, with those of earlier runs; of each test the last.
func (b *Book) latest() []Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	var last []Entry
	for _, e := range slices.Concat(b.earlier, b.entries) {
		last = append(slices.DeleteFunc(last, func(x Entry) bool { return x.Test == e.Test }), e)
	}
	return last
}

// failedBefore counts, by test, the runs before the last one that failed.
func (b *Book) failedBefore() map[string]int {
	b.mu.Lock()
	defer b.mu.Unlock()
	failed, last := map[string]int{}, map[string]Outcome{}
	for _, e := range slices.Concat(b.earlier, b.entries) {
		if last[e.Test] == Failed {
			failed[e.Test]++
		}
		last[e.Test] = e.Outcome
	}
	return failed
}

// several tells whether some entries are of other runs than this one.
func (b *Book) several() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.earlier) > 0
}

// Count says how many entries ended in a way.
func (b *Book) Count(o Outcome) (n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, e := range b.entries {
		if e.Outcome == o {
			n++
		}
	}
	return n
}

// Run is what is said of a run as a whole.
type Run struct {
	Began  time.Time
	Took   time.Duration
	Commit string
	// Place tells of the machine and the versions.
	Place []Figure
	// Command is what makes another run.
	Command string
	// Tests are all there are, so that the document can name those that were not run. Nil: nothing is said of it.
	Tests []string
}

// Markdown is the document: the run, all tests in a table, then each subject, in the order in which they are given.
// Subjects that are not given follow.
func (b *Book) Markdown(r Run, subjects []string) string {
	entries := b.latest()
	rank := func(e Entry) int {
		if i := slices.Index(subjects, e.Subject); i >= 0 {
			return i
		}
		return len(subjects)
	}
	slices.SortStableFunc(entries, func(x, y Entry) int { return rank(x) - rank(y) })

	var w strings.Builder
	count := func(o Outcome) (n int) {
		for _, e := range entries {
			if e.Outcome == o {
				n++
			}
		}
		return n
	}
	several, failed := b.several(), b.failedBefore()
	if several {
		fmt.Fprintf(&w, "# What was seen on the cluster\n\nWritten by the tests of `%s`, run one by one on one cluster, the last run of each, and not by hand.\n\n", r.Command)
		began, ended := r.Began, r.Began
		for i, e := range entries {
			if i == 0 || e.Began.Before(began) {
				began = e.Began
			}
			if end := e.Began.Add(e.Took); i == 0 || end.After(ended) {
				ended = end
			}
		}
		fmt.Fprintf(&w, "Runs from %s to %s. ", began.UTC().Format("2006-01-02 15:04"), ended.UTC().Format("15:04 UTC"))
	} else {
		fmt.Fprintf(&w, "# What was seen on the cluster\n\nWritten by `%s` from one run, and not by hand.\n\n", r.Command)
		fmt.Fprintf(&w, "Run of %s, commit %s, %s. ", r.Began.UTC().Format("2006-01-02 15:04 UTC"), r.Commit, span(r.Took))
	}
	fmt.Fprintf(&w, "%d tests: %d passed, %d failed, %d skipped.\n\n", len(entries), count(Passed), count(Failed), count(Skipped))
	if missing := notRun(r.Tests, entries); len(missing) > 0 {
		fmt.Fprintf(&w, "**Not run, so not proven here** (%d of %d): `%s`.\n\n", len(missing), len(r.Tests), strings.Join(missing, "`, `"))
	}
	table(&w, []string{"where", ""}, r.Place, func(f Figure) []string { return []string{f.What, f.Value} })
	table(&w, []string{"subject", "test", "shows", "", "took", "at", "commit", "failed before"}, entries, func(e Entry) []string {
		row := []string{e.Subject, "`" + e.Test + "`", e.Claim, string(e.Outcome), span(e.Took), "", "", ""}
		if several {
			row[5], row[6] = e.Began.UTC().Format("15:04"), e.Commit
		}
		if n := failed[e.Test]; n > 0 {
			row[7] = fmt.Sprint(n)
		}
		return row
	})
	subject := ""
	for _, e := range entries {
		if e.Subject != subject {
			subject = e.Subject
			fmt.Fprintf(&w, "## %s\n\n", subject)
		}
		e.write(&w)
	}
	return strings.TrimRight(w.String(), "\n") + "\n"
}

// notRun are the tests of which no entry tells.
func notRun(tests []string, entries []Entry) (missing []string) {
	for _, name := range tests {
		if !slices.ContainsFunc(entries, func(e Entry) bool { return e.Test == name }) {
			missing = append(missing, name)
		}
	}
	return missing
}

func (e Entry) write(w *strings.Builder) {
	fmt.Fprintf(w, "### %s\n\n`%s` %s after %s.", e.Claim, e.Test, e.Outcome, span(e.Took))
	if len(e.Files) > 0 {
		fmt.Fprintf(w, " Files: `%s`.", strings.Join(e.Files, "`, `"))
	}
	w.WriteString("\n\n")
	for _, why := range e.Why {
		fmt.Fprintf(w, "- **%s**: %s\n", e.Outcome, line(why))
	}
	for _, saw := range e.Saw {
		fmt.Fprintf(w, "- %s\n", line(saw))
	}
	if len(e.Why)+len(e.Saw) > 0 {
		w.WriteString("\n")
	}
	table(w, []string{"what", "figure", "bound"}, e.Figures, func(f Figure) []string { return []string{f.What, f.Value, f.Bound} })
}

// table writes rows, if there are any. Columns that are empty in all rows are left out.
func table[T any](w *strings.Builder, head []string, rows []T, cells func(T) []string) {
	if len(rows) == 0 {
		return
	}
	texts := make([][]string, len(rows))
	used := make([]bool, len(head))
	for i, r := range rows {
		texts[i] = cells(r)
		for c, text := range texts[i] {
			used[c] = used[c] || text != ""
		}
	}
	row := func(texts []string) {
		w.WriteString("|")
		for c, text := range texts {
			if used[c] {
				fmt.Fprintf(w, " %s |", strings.ReplaceAll(line(text), "|", `\|`))
			}
		}
		w.WriteString("\n")
	}
	row(head)
	rule := make([]string, len(head))
	for c := range rule {
		rule[c] = "---"
	}
	row(rule)
	for _, t := range texts {
		row(t)
	}
	w.WriteString("\n")
}

// lineMost is how much of a text a document shows; the log of the run has the rest.
const lineMost = 600

// line makes one line of a text.
func line(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > lineMost {
		s = string(r[:lineMost]) + " …"
	}
	return s
}

// span is a duration as people read it.
func span(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	d = d.Round(time.Second)
	return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
}
