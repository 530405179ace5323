package restaurant

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // the zones' rules, for machines that have none

	"github.com/dishmesh/dishmesh/services/internal/problem"
	"github.com/dishmesh/dishmesh/services/restaurant/restaurantapi"
)

var days = map[string]time.Weekday{
	"sun": time.Sunday, "mon": time.Monday, "tue": time.Tuesday, "wed": time.Wednesday,
	"thu": time.Thursday, "fri": time.Friday, "sat": time.Saturday,
}

// minutes reads hh:mm as minutes of the day, 24:00 included.
func minutes(clock string) (int, bool) {
	if clock == "24:00" {
		return 24 * 60, true
	}
	t, err := time.Parse("15:04", clock)
	return t.Hour()*60 + t.Minute(), err == nil && len(clock) == 5
}

// checkHours refuses what the validator tags can't see.
func checkHours(h restaurantapi.Hours) error {
	var faults []problem.Field
	if _, err := time.LoadLocation(h.Timezone); err != nil || strings.EqualFold(h.Timezone, "local") {
		faults = append(faults, problem.Field{Name: "timezone", Reason: "must be an IANA time zone such as Europe/Berlin"})
	}
	for i, o := range h.Openings {
		from, ok := minutes(o.Open)
		if !ok || from == 24*60 {
			faults = append(faults, problem.Field{Name: fmt.Sprintf("openings[%d].open", i), Reason: "must be a time of day from 00:00 to 23:59"})
		}
		if _, ok := minutes(o.Close); !ok {
			faults = append(faults, problem.Field{Name: fmt.Sprintf("openings[%d].close", i), Reason: "must be a time of day from 00:00 to 24:00"})
		}
	}
	if len(faults) > 0 {
		return problem.New(problem.InvalidRequest, "%d faulty field(s)", len(faults)).WithFields(faults...)
	}
	return nil
}

// openAt says whether the hours are open at an instant, by the wall clock of their zone.
func openAt(h restaurantapi.Hours, at time.Time) bool {
	if len(h.Openings) == 0 {
		return true
	}
	zone, err := time.LoadLocation(h.Timezone)
	if err != nil {
		zone = time.UTC // checked when it was set; the zone has gone from the database since
	}
	local := at.In(zone)
	now, yesterday := local.Hour()*60+local.Minute(), (local.Weekday()+6)%7
	for _, o := range h.Openings {
		from, _ := minutes(o.Open)
		to, _ := minutes(o.Close)
		overnight := to <= from
		switch days[o.Day] {
		case local.Weekday():
			if now >= from && (overnight || now < to) {
				return true
			}
		case yesterday:
			if overnight && now < to {
				return true
			}
		}
	}
	return false
}
