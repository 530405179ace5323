package order

import "github.com/dishmesh/dishmesh/services/internal/cloudevent"

// Replay folds a stream's events into the state that its head must hold; the audit compares the two.
func Replay(events []cloudevent.Event) (any, error) {
	var s state
	for _, e := range events {
		var err error
		if s, err = apply(s, e); err != nil {
			return nil, err
		}
	}
	return s, nil
}
