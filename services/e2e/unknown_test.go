package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/cloudevent"
	"github.com/dishmesh/dishmesh/services/internal/deadletter"
	"github.com/dishmesh/dishmesh/services/internal/ids"
	"github.com/dishmesh/dishmesh/services/menu/menuapi"
	"github.com/dishmesh/dishmesh/services/order/orderapi"
)

// The sidecars drop what their app does not want, and nothing else: an event of a type that nobody knows is with the
// dead letters of every app that hears its topic, at once and with a cause that says what is wrong. One of a known type
// that some of them don't want is with nobody's.
func TestUnknownType(t *testing.T) {
	s := shared.use(t)
	b := s.stranger(t)
	var apps []string
	for _, sub := range b.subs {
		if sub.Topic == orderTopic {
			apps = append(apps, sub.Apps...)
		}
	}
	slices.Sort(apps)
	if len(apps) < 4 {
		t.Fatalf("only %v hear of orders", apps)
	}
	eve := s.customer(t)
	eve.ended(t, eve.order(t, s.meal(t, 0), "").ID, orderapi.Delivered)

	unknown, elsewhere, unwanted := ids.New("ord"), ids.New("ord"), ids.New("ord")
	misplaced := poison("order.eaten", elsewhere, `{}`)
	misplaced.Type = cloudevent.Prefix + menuapi.MenuPublished
	b.publish(t, record(t, orderTopic, 0, poison("order.eaten", unknown, `{"order_id":"`+unknown+`"}`)), record(t, orderTopic, 0, misplaced),
		record(t, orderTopic, 0, poison(orderapi.EventCancelRefused, unwanted, `{"order_id":"`+unwanted+`"}`)))

	found := func(subject string) []deadletter.Letter {
		var o deadletter.Overview
		if s.dlq(t, 0, &o, "list", "--subject", subject); !o.Complete {
			t.Errorf("not all apps answered: %+v", o)
		}
		var all []deadletter.Letter
		for _, entry := range o.Letters {
			var l deadletter.Letter
			s.dlq(t, 0, &l, "show", entry.ID)
			all = append(all, l)
		}
		return all
	}
	for subject, cause := range map[string]string{
		unknown:   "unknown type order.eaten: this version of the service handles ",
		elsewhere: `malformed: type "fooddelivery.menu.published" does not belong on fooddelivery.order`,
	} {
		eventually(t, time.Minute, "every app that hears of orders has a dead letter of "+subject, func() error {
			if n := len(found(subject)); n < len(apps) {
				return fmt.Errorf("%d of %d have", n, len(apps))
			}
			return nil
		})
		var got []string
		for _, l := range found(subject) {
			got = append(got, l.App)
			if l.Attempts != 1 || !strings.Contains(l.Cause, cause) || l.Event != orderapi.App+"/"+subject+"/1" {
				t.Errorf("%s: %+v", l.App, l)
			}
		}
		if slices.Sort(got); !slices.Equal(got, apps) {
			t.Errorf("dead letters (-want +got):\n%s", cmp.Diff(apps, got))
		}
		s.command(t, 0, "dlq", "drop", "--subject", subject, "--yes", "--reason", "a test's")
	}
	b.quiet(t)
	if letters := found(unwanted); len(letters) > 0 {
		t.Errorf("%s, which is known and not wanted, is with the dead letters: %+v", orderapi.EventCancelRefused, letters)
	}
	s.auditGreen(t)
}
