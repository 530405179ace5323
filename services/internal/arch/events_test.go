package arch

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/contract/catalogue"
)

// eventRow is an event in the table of services/README.md.
type eventRow struct {
	schemas string   // the messages of its versions, oldest first
	heard   []string // apps
}

// readEvents reads the table of events: a table with the columns event, messages of its versions, heard by.
func readEvents(text string) map[string]eventRow {
	rows := map[string]eventRow{}
	for line := range strings.SplitSeq(text, "\n") {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		name := words(cells[0])
		if len(cells) != 3 || len(name) != 1 || !eventType.MatchString(name[0]) {
			continue
		}
		heard := strings.FieldsFunc(cells[2], func(r rune) bool { return r == ',' || r == ' ' })
		slices.Sort(heard)
		rows[name[0]] = eventRow{strings.Join(messages(cells[1]), ", "), heard}
	}
	return rows
}

// messages gives what is in backticks, in the order in which it stands there.
func messages(cell string) []string {
	var all []string
	for _, m := range quoted.FindAllStringSubmatch(cell, -1) {
		all = append(all, m[1])
	}
	return all
}

// eventRules compare the table with the contracts and the subscriptions.
func eventRules(rows, actual map[string]eventRow) []string {
	var violations []string
	for _, name := range slices.Sorted(maps.Keys(actual)) {
		want := actual[name]
		line := fmt.Sprintf("| `%s` | `%s` | %s |", name, strings.ReplaceAll(want.schemas, ", ", "`, `"), strings.Join(want.heard, ", "))
		if got, ok := rows[name]; !ok || got.schemas != want.schemas || !slices.Equal(got.heard, want.heard) {
			violations = append(violations, "the table of events should say: "+line)
		}
	}
	for name := range rows {
		if _, ok := actual[name]; !ok {
			violations = append(violations, "the table of events has "+name+", which is in no contract")
		}
	}
	return violations
}

func TestEventTable(t *testing.T) {
	subscriptions := slices.DeleteFunc(resources(t), func(d document) bool { return path.Dir(d.file) != "components/subscriptions" })
	heard := hearings(subscriptions)
	actual := map[string]eventRow{}
	for _, e := range catalogue.All.Events() {
		var row eventRow
		var schemas []string
		for _, v := range e.Versions {
			schemas = append(schemas, strings.TrimPrefix(string(v.Message().Descriptor().FullName()), "dishmesh."))
		}
		row.schemas = strings.Join(schemas, ", ")
		for _, app := range slices.Sorted(maps.Keys(heard)) {
			if slices.Contains(heard[app][e.Topic()], e.Name) {
				row.heard = append(row.heard, app)
			}
		}
		actual[e.Name] = row
	}
	text, err := os.ReadFile(filepath.Join(root(t), "services", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	report(t, eventRules(readEvents(string(text)), actual))
}

// The constants of the …api packages, by which services name events, and the contracts say the same.
func TestContractsAreComplete(t *testing.T) {
	c := readCode(t)
	for app, set := range catalogue.Owners() {
		var names []string
		for _, e := range set.Events() {
			names = append(names, e.Name)
			if owner := c.topics[e.Topic()]; owner != app {
				t.Errorf("%s goes to %s, which is not a topic of %s", e.Name, e.Topic(), app)
			}
		}
		if !slices.Equal(names, c.events[app]) {
			t.Errorf("%s has the events %v, its contract has %v", app, c.events[app], names)
		}
		delete(c.events, app)
	}
	for app, events := range c.events {
		t.Errorf("%s has the events %v and no contract in package catalogue", app, events)
	}
	if n := len(c.topics); n < len(catalogue.Owners()) {
		t.Errorf("%d topics with the prefix %s", n, cloudevent.Prefix)
	}
}

func TestEventRulesFail(t *testing.T) {
	text := "| event | versions | heard by |\n| --- | --- | --- |\n| `order.placed` | `order.v1.P`, `order.v2.P` | pricing, analytics |\n| `order.gone` | `order.v1.G` | |\n"
	actual := map[string]eventRow{"order.placed": {"order.v1.P, order.v2.P", []string{"analytics", "pricing"}}, "order.gone": {schemas: "order.v1.G"}}
	same(t, eventRules(readEvents(text), actual), nil)
	actual = map[string]eventRow{"order.placed": {"order.v1.P", []string{"analytics"}}}
	same(t, eventRules(readEvents(text), actual), []string{
		"the table of events should say: | `order.placed` | `order.v1.P` | analytics |",
		"the table of events has order.gone, which is in no contract",
	})
}
