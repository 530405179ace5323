package actor_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/city/actor"
)

func TestDirective(t *testing.T) {
	for _, test := range []struct{ note, role, want string }{
		{"", "kitchen", ""},
		{"no onions", "kitchen", ""},
		{"city:kitchen=reject", "kitchen", "reject"},
		{"no onions, city:kitchen=slow.", "kitchen", "slow"},
		{"city:kitchen=reject", "courier", ""},
		{"the city:courier=none please", "courier", "none"},
	} {
		if got := actor.Directive(test.note, test.role); got != test.want {
			t.Errorf("Directive(%q, %q): got %q, want %q", test.note, test.role, got, test.want)
		}
	}
}

func TestPaceIsSeededAndScaled(t *testing.T) {
	const least, most = 5 * time.Second, 8 * time.Second
	one := actor.Pace{Scale: 1, Seed: 1}
	seen := map[time.Duration]bool{}
	for _, order := range []string{"ord_1", "ord_2", "ord_3"} {
		d := one.Between(order, "cook", least, most)
		if d < least || d > most || d != one.Between(order, "cook", least, most) {
			t.Errorf("%s: got %v, want the same from %v to %v each time", order, d, least, most)
		}
		if tenth := (actor.Pace{Scale: 0.1, Seed: 1}).Between(order, "cook", least, most); tenth != d/10 {
			t.Errorf("%s at scale 0.1: got %v, want %v", order, tenth, d/10)
		}
		seen[d] = true
	}
	if len(seen) < 2 {
		t.Error("all orders take equally long")
	}
	if a, b := one.Between("ord_1", "cook", least, most), (actor.Pace{Scale: 1, Seed: 2}).Between("ord_1", "cook", least, most); a == b {
		t.Error("the seed makes no difference")
	}
	instant := actor.Pace{}
	if d := instant.Between("ord_1", "cook", least, most); d != 0 {
		t.Errorf("at scale 0: got %v, want 0", d)
	}
	if d := instant.Slow("ord_1", "cook", least, most); d != 3*time.Second {
		t.Errorf("slow at scale 0: got %v, want 3s", d)
	}
}

func TestReadAccounts(t *testing.T) {
	for _, test := range []struct {
		name, content string
		want          []actor.Account
		says          string
	}{
		{name: "good", content: `[{"email":"k@example.org","password":"p","name":"K","role":"kitchen","restaurant_id":"rst_01"}]`,
			want: []actor.Account{{Email: "k@example.org", Password: "p", Name: "K", Role: "kitchen", RestaurantID: "rst_01"}}},
		{name: "missing", says: "dishmesh up"},
		{name: "broken", content: `[`, says: "mend it"},
		{name: "kitchen of nothing", content: `[{"email":"k@example.org","password":"p","role":"kitchen"}]`, says: "account 1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "accounts.json")
			if test.content != "" {
				if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := actor.ReadAccounts(path)
			if test.says != "" {
				if err == nil || !strings.Contains(err.Error(), test.says) {
					t.Errorf("got %v, want an error with %q", err, test.says)
				}
				return
			}
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("got %v; -want +got:\n%s", err, diff)
			}
		})
	}
}
