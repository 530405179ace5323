package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/broker"
	"github.com/dishmesh/dishmesh/services/internal/platform"
)

// Rights follow from the code of the services, and the sidecars from components/subscriptions: both say the same.
func TestDeclaredSubscriptionsAreThoseOfTheSidecars(t *testing.T) {
	home, err := platform.FindHome()
	if err != nil {
		t.Fatal(err)
	}
	subs, err := broker.ReadSubscriptions(home.Components("subscriptions"))
	if err != nil {
		t.Fatal(err)
	}
	lines := func(subs []broker.Subscription) (all []string) {
		for _, s := range subs {
			if !strings.Contains(s.Topic, ".dlq.") {
				all = append(all, strings.Join(append([]string{s.PubSub, s.Topic}, s.Apps...), " "))
			}
		}
		slices.Sort(all)
		return all
	}
	if diff := cmp.Diff(lines(subs), lines(declaredSubscriptions())); diff != "" {
		t.Errorf("(-components/subscriptions +code):\n%s", diff)
	}
}
