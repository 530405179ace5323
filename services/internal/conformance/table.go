package conformance

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// Paint colours a piece of text by its verdict; it gives the text back where nobody sees colours.
type Paint func(v Verdict, text string) string

// Plain is a Paint without colours.
func Plain(_ Verdict, text string) string { return text }

// mark is one character for a verdict.
func (v Verdict) mark() string {
	switch v {
	case Kept:
		return "✓"
	case KeptOnTop:
		return "+"
	case NotApplicable:
		return "–"
	case Unknown:
		return "?"
	}
	return "✗"
}

// Print writes the report for people.
func (r Report) Print(w io.Writer, paint Paint) error {
	var b strings.Builder
	wide := 0
	for _, x := range r.Results {
		wide = max(wide, len(x.Name))
	}
	area := Area("")
	for _, x := range r.Results {
		if x.Area != area {
			area = x.Area
			fmt.Fprintf(&b, "\n%s\n", area)
		}
		fmt.Fprintf(&b, "  %s %-*s  %s  %s\n", paint(x.Verdict, x.Verdict.mark()), wide, x.Name,
			paint(x.Verdict, fmt.Sprintf("%-17s", x.Verdict.Words())), x.Figure)
		if x.Reason != "" {
			fmt.Fprintf(&b, "    %*s  %s\n", wide, "", x.Reason)
		}
	}
	fmt.Fprintf(&b, "\nprofile %s (%s), %d checks in %.0f s", r.Profile, r.versions(), len(r.Results), r.Seconds)
	if r.Quick {
		b.WriteString("; a quick run: shorter outages and fewer messages than the figures of components/CONFORMANCE.md")
	}
	b.WriteString("\n")
	for _, x := range r.Results {
		if x.Broken() {
			fmt.Fprintf(&b, "%s %s: %s. The services rely on it: %s\n", paint(NotKept, "broken:"), x.Name, x.Promise, x.ReliedOn)
		}
	}
	switch {
	case r.Interrupted:
		b.WriteString("interrupted: the other checks were not carried out\n")
	case r.OK:
		fmt.Fprintf(&b, "%s\n", paint(Kept, "everything that the services rely on is kept"))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// versions is one line of what was tested.
func (r Report) versions() string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		out = append(out, name+" "+r.Versions[name])
	}
	return strings.Join(out, ", ")
}

// Line says in one line how a check ended.
func (r Result) Line(paint Paint) string {
	text := fmt.Sprintf("%s %s: %s, %s (%.1f s)", paint(r.Verdict, r.Verdict.mark()), r.Name, paint(r.Verdict, r.Verdict.Words()), r.Figure, r.Seconds)
	if r.Figure == "" {
		text = fmt.Sprintf("%s %s: %s (%.1f s)", paint(r.Verdict, r.Verdict.mark()), r.Name, paint(r.Verdict, r.Verdict.Words()), r.Seconds)
	}
	if r.Reason != "" {
		text += ": " + r.Reason
	}
	return text
}
