package menuapi_test

import (
	"testing"
	"time"

	"github.com/dishmesh/dishmesh/services/menu/menuapi"
)

func TestOpenAt(t *testing.T) {
	r := menuapi.Restaurant{ID: "rst_x", TimeZone: "Europe/Berlin", OpeningHours: []menuapi.Period{
		{Days: []string{"mon", "tue"}, From: "11:30", To: "14:00"},
		{Days: []string{"sat"}, From: "18:00", To: "02:00"},
		{Days: []string{"wed"}, From: "00:00", To: "24:00"},
	}}
	schedule, err := r.Schedule()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		at   string
		want bool
	}{
		{"2026-11-23T10:29:59Z", false}, // Monday, 11:29 in Berlin
		{"2026-11-23T10:30:00Z", true},
		{"2026-11-23T12:59:59Z", true},
		{"2026-11-23T13:00:00Z", false},
		{"2026-07-20T09:30:00Z", true}, // in summer time
		{"2026-07-20T12:00:00Z", false},
		{"2026-11-24T23:00:00Z", true}, // Wednesday, midnight
		{"2026-11-25T22:59:00Z", true},
		{"2026-11-25T23:00:00Z", false}, // Thursday
		{"2026-11-28T17:00:00Z", true},  // Saturday evening
		{"2026-11-29T00:59:00Z", true},  // Sunday, 01:59
		{"2026-11-29T01:00:00Z", false},
		{"2026-11-29T17:30:00Z", false},
	}
	for _, tt := range tests {
		at, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		if got := schedule.OpenAt(at); got != tt.want {
			t.Errorf("at %s: open is %v", tt.at, got)
		}
	}
	if (menuapi.Schedule{}).OpenAt(time.Now()) {
		t.Error("no hours at all are open")
	}
}

func TestScheduleRefuses(t *testing.T) {
	for _, p := range []menuapi.Period{
		{Days: []string{"mon"}, From: "24:01", To: "25:00"}, {Days: []string{"mon"}, From: "9:00", To: "17:00"},
		{Days: []string{"mon"}, From: "09:60", To: "17:00"}, {Days: []string{"Monday"}, From: "09:00", To: "17:00"}, {Days: []string{"mon"}, From: "09-00", To: "17:00"},
	} {
		if _, err := (menuapi.Restaurant{TimeZone: "UTC", OpeningHours: []menuapi.Period{p}}).Schedule(); err == nil {
			t.Errorf("%+v was taken", p)
		}
	}
	if _, err := (menuapi.Restaurant{TimeZone: "Mars/Olympus"}).Schedule(); err == nil {
		t.Error("an unknown time zone was taken")
	}
}
