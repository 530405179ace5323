package audit_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/city/acquirer"
	"github.com/dishmesh/dishmesh/services/internal/audit"
)

// What has not changed since is left out, with what it has wrong; what has is checked as ever.
func TestSince(t *testing.T) {
	w := newTown(t).settle()
	w.charge("ord_delivered", acquirer.Capture, 0) // twice, long ago
	w.clock = noon.Add(-10 * time.Minute)
	w.placed("ord_stuck")
	w.writeBook()
	cfg := w.config()
	for _, tc := range []struct {
		since time.Time
		want  map[string]int
		says  []string
	}{
		{noon.Add(-11 * time.Minute), map[string]int{"placed": 2}, []string{"ord_stuck: is placed since"}},
		{time.Time{}, map[string]int{"delivered": 1, "rejected": 1, "cancelled": 1, "declined": 1, "compensation_failed": 1, "placed": 2},
			[]string{"ord_stuck: is placed since", "ord_delivered: the acquirer has 2 operations to capture"}},
		{noon, map[string]int{}, nil},
	} {
		cfg.Since = tc.since
		if len(tc.want) == 0 {
			cfg.Wait, cfg.Progress = time.Second, func(n int) { t.Errorf("waits for %d orders, all of which are left out", n) }
		}
		r, err := audit.Run(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, r.Orders); diff != "" {
			t.Errorf("since %s: orders (-want +got):\n%s", tc.since, diff)
		}
		found := ""
		for _, v := range r.Invariants {
			found += strings.Join(v.Violations, "\n") + "\n"
		}
		for _, s := range tc.says {
			if !strings.Contains(found, s) {
				t.Errorf("since %s: want %q, got %s", tc.since, s, found)
			}
		}
		if r.OK != (tc.says == nil) || tc.says == nil && strings.TrimSpace(found) != "" {
			t.Errorf("since %s: ok=%t, %s", tc.since, r.OK, found)
		}
	}
}
