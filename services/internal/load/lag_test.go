package load_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/dishmesh/dishmesh/services/internal/load"
)

// The lag is that of the run alone, the slowest consumer first, and a consumer that was started anew counts from zero.
func TestEventLag(t *testing.T) {
	histogram := func(topic string, counts ...int) string {
		s := ""
		for i, bound := range []string{"0.05", "0.1", "+Inf"} {
			s += fmt.Sprintf("event_lag_seconds_bucket{topic=%q,le=%q} %d\n", topic, bound, counts[i])
		}
		return s + fmt.Sprintf("event_lag_seconds_sum{topic=%q} 1\nevent_lag_seconds_count{topic=%q} %d\n", topic, topic, counts[2])
	}
	head := "# TYPE event_lag_seconds histogram\n"
	answers := map[string][]string{
		"pricing":   {head + histogram("order", 1000, 1000, 1000), head + histogram("order", 1100, 1100, 1100)},
		"analytics": {head + histogram("order", 5, 5, 5), head + histogram("order", 50, 99, 100) + histogram("user", 0, 0, 2)},
		"payment":   {head + histogram("order", 900, 900, 900), head + histogram("order", 0, 10, 10)},
		"menu":      {"", ""},
	}
	meter := load.Metrics{Ports: map[string]int{}}
	for app, texts := range answers {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(texts[0])) // the test fails without it
			texts = texts[1:]
		}))
		defer s.Close()
		meter.Ports[app] = s.Listener.Addr().(*net.TCPAddr).Port
	}
	drive := func(_ context.Context, cfg load.Config) (load.Report, error) {
		return load.Report{Orders: cfg.Orders, Ended: cfg.Orders, OrdersPerSecond: 10}, nil
	}
	b, err := load.Measure(t.Context(), load.Plan{Orders: 10, Concurrency: []int{1}, EventRate: 5}, load.Config{}, drive, noops{}, meter, func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	want := &load.Events{Rate: 5, Orders: 10, Ended: 10, Consumers: []load.Lag{
		{Consumer: "analytics", Topic: "user", Count: 2, P50: 100, P99: 100},
		{Consumer: "analytics", Topic: "order", Count: 95, P50: 52.6, P99: 100},
		{Consumer: "payment", Topic: "order", Count: 10, P50: 75, P99: 99.5},
		{Consumer: "pricing", Topic: "order", Count: 100, P50: 25, P99: 49.5},
	}}
	if diff := cmp.Diff(want.Rate, b.Events.Rate); diff != "" || b.Events.Ended != 10 {
		t.Errorf("got %+v", b.Events)
	}
	byName := func(e *load.Events) map[string]load.Lag {
		m := map[string]load.Lag{}
		for _, l := range e.Consumers {
			m[l.Consumer+" "+l.Topic] = l
		}
		return m
	}
	if diff := cmp.Diff(byName(want), byName(b.Events)); diff != "" {
		t.Errorf("lags (-want +got):\n%s", diff)
	}
	if last := b.Events.Consumers[len(b.Events.Consumers)-1]; last.Consumer != "pricing" {
		t.Errorf("the fastest comes last: got %+v", last)
	}
	if p50, p99 := b.Events.Last(); p50 != 100 || p99 != 100 {
		t.Errorf("the last consumer: got %g / %g", p50, p99)
	}
	var text strings.Builder
	if err := b.Print(&text); err != nil || !strings.Contains(text.String(), "| pricing | order | 100 | 25.0 / 49.5 |") {
		t.Errorf("%v: %s", err, text.String())
	}
}
