package restaurant_test

import (
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

func TestOpeningHours(t *testing.T) {
	berlin := func(day string, from, to string) map[string]any {
		return map[string]any{"timezone": "Europe/Berlin", "openings": []any{map[string]any{"day": day, "open": from, "close": to}}}
	}
	tests := []struct {
		name  string
		hours map[string]any
		at    string // UTC
		open  bool
	}{
		{"none set", map[string]any{"timezone": "UTC", "openings": []any{}}, "2026-03-06T03:00:00Z", true},
		{"at opening", berlin("fri", "11:00", "23:00"), "2026-03-06T10:00:00Z", true},
		{"a minute before", berlin("fri", "11:00", "23:00"), "2026-03-06T09:59:59Z", false},
		{"at closing", berlin("fri", "11:00", "23:00"), "2026-03-06T22:00:00Z", false},
		{"another day", berlin("sat", "11:00", "23:00"), "2026-03-06T12:00:00Z", false},
		{"all day", berlin("fri", "00:00", "24:00"), "2026-03-06T22:59:59Z", true},
		{"over midnight, before", berlin("fri", "18:00", "02:00"), "2026-03-06T22:30:00Z", true},
		{"over midnight, after", berlin("fri", "18:00", "02:00"), "2026-03-07T00:30:00Z", true},
		{"over midnight, too late", berlin("fri", "18:00", "02:00"), "2026-03-07T01:00:00Z", false},
		{"over midnight, the morning before", berlin("fri", "18:00", "02:00"), "2026-03-06T00:30:00Z", false},
		{"over midnight, over the week", berlin("sat", "18:00", "02:00"), "2026-03-08T00:30:00Z", true},
		{"in summer time", berlin("fri", "11:00", "23:00"), "2026-07-03T09:00:00Z", true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := start(t, "", nil)
			now, err := time.Parse(time.RFC3339, tt.at)
			w.must(err)
			w.clock.add(now.Sub(w.clock.Now()))
			w.must(w.do(kitchen(1), "PUT", "/v1/restaurants/rst_1/hours", tt.hours, nil))
			want := restaurantapi.OpenResult{Status: restaurantapi.Open}
			if !tt.open {
				want = restaurantapi.OpenResult{Status: restaurantapi.Rejected, Reason: restaurantapi.ReasonClosed}
			}
			if got := w.open("ord_1"); got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}
