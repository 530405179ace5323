package arch

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/topic"
)

// excluded gives the event types that a subscription's rule keeps back, without the common prefix; none if there is no
// rule. It reports false for a rule of another form.
func (d document) excluded() ([]string, bool) {
	var types []string
	for _, rule := range d.Spec.Routes.Rules {
		m := match.FindStringSubmatch(strings.Join(strings.Fields(rule.Match), " "))
		if m == nil {
			return nil, false
		}
		for quoted := range strings.SplitSeq(m[1], ",") {
			types = append(types, strings.TrimPrefix(strings.Trim(quoted, ` "`), cloudevent.Prefix))
		}
	}
	return types, true
}

// heard gives those of a topic's known types that a subscription lets through.
func (d document) heard(known []string) []string {
	excluded, _ := d.excluded()
	return slices.DeleteFunc(slices.Clone(known), func(e string) bool { return slices.Contains(excluded, e) })
}

// subscriptionRules hold the declared subscriptions against the code, in both directions.
func subscriptionRules(c code, documents []document) []string {
	var violations []string
	subscribed := map[string][]string{}
	for _, d := range documents {
		complain := func(format string, args ...any) {
			violations = append(violations, d.file+": "+d.Metadata.Name+": "+fmt.Sprintf(format, args...))
		}
		app := strings.TrimSuffix(path.Base(d.file), ".yaml")
		if d.Kind != "Subscription" || d.APIVersion != "dapr.io/v2alpha1" {
			complain("is a %s of %s; only subscriptions of dapr.io/v2alpha1 belong here", d.Kind, d.APIVersion)
			continue
		}
		if !isService(app) || !slices.Equal(d.Scopes, []string{app}) {
			complain("is scoped to %q; a file holds the subscriptions of the app that it is named after", d.Scopes)
			continue
		}
		if d.deadLetters() {
			continue
		}
		publisher, ok := c.topics[d.Spec.Topic]
		if !ok {
			complain("there is no topic %s", d.Spec.Topic)
			continue
		}
		subscribed[app] = append(subscribed[app], d.Spec.Topic)
		if want := app + "-" + strings.ReplaceAll(strings.TrimPrefix(d.Spec.Topic, cloudevent.Prefix), ".", "-"); d.Metadata.Name != want {
			complain("is not called %s", want)
		}
		if want := map[bool]string{true: "live", false: "events"}[app == "gateway"]; d.Spec.PubSubName != want {
			complain("is on component %q, not %q", d.Spec.PubSubName, want)
		}
		rules, paths := d.Spec.Routes.Rules, []string{d.Spec.Routes.Default}
		if len(rules) > 0 {
			paths = []string{rules[0].Path}
		}
		if len(rules) > 1 || len(rules) == 1 && d.Spec.Routes.Default != "" {
			complain("has more than one route; a topic has one handler")
			continue
		}
		if want := topic.Path(d.Spec.Topic); paths[0] != want {
			complain("delivers to %q, not to %s", paths[0], want)
		}
		excluded, ok := d.excluded()
		if !ok {
			complain("the rule is not of the form %s: it would drop what nobody knows without a word", form)
			continue
		}
		known := c.kinds[d.Spec.Topic]
		for i, e := range excluded {
			switch {
			case !slices.Contains(known, e):
				complain("excludes %s, which is no event of %s", e, publisher)
			case slices.Contains(excluded[:i], e):
				complain("excludes %s twice", e)
			case c.known[app][e]:
				complain("excludes %s, which %s knows", e, app)
			}
		}
		passed := d.heard(known)
		if declared, ok := c.declared[app][d.Spec.Topic]; ok && !slices.Equal(declared, passed) {
			complain("lets %v through, and the subscription in the code declares %v: exclude what it does not want", passed, declared)
		}
		for _, e := range passed {
			if len(rules) == 1 && !c.known[app][e] {
				complain("does not exclude %s, which %s does not know", e, app)
			}
		}
	}
	for _, app := range services {
		want, got := slices.Sorted(slices.Values(c.routes[app])), slices.Sorted(slices.Values(subscribed[app]))
		if !slices.Equal(want, got) {
			violations = append(violations, fmt.Sprintf("%s takes in %v and is subscribed to %v", app, want, got))
		}
	}
	return violations
}

// deadLetters tells whether a subscription is to a topic of dead letters.
func (d document) deadLetters() bool {
	return strings.Contains(d.Spec.Topic, topic.DeadLetterTopic("", ""))
}

// deadLetterRules hold that an app has its own dead letters of what it is subscribed to, unless that is live updates,
// and gets them as they are: of what is no event, the sidecar would try to make one for ever.
func deadLetterRules(documents []document) []string {
	var violations []string
	topics, letters := map[string][]string{}, map[string][]string{}
	for _, d := range documents {
		complain := func(format string, args ...any) {
			violations = append(violations, d.file+": "+d.Metadata.Name+": "+fmt.Sprintf(format, args...))
		}
		app := strings.TrimSuffix(path.Base(d.file), ".yaml")
		if !d.deadLetters() {
			if d.Spec.PubSubName != "live" {
				topics[app] = append(topics[app], d.Spec.Topic)
			}
			continue
		}
		of, own := strings.CutSuffix(d.Spec.Topic, topic.DeadLetterTopic("", app))
		if !own {
			complain("is to the dead letters of another app")
			continue
		}
		letters[app] = append(letters[app], of)
		if want := app + "-" + strings.ReplaceAll(strings.TrimPrefix(of, cloudevent.Prefix), ".", "-") + "-dlq"; d.Metadata.Name != want {
			complain("is not called %s", want)
		}
		if want := topic.Path(d.Spec.Topic); d.Spec.Routes.Default != want || len(d.Spec.Routes.Rules) > 0 {
			complain("does not deliver everything to %s", want)
		}
		if d.Spec.PubSubName != "events" {
			complain("is on component %q, not \"events\"", d.Spec.PubSubName)
		}
		var metadata map[string]string
		if err := d.Spec.Metadata.Decode(&metadata); err != nil || metadata["rawPayload"] != "true" {
			complain(`lacks metadata rawPayload: "true"`)
		}
	}
	for _, app := range services {
		want, got := slices.Sorted(slices.Values(topics[app])), slices.Sorted(slices.Values(letters[app]))
		if !slices.Equal(want, got) {
			violations = append(violations, fmt.Sprintf("%s is subscribed to %v and to the dead letters of %v", app, want, got))
		}
	}
	return violations
}

// scopeRules hold that resources are scoped to apps that exist.
func scopeRules(documents []document) []string {
	var violations []string
	for _, d := range documents {
		for _, s := range d.Scopes {
			if !isService(s) {
				violations = append(violations, fmt.Sprintf("%s: %s is scoped to %q, which is no app", d.file, d.Metadata.Name, s))
			}
		}
	}
	return violations
}

func TestSubscriptions(t *testing.T) {
	all := resources(t)
	report(t, scopeRules(all))
	subscriptions := slices.DeleteFunc(slices.Clone(all), func(d document) bool { return path.Dir(d.file) != "components/subscriptions" })
	if len(subscriptions) == 0 {
		t.Fatal("no subscriptions found")
	}
	report(t, subscriptionRules(readCode(t), subscriptions))
	report(t, deadLetterRules(subscriptions))
}

const good = `apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata: {name: delivery-restaurant}
spec:
  pubsubname: events
  topic: fooddelivery.restaurant
  routes:
    rules:
      - path: /events/fooddelivery.restaurant
        match: >-
          !has(event.type) || !(event.type in [
          "fooddelivery.restaurant.ticket-accepted",
          "fooddelivery.restaurant.ticket-rejected"])
scopes: [delivery]
`

const goodLetters = `---
apiVersion: dapr.io/v2alpha1
kind: Subscription
metadata: {name: delivery-restaurant-dlq}
spec:
  pubsubname: events
  topic: fooddelivery.restaurant.dlq.delivery
  routes: {default: /events/fooddelivery.restaurant.dlq.delivery}
  metadata: {rawPayload: "true"}
scopes: [delivery]
`

func TestSubscriptionRulesFail(t *testing.T) {
	c := code{
		topics: map[string]string{"fooddelivery.restaurant": "restaurant", "fooddelivery.delivery.location": "delivery"},
		kinds: map[string][]string{
			"fooddelivery.restaurant":        {"restaurant.ticket-accepted", "restaurant.ticket-opened", "restaurant.ticket-ready", "restaurant.ticket-rejected"},
			"fooddelivery.delivery.location": {"delivery.location-updated"},
		},
		known:  map[string]map[string]bool{"delivery": {"restaurant.ticket-ready": true, "restaurant.ticket-opened": true}},
		routes: map[string][]string{"delivery": {"fooddelivery.restaurant"}},
	}
	const name = "components/subscriptions/delivery.yaml: delivery-restaurant: "
	for _, tc := range []struct{ name, file, old, new, want string }{
		{"good", "", "", "", ""},
		{"an event that is not there", "", "ticket-rejected", "ticket-torn", name + "excludes restaurant.ticket-torn, which is no event of restaurant\n" + name + "does not exclude restaurant.ticket-rejected, which delivery does not know"},
		{"an event that is handled", "", "ticket-rejected\"", "ticket-rejected\", \"fooddelivery.restaurant.ticket-opened\"", name + "excludes restaurant.ticket-opened, which delivery knows"},
		{"an event twice", "", "ticket-rejected\"", "ticket-rejected\", \"fooddelivery.restaurant.ticket-accepted\"", name + "excludes restaurant.ticket-accepted twice"},
		{"an event that is forgotten", "", ",\n          \"fooddelivery.restaurant.ticket-rejected\"", "", name + "does not exclude restaurant.ticket-rejected, which delivery does not know"},
		{"what has no type is dropped", "", "!has(event.type) || ", "", name + "the rule is not of the form " + form + ": it would drop what nobody knows without a word"},
		{"what nobody knows is dropped", "", "!(event.type in [\n          \"fooddelivery.restaurant.ticket-accepted\",\n          \"fooddelivery.restaurant.ticket-rejected\"])", "event.type in [\"fooddelivery.restaurant.ticket-ready\"]",
			name + "the rule is not of the form " + form + ": it would drop what nobody knows without a word"},
		{"a topic that is not there", "", "topic: fooddelivery.restaurant", "topic: fooddelivery.kitchen", name + "there is no topic fooddelivery.kitchen\ndelivery takes in [fooddelivery.restaurant] and is subscribed to []"},
		{"another topic", "", "topic: fooddelivery.restaurant", "topic: fooddelivery.delivery.location", name + "is not called delivery-delivery-location\n" +
			name + `delivers to "/events/fooddelivery.restaurant", not to /events/fooddelivery.delivery.location` + "\n" + name + "excludes restaurant.ticket-accepted, which is no event of delivery\n" +
			name + "excludes restaurant.ticket-rejected, which is no event of delivery\n" + name + "does not exclude delivery.location-updated, which delivery does not know\ndelivery takes in [fooddelivery.restaurant] and is subscribed to [fooddelivery.delivery.location]"},
		{"another path", "", "path: /events/", "path: /event/", name + `delivers to "/event/fooddelivery.restaurant", not to /events/fooddelivery.restaurant`},
		{"another app", "", "scopes: [delivery]", "scopes: [currier]", name + `is scoped to ["currier"]; a file holds the subscriptions of the app that it is named after` + "\ndelivery takes in [fooddelivery.restaurant] and is subscribed to []"},
		{"no scope", "", "scopes: [delivery]", "", name + `is scoped to []; a file holds the subscriptions of the app that it is named after` + "\ndelivery takes in [fooddelivery.restaurant] and is subscribed to []"},
		{"another file", "components/subscriptions/order.yaml", "", "", `components/subscriptions/order.yaml: delivery-restaurant: is scoped to ["delivery"]; a file holds the subscriptions of the app that it is named after` + "\ndelivery takes in [fooddelivery.restaurant] and is subscribed to []"},
		{"another component", "", "pubsubname: events", "pubsubname: live", name + `is on component "live", not "events"`},
		{"another kind", "", "v2alpha1", "v1alpha1", name + "is a Subscription of dapr.io/v1alpha1; only subscriptions of dapr.io/v2alpha1 belong here\ndelivery takes in [fooddelivery.restaurant] and is subscribed to []"},
		{"two routes", "", "    rules:", "    default: /events/fooddelivery.restaurant\n    rules:", name + "has more than one route; a topic has one handler"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !strings.Contains(good, tc.old) {
				t.Fatalf("%q is not in the sample", tc.old)
			}
			file := tc.file
			if file == "" {
				file = "components/subscriptions/delivery.yaml"
			}
			text := good
			if tc.old != "" {
				text = strings.Replace(good, tc.old, tc.new, 1)
			}
			documents, err := parseDocuments(file, []byte(text))
			if err != nil {
				t.Fatal(err)
			}
			same(t, subscriptionRules(c, documents), slices.DeleteFunc(strings.Split(tc.want, "\n"), func(s string) bool { return s == "" }))
		})
	}
}

func TestDeadLetterRulesFail(t *testing.T) {
	const name = "components/subscriptions/delivery.yaml: delivery-restaurant-dlq: "
	for _, tc := range []struct{ name, old, new, want string }{
		{"good", "", "", ""},
		{"none", "restaurant.dlq.delivery\n", "restaurant\n", "delivery is subscribed to [fooddelivery.restaurant fooddelivery.restaurant] and to the dead letters of []"},
		{"another topic's", "restaurant.dlq", "order.dlq", name + "is not called delivery-order-dlq\ndelivery is subscribed to [fooddelivery.restaurant] and to the dead letters of [fooddelivery.order]"},
		{"another app's", "dlq.delivery\n", "dlq.menu\n", name + "is to the dead letters of another app\ndelivery is subscribed to [fooddelivery.restaurant] and to the dead letters of []"},
		{"another path", "default: /events/", "default: /letters/", name + "does not deliver everything to /events/fooddelivery.restaurant.dlq.delivery"},
		{"another component", "pubsubname: events", "pubsubname: live", name + `is on component "live", not "events"`},
		{"as events", `metadata: {rawPayload: "true"}`, "", name + `lacks metadata rawPayload: "true"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !strings.Contains(goodLetters, tc.old) {
				t.Fatalf("%q is not in the sample", tc.old)
			}
			documents, err := parseDocuments("components/subscriptions/delivery.yaml", []byte(good+replaced(goodLetters, tc.old, tc.new)))
			if err != nil {
				t.Fatal(err)
			}
			same(t, deadLetterRules(documents), slices.DeleteFunc(strings.Split(tc.want, "\n"), func(s string) bool { return s == "" }))
		})
	}
}

func replaced(s, old, with string) string {
	if old == "" {
		return s
	}
	return strings.ReplaceAll(s, old, with)
}

func TestDeclaredTypesFail(t *testing.T) {
	documents, err := parseDocuments("components/subscriptions/delivery.yaml", []byte(good))
	if err != nil {
		t.Fatal(err)
	}
	const accepted, opened, ready, rejected = "restaurant.ticket-accepted", "restaurant.ticket-opened", "restaurant.ticket-ready", "restaurant.ticket-rejected"
	for want, declared := range map[string][]string{
		"": {opened, ready},
		"components/subscriptions/delivery.yaml: delivery-restaurant: lets [restaurant.ticket-opened restaurant.ticket-ready] through, and the subscription in the code declares [restaurant.ticket-ready]: exclude what it does not want": {ready},
	} {
		c := code{
			topics: map[string]string{"fooddelivery.restaurant": "restaurant"}, kinds: map[string][]string{"fooddelivery.restaurant": {accepted, opened, ready, rejected}},
			known:    map[string]map[string]bool{"delivery": {opened: true, ready: true}},
			routes:   map[string][]string{"delivery": {"fooddelivery.restaurant"}},
			declared: map[string]map[string][]string{"delivery": {"fooddelivery.restaurant": declared}},
		}
		same(t, subscriptionRules(c, documents), slices.DeleteFunc([]string{want}, func(s string) bool { return s == "" }))
	}
}

func TestScopeRulesFail(t *testing.T) {
	documents, err := parseDocuments("components/embedded/mail.yaml", []byte("metadata: {name: mail}\nscopes: [notification, notifier]"))
	if err != nil {
		t.Fatal(err)
	}
	same(t, scopeRules(documents), []string{`components/embedded/mail.yaml: mail is scoped to "notifier", which is no app`})
}

// TestEventTypes holds that the code was read right: whoever has a topic to be heard on has events.
func TestEventTypes(t *testing.T) {
	c := readCode(t)
	for _, service := range slices.Sorted(maps.Keys(c.events)) {
		t.Logf("%s: %v", service, c.events[service])
	}
	for _, app := range []string{"user", "menu", "pricing", "order", "payment", "restaurant", "delivery", "notification"} {
		if len(c.events[app]) == 0 {
			t.Errorf("%s has no event types in services/%s/%sapi", app, app, app)
		}
	}
}
