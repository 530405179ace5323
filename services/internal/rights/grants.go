// Package rights makes what the services need at the servers that they share: topics, databases, a user for each
// service, and the right to what is its own and to nothing else. It can be run again and again: what is there stays,
// what is missing is made, and a right that is not declared is taken back.
package rights

import (
	"slices"
	"strings"

	"github.com/dishmesh/dishmesh/services/internal/broker"
)

// Admin is the user that makes the others.
const Admin = "admin"

// Grant is what one service may do with topics and consumer groups.
type Grant struct {
	User        string
	Write, Read []string // topics
	Group       string
	// GroupPrefix is set where the group's name goes on, by something that each replica makes up.
	GroupPrefix bool
}

// liveComponent is the component of live updates, whose readers have a group each.
const liveComponent = "live"

// Grants says what each app may do: it writes the topics that bear its name and the dead letters of what it hears, and
// reads what it has subscribed to.
func Grants(apps []string, topics []broker.Topic, subs []broker.Subscription) []Grant {
	var all []Grant
	for _, app := range apps {
		g := Grant{User: app, Group: app}
		for _, t := range topics {
			if owner(t.Name) == app {
				g.Write = append(g.Write, t.Name)
			}
		}
		for _, s := range subs {
			if !slices.Contains(s.Apps, app) {
				continue
			}
			g.Read = append(g.Read, s.Topic)
			if s.PubSub == liveComponent {
				g.Group, g.GroupPrefix = app+"-", true
			} else if letters := broker.DeadLetter(s.Topic, app); isTopic(topics, letters) {
				g.Write, g.Read = append(g.Write, letters), append(g.Read, letters)
			}
		}
		for _, names := range []*[]string{&g.Write, &g.Read} {
			slices.Sort(*names)
			*names = slices.Compact(*names)
		}
		all = append(all, g)
	}
	return all
}

// owner is the app whose events are on a topic; "" for dead letters, which are their reader's.
func owner(topic string) string {
	if strings.Contains(topic, ".dlq.") {
		return ""
	}
	app, _, _ := strings.Cut(strings.TrimPrefix(topic, broker.Prefix), ".")
	return app
}

func isTopic(topics []broker.Topic, name string) bool {
	return slices.ContainsFunc(topics, func(t broker.Topic) bool { return t.Name == name })
}
