package menuapi

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata" // opening hours must mean the same on a machine without a time zone database
)

// Period is a stretch of opening hours that repeats every week. A period that does not end after it begins runs
// past midnight; 00:00 to 24:00 is the whole day.
type Period struct {
	Days []string `json:"days" validate:"required,min=1,max=7,unique,dive,oneof=mon tue wed thu fri sat sun"`
	From string   `json:"from" validate:"required,len=5"` // HH:MM, local time
	To   string   `json:"to" validate:"required,len=5"`   // HH:MM up to 24:00, local time
}

// Schedule is opening hours, read and ready to be asked.
type Schedule struct {
	loc   *time.Location
	spans []span
}

// span is a period of one weekday in minutes after its midnight; to may lie beyond 24 hours.
type span struct {
	day      time.Weekday
	from, to int
}

var weekdays = map[string]time.Weekday{"sun": time.Sunday, "mon": time.Monday, "tue": time.Tuesday,
	"wed": time.Wednesday, "thu": time.Thursday, "fri": time.Friday, "sat": time.Saturday}

const day = 24 * 60

// Schedule reads the restaurant's opening hours. The error names what can't be read.
func (r Restaurant) Schedule() (Schedule, error) {
	loc, err := time.LoadLocation(r.TimeZone)
	if err != nil {
		return Schedule{}, fmt.Errorf("restaurant %s: time zone: %w", r.ID, err)
	}
	s := Schedule{loc: loc}
	for _, p := range r.OpeningHours {
		from, ok1 := minutes(p.From)
		to, ok2 := minutes(p.To)
		if !ok1 || !ok2 {
			return Schedule{}, fmt.Errorf("restaurant %s: opening hours %s-%s: a time of day is written as 18:30", r.ID, p.From, p.To)
		}
		if to <= from {
			to += day
		}
		for _, name := range p.Days {
			d, ok := weekdays[name]
			if !ok {
				return Schedule{}, fmt.Errorf("restaurant %s: opening hours: %q is no weekday; write mon, tue, …", r.ID, name)
			}
			s.spans = append(s.spans, span{d, from, to})
		}
	}
	return s, nil
}

// OpenAt reports whether the kitchen is open at t.
func (s Schedule) OpenAt(t time.Time) bool {
	if s.loc == nil {
		return false
	}
	local := t.In(s.loc)
	now := local.Hour()*60 + local.Minute()
	for _, p := range s.spans {
		if p.day == local.Weekday() && now >= p.from && now < p.to ||
			(p.day+1)%7 == local.Weekday() && now+day < p.to {
			return true
		}
	}
	return false
}

// minutes after midnight, up to 24:00.
func minutes(s string) (int, bool) {
	h, m, ok := strings.Cut(s, ":")
	if !ok || len(h) != 2 || len(m) != 2 {
		return 0, false
	}
	hours, err1 := strconv.ParseUint(h, 10, 8)
	mins, err2 := strconv.ParseUint(m, 10, 8)
	n := int(hours*60 + mins)
	return n, err1 == nil && err2 == nil && mins < 60 && n <= day
}
