package conformance

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Page is components/CONFORMANCE.md: the results of every profile that was ever checked. It is read and written again
// whole, so that a run of one profile leaves the others as they are.
type Page struct{ profiles []pageProfile }

type pageProfile struct {
	name, versions string
	rows           []pageRow
}

// pageRow is a check's result in one profile.
type pageRow struct{ name, verdict, figure, reason, did, date string }

// profileOrder is the order of the columns; other profiles come after these, by name.
var profileOrder = []string{"embedded", "kafka", "redis", "rabbitmq", "postgres", "mysql"}

const pageHead = `# Conformance: what each profile keeps

Written by ` + "`dishmesh conformance --profile NAME`" + `; do not edit. A run replaces the results of its own profile and leaves the
others. "Kept by us on top" means that the components do not keep it, and what the services put on top of them does.
Guarantees in bold are those that the services rely on: a profile that breaks one is not safe, and the command exits 1.
The figures are of one machine and of the day given; [README.md](README.md) says how to read them.

`

// ParsePage reads a page; an empty one is fine.
func ParsePage(text []byte) (*Page, error) {
	p := &Page{}
	if len(text) == 0 {
		return p, nil
	}
	var now *pageProfile
	for i, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "## "):
			p.profiles = append(p.profiles, pageProfile{name: strings.TrimPrefix(line, "## ")})
			now = &p.profiles[len(p.profiles)-1]
		case now == nil:
		case strings.HasPrefix(line, versionsMark):
			now.versions = strings.TrimPrefix(line, versionsMark)
		case strings.HasPrefix(line, "| `"):
			c := cells(line)
			if len(c) != 6 {
				return nil, fmt.Errorf("line %d has %d columns instead of 6", i+1, len(c))
			}
			now.rows = append(now.rows, pageRow{name: strings.Trim(c[0], "`"), verdict: c[1], figure: c[2], reason: c[3], did: c[4], date: c[5]})
		}
	}
	if len(p.profiles) == 0 {
		return nil, errors.New("no profile is in it")
	}
	return p, nil
}

const versionsMark = "With "

// cells splits a row of a table; \| is a bar within a cell.
func cells(line string) []string {
	line = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "|"), "|")
	var out []string
	for _, c := range strings.Split(strings.ReplaceAll(line, `\|`, "\x00"), "|") {
		out = append(out, strings.ReplaceAll(strings.TrimSpace(c), "\x00", "|"))
	}
	return out
}

// row writes a row of a table.
func row(cells ...string) string {
	for i, c := range cells {
		c = strings.Join(strings.Fields(c), " ") // a line break would end the row
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	return "| " + strings.Join(cells, " | ") + " |\n"
}

// Put takes the results of a run over. Checks that it did not carry out keep what an earlier run found.
func (p *Page) Put(r Report) {
	i := slices.IndexFunc(p.profiles, func(q pageProfile) bool { return q.name == r.Profile })
	if i < 0 {
		p.profiles = append(p.profiles, pageProfile{name: r.Profile})
		i = len(p.profiles) - 1
	}
	q := &p.profiles[i]
	q.versions = r.versions() + "."
	date := r.Began.Format("2006-01-02")
	if r.Quick {
		date += ", quick"
	}
	for _, x := range r.Results {
		q.rows = slices.DeleteFunc(q.rows, func(o pageRow) bool { return o.name == x.Name })
		q.rows = append(q.rows, pageRow{x.Name, x.Verdict.Words(), x.Figure, x.Reason, x.Did, date})
	}
}

// Markdown writes the page: the same results give the same bytes.
func (p *Page) Markdown() []byte {
	rank := func(name string) int {
		if i := slices.Index(profileOrder, name); i >= 0 {
			return i
		}
		return len(profileOrder)
	}
	slices.SortFunc(p.profiles, func(a, b pageProfile) int {
		if d := rank(a.name) - rank(b.name); d != 0 {
			return d
		}
		return strings.Compare(a.name, b.name)
	})
	var b strings.Builder
	b.WriteString(pageHead)
	head, line := []string{"guarantee", "check"}, []string{"---", "---"}
	for _, q := range p.profiles {
		head, line = append(head, q.name), append(line, "---")
	}
	b.WriteString(row(head...) + row(line...))
	for _, c := range Checks() {
		promise := c.Promise
		if c.ReliedOn != "" {
			promise = "**" + promise + "**"
		}
		cells := []string{promise, c.Name}
		for _, q := range p.profiles {
			cells = append(cells, q.verdict(c.Name))
		}
		b.WriteString(row(cells...))
	}
	b.WriteString("\nWhy the services rely on them:\n")
	for _, c := range Checks() {
		if c.ReliedOn != "" {
			fmt.Fprintf(&b, "- %s: %s\n", c.Name, c.ReliedOn)
		}
	}
	for _, q := range p.profiles {
		fmt.Fprintf(&b, "\n## %s\n%s%s\n\n", q.name, versionsMark, q.versions)
		b.WriteString(row("check", "verdict", "figures", "why", "what was done", "on") + row("---", "---", "---", "---", "---", "---"))
		for _, c := range Checks() {
			for _, r := range q.rows {
				if r.name == c.Name {
					b.WriteString(row("`"+r.name+"`", r.verdict, r.figure, r.reason, r.did, r.date))
				}
			}
		}
	}
	return []byte(b.String())
}

func (q pageProfile) verdict(check string) string {
	for _, r := range q.rows {
		if r.name == check {
			return r.verdict
		}
	}
	return ""
}
