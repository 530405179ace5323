package cloudevent

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A trail tells a reader of some types what lies between two events that it got: the actions of the earlier events of
// the stream, in order, separated by spaces, the last one being that right before the event. So a gap in the sequence
// can be told from events that are nobody's business here, without asking the owner of the stream.

// TrailLength is how far a trail reaches back at most, in events: longer than the streams of this platform usually get.
const TrailLength = 24

// Elsewhere stands in a trail for an event that went to another topic than its stream's, or nowhere.
const Elsewhere = "-"

// ExtendTrail gives the trail of the event that follows one with this trail and action.
func ExtendTrail(trail, action string) string {
	actions := append(strings.Fields(trail), action)
	return strings.Join(actions[max(0, len(actions)-TrailLength):], " ")
}

// Action is the last part of a type's name: "ticket-opened" of restaurant.ticket-opened.
func Action(name string) string {
	_, action, _ := strings.Cut(strings.TrimPrefix(name, Prefix), ".")
	return action
}

// Owes reports what a reader of types that has the stream up to a sequence must have got before e: nothing (false), or
// an event that it is to have. known is false if the trail does not reach back far enough to tell; an event that was
// written before there were trails has none.
func (e Event) Owes(types []string, last int) (owes, known bool) {
	trail := strings.Fields(e.Trail)
	between := e.Seq() - 1 - last
	if between <= 0 {
		return false, true
	}
	known = len(trail) >= between
	for _, action := range trail[max(0, len(trail)-between):] {
		if slices.ContainsFunc(types, func(t string) bool { return Action(t) == action }) {
			return true, known
		}
	}
	return false, known
}

// Position takes the event's id apart, <stream>/<aggregate>/<sequence>, and reports what of the event contradicts it.
func (e Event) Position() (stream, id string, sequence int, err error) {
	if e.Sequence == "" {
		return "", "", 0, fmt.Errorf("sequence is missing")
	}
	sequence, err = strconv.Atoi(e.Sequence)
	if err != nil || sequence < 1 || strconv.Itoa(sequence) != e.Sequence {
		return "", "", 0, fmt.Errorf("sequence %.40q is not a number from 1", e.Sequence)
	}
	rest, tail, _ := cutLast(e.ID)
	stream, id, ok := cutLast(rest)
	if !ok || stream == "" || id == "" || tail != e.Sequence || strings.Contains(stream, "/") {
		return "", "", 0, fmt.Errorf("id %.200q is not <stream>/<aggregate>/%d", e.ID, sequence)
	}
	if id != e.Subject {
		return "", "", 0, fmt.Errorf("subject %.100q is not the aggregate of id %.200q", e.Subject, e.ID)
	}
	return stream, id, sequence, nil
}

func cutLast(s string) (before, after string, ok bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}
