package arch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var serviceList = regexp.MustCompile(`(?m)^SERVICES *:?= *\[?([^\]\n]*)\]?$`)

// listRules hold that a file which lists the services lists all of them.
func listRules(name, text string) []string {
	m := serviceList.FindStringSubmatch(text)
	if m == nil {
		return []string{name + " has no list SERVICES"}
	}
	got := strings.FieldsFunc(m[1], func(r rune) bool { return strings.ContainsRune(" ,'", r) })
	slices.Sort(got)
	if want := slices.Sorted(slices.Values(services)); !slices.Equal(got, want) {
		return []string{fmt.Sprintf("%s lists the services %v, not %v", name, got, want)}
	}
	return nil
}

func TestServiceLists(t *testing.T) {
	for _, name := range []string{"Makefile", "Tiltfile"} {
		text, err := os.ReadFile(filepath.Join(root(t), name))
		if err != nil {
			t.Fatal(err)
		}
		report(t, listRules(name, string(text)))
	}
}

func TestListRulesFail(t *testing.T) {
	all := slices.Sorted(slices.Values(services))
	same(t, listRules("Makefile", "BIN := bin\nSERVICES := "+strings.Join(services, " ")+"\n"), nil)
	same(t, listRules("Tiltfile", "SERVICES = ['"+strings.Join(services, "', '")+"']\n"), nil)
	same(t, listRules("Makefile", "SERVICES := gateway cron\n"), []string{fmt.Sprintf("Makefile lists the services [cron gateway], not %v", all)})
	same(t, listRules("Makefile", "APPS := gateway\n"), []string{"Makefile has no list SERVICES"})
}
