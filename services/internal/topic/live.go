package topic

import "slices"

// Topics lists the topics that the service takes in for good. Each has a topic of dead letters.
func (s *Subscriber) Topics() []string {
	var all []string
	for _, sub := range s.subs {
		if !sub.Live {
			all = append(all, sub.Topic)
		}
	}
	slices.Sort(all)
	return all
}

// Live tells whether all that the service takes in are live updates, so that it has no dead letters.
func (s *Subscriber) Live() bool { return len(s.subs) > 0 && len(s.Topics()) == 0 }

// drop gives a live update up: one that comes late is none, and whoever keeps something of the same event has a dead
// letter of its own.
func (s *Subscriber) drop(d *delivery, cause error) string {
	s.log.Error("live update dropped", "event", d.event.ID, "topic", d.sub.Topic, "cause", cause)
	s.handled.WithLabelValues(d.sub.Topic, "dropped").Inc()
	return success
}
