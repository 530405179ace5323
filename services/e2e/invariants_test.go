package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// mutants are services that are built without a mechanism, by a tag, and what the audit has to say about each.
var mutants = []struct {
	service, tags string
	invariant     int
	says          string // %s is the order
}{
	{"payment", "outbox_forgets,outbox_stalls", 5, "payment has not published payment/%s/"},
	{"payment", "", 6, "analytics never took in payment/%s/"},
	{"pricing", "inbox_forgets", 6, "pricing never took in order/%s/"},
	{"notification", "notification_forgets", 7, "was never told of order/%s/"},
}

// Each mechanism behind the invariants 5 to 7 is switched off in one service of a platform of its own: the outbox loses
// one kind of event and never publishes another, an inbox keeps no receipts, notifications are sent and not recorded. The
// order goes through all the same, and the audit says what is missing.
func TestMutatedMechanisms(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: needs a platform of its own")
	}
	dir := filepath.Dir(shared.data) // is kept when a test fails
	bin := filepath.Join(dir, "mutants")
	if err := linkAll(programs, bin); err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		if m.tags == "" {
			continue
		}
		if err := os.Remove(filepath.Join(bin, m.service)); err != nil {
			t.Fatal(err)
		}
		if err := goBuild(t.Context(), bin, m.tags, "./services/cmd/"+m.service); err != nil {
			t.Fatal(err)
		}
	}
	s := newSite(filepath.Join(programs, "dishmesh"), filepath.Join(dir, "mutated"), "--time-scale", "0", "--bin", bin)
	t.Cleanup(func() {
		if err := s.down(); err != nil {
			t.Error(err)
		}
	})
	if err := s.up(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.use(t)
	order := s.order(t, 0).OrderID
	v := s.redAudit(t)
	for _, m := range mutants {
		want, found := fmt.Sprintf(m.says, order), false
		for _, invariant := range v.Invariants {
			for _, violation := range invariant.Violations {
				found = found || invariant.ID == m.invariant && strings.Contains(violation, want)
			}
		}
		if !found {
			t.Errorf("%s without its mechanism: invariant %d does not say %q", m.service, m.invariant, want)
		}
	}
	for _, invariant := range v.Invariants {
		if invariant.OK != (invariant.ID < 5 || invariant.ID > 7) {
			t.Errorf("invariant %d, %s: ok=%t, %v", invariant.ID, invariant.Name, invariant.OK, invariant.Violations)
		}
	}
}

// redAudit audits strictly, until invariants 5, 6 and 7 are all red: what is on its way is given some seconds.
func (s *site) redAudit(t *testing.T) (v verdict) {
	t.Helper()
	eventually(t, healthyWithin, "the audit is red", func() error {
		o, err := s.run(t.Context(), "audit", "--json", "--strict")
		if err == nil {
			v, err = readVerdict(o)
		}
		if err != nil {
			return err
		}
		for _, invariant := range v.Invariants {
			if invariant.OK && invariant.ID >= 5 && invariant.ID <= 7 {
				return fmt.Errorf("invariant %d holds", invariant.ID)
			}
		}
		return nil
	})
	return v
}

// linkAll makes a folder with links to the programs of another.
func linkAll(from, to string) error {
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	files, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, f := range files {
		if f.IsDir() {
			continue
		}
		if err := os.Symlink(filepath.Join(from, f.Name()), filepath.Join(to, f.Name())); err != nil {
			return err
		}
	}
	return nil
}
