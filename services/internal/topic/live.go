package topic

import "slices"

// Live tells whether all that the service takes in are live updates, so that it has no dead letters.
func (s *Subscriber) Live() bool {
	return len(s.subs) > 0 && !slices.ContainsFunc(s.subs, func(sub Subscription) bool { return !sub.Live })
}
